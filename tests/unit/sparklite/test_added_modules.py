"""Modules are put on the path by several threads of one process, as workers of the local backend are."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesolite.executors.sparklite.spark_files import have_it_found


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns after every few steps."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("hasty_threads")
def test_two_workers_may_put_modules_on_the_path_at_once(tmp_path: Path) -> None:
    """Python drops what it knows of paths that are not there, and stumbles where two threads drop the same."""

    def put_many() -> None:
        for _ in range(500):
            for number in range(20):
                sys.path_importer_cache[str(tmp_path / f"gone-{number}")] = None
            have_it_found(tmp_path)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(put_many) for _ in range(4)]:
            done.result()


def test_what_was_put_into_a_directory_is_found_though_it_was_listed_in_the_same_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        __import__("put_there_later")
    (tmp_path / "put_there_later.py").write_text("")
    have_it_found(tmp_path)
    assert __import__("put_there_later").__name__ == "put_there_later"
