"""What is built is what is here: every package is declared, every link points right, and the wheel holds the lot."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mesolite.config import AgentConfig
from tests.source_tree import PARTS, ROOT, package_modules

LINKED_PARTS = ("master", "agent", "executors", "frameworks")


def settings() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages_on_disk() -> set[str]:
    """Every folder of the package with an __init__.py, under the name that it is imported by."""
    return {module.name for module in package_modules() if module.path.name == "__init__.py"}


def test_declared_packages_are_those_on_disk() -> None:
    declared = settings()["tool"]["setuptools"]["packages"]
    assert len(declared) == len(set(declared)), "a package is declared twice"
    assert set(declared) == packages_on_disk()


def test_every_folder_with_sources_is_a_package() -> None:
    homeless = {module.shown for module in package_modules() if not (module.path.parent / "__init__.py").exists()}
    assert homeless == set(), "without an __init__.py beside them these are not installed"


def test_the_folder_of_each_part_is_mapped_to_its_name() -> None:
    mapping = settings()["tool"]["setuptools"]["package-dir"]
    assert {name: ROOT / folder for name, folder in mapping.items()} == PARTS


@pytest.mark.parametrize("part", LINKED_PARTS)
def test_the_link_of_each_part_is_relative_and_points_at_its_folder(part: str) -> None:
    link = ROOT / "mesolite" / part
    assert link.is_symlink(), "type checkers and editors find the part through this link"
    assert link.readlink().as_posix() == f"../{part}"
    assert link.resolve() == (ROOT / part).resolve()


def test_nothing_else_in_the_package_is_a_link() -> None:
    links = {path.name for path in (ROOT / "mesolite").rglob("*") if path.is_symlink()}
    assert links == set(LINKED_PARTS)


def build_wheel(tmp_path: Path) -> Path:
    """Build from a copy, because setuptools leaves its traces in the tree that it builds from."""
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in ("mesolite", *LINKED_PARTS, "tests"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(copy)], check=False, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = tmp_path.glob("*.whl")
    return wheel


def test_the_wheel_holds_every_module_with_its_data_and_no_test(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        names = set(wheel.namelist())
    files = {name for name in names if ".dist-info/" not in name}
    expected = {
        f"{part.replace('.', '/')}/{path.relative_to(folder).as_posix()}"
        for part, folder in PARTS.items()
        for path in files_of(folder)
    }
    assert files == expected
    assert {name.split("/")[0] for name in files} == {"mesolite"}


def files_of(folder: Path) -> list[Path]:
    """What of a part's folder belongs into the wheel: sources and what they read at run time."""
    kinds = {".py", ".lua", ".html", ".css", ".js"}
    found = [path for path in folder.rglob("*") if path.suffix in kinds or path.name == "py.typed"]
    return [path for path in found if not path.is_symlink() and not any(up.is_symlink() for up in path.parents)]


def test_the_image_that_is_provided_is_the_one_that_agents_use() -> None:
    image = AgentConfig().image
    assert f"image=${{MESOLITE_IMAGE:-{image}}}" in (ROOT / "scripts" / "base-image").read_text(encoding="utf-8")
    assert f"MESOLITE_IMAGE ?= {image}" in (ROOT / "Makefile").read_text(encoding="utf-8")
