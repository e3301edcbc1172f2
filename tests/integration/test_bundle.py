"""The Python executor as its agent puts it together: whole, readable by all, and enough for a bare Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesolite.agent import bundle as bundles
from mesolite.agent.bundle import assemble_bundle, bundle_files, digest_of, remove_old_bundles
from mesolite.errors import ConfigError


def run_python(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python that has nothing but its standard library, and knows nothing of this installation."""
    command = [sys.executable, "-I", "-S", *arguments]
    return subprocess.run(command, cwd=directory, env={}, capture_output=True, text=True, check=False, timeout=60)


def test_a_python_without_anything_finds_all_it_needs_in_it(tmp_path: Path) -> None:
    bundle = assemble_bundle(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(bundle)!r}); import cloudpickle, pickle;"
        "import mesolite_executors.driver, mesolite_executors.python.calls, mesolite_executors.python.runner;"
        "assert not any(name.split('.')[0] in ('mesolite', 'msgspec', 'redis') for name in sys.modules);"
        "print(pickle.loads(cloudpickle.dumps(lambda: 42))())"
    )
    ran = run_python("-c", program, directory=tmp_path)
    assert (ran.stdout, ran.stderr) == ("42\n", "")


def test_started_outside_of_a_container_it_says_what_is_missing(tmp_path: Path) -> None:
    ran = run_python(str(assemble_bundle(tmp_path)), directory=tmp_path)
    assert ran.returncode == 1
    assert "MESOS_DOMAIN_SOCKET" in ran.stderr


def test_everybody_may_read_it_and_it_is_compiled_for_this_python(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        bundle = assemble_bundle(tmp_path)
    finally:
        os.umask(umask)
    found = [bundle, *bundle.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o644}
    sources = [path for path in found if path.suffix == ".py" and path.name != "__main__.py"]
    compiled = [path for path in found if path.suffix == ".pyc"]
    assert len(compiled) == len(sources) > 0


def test_cloudpickle_comes_with_its_license(tmp_path: Path) -> None:
    assert "Redistribution" in (assemble_bundle(tmp_path) / "cloudpickle" / "LICENSE").read_text()


def test_the_same_installation_makes_the_same_bundle_and_makes_it_once(tmp_path: Path) -> None:
    first = assemble_bundle(tmp_path)
    made = first.stat().st_ino
    assert assemble_bundle(tmp_path) == first
    assert first.stat().st_ino == made
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    bundle = assemble_bundle(tmp_path)
    (bundle / "__main__.py").write_text("raise SystemExit('not ours')")
    (bundle / "cloudpickle" / "__init__.py").unlink()
    assert assemble_bundle(tmp_path) == bundle
    assert all((bundle / path).read_bytes() == content for path, content in bundle_files().items())


def test_another_version_lies_beside_it_until_nobody_can_be_running_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = assemble_bundle(tmp_path)
    monkeypatch.setattr(bundles, "_MAIN", "print('newer')\n")
    new = assemble_bundle(tmp_path)
    assert new != old
    assert old.is_dir()
    remove_old_bundles(tmp_path, new)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


def test_a_bundle_is_named_by_what_is_in_it() -> None:
    files = bundle_files()
    assert digest_of(files) == digest_of(dict(reversed(files.items())))
    (path, *_) = files
    assert digest_of(files) != digest_of(files | {path: files[path] + b"#"})


def test_a_directory_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be put into"):
        assemble_bundle(tmp_path / "file")
