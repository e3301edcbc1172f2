"""Files that a context gives to its tasks, and code in them."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesolite.executors.sparklite import spark_files
from mesolite.executors.sparklite.spark_files import SparkFiles
from mesolite.executors.sparklite.stage_runner import StageUnreadable
from mesolite.executors.sparklite.task_data import TaskMissed
from mesolite.frameworks.sparklite.added_files import FileRegistry
from mesolite.frameworks.sparklite.errors import SparkError
from tests.unit.sparklite.worker_rig import Store, Worker, stage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The driver's."""
    return Store(tmp_path)


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Iterator[FileRegistry]:
    """A context's."""
    made = FileRegistry(store, "app", tmp_path / "driver")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of these tests share this process's path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def read_added(name: str) -> str:
    """What a task reads of an added file."""
    return Path(SparkFiles.get(name)).read_text()


def test_tasks_find_files_by_their_names_and_so_does_the_driver(registry: FileRegistry, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hundred")
    registry.add(str(tmp_path / "a.txt"))
    assert read_added("a.txt") == "hundred"
    done = Worker(tmp_path).run(stage(read_added), ["a.txt"], files=registry.blocks())
    assert done.value == ["hundred"]
    assert registry.listed == [f"file:{tmp_path / 'a.txt'}"]


def test_what_a_context_added_is_not_found_once_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_files, "_of_driver", [])
    spark_files.open_driver_directory(Path("here"))
    assert SparkFiles.get("a.txt") == str(Path("here/a.txt").absolute())
    spark_files.close_driver_directory(Path("here"))
    with pytest.raises(RuntimeError, match="there is no SparkContext"):
        SparkFiles.getRootDirectory()


def test_the_root_of_a_task_is_the_workers(registry: FileRegistry, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hundred")
    registry.add(f"file://{tmp_path / 'a.txt'}")

    def root(_value: int) -> str:
        return SparkFiles.getRootDirectory()

    [found] = Worker(tmp_path, "agent").run(stage(root), [1], files=registry.blocks()).value
    assert Path(found).is_relative_to(tmp_path / "agent-0")
    assert found != SparkFiles.getRootDirectory()


def test_a_directory_goes_with_all_that_is_in_it(registry: FileRegistry, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "b.txt").write_text("leaf")
    with pytest.raises(SparkError, match="recursive is not turned on"):
        registry.add(str(tmp_path / "tree"))
    registry.add(str(tmp_path / "tree"), recursive=True)
    workers = [Worker(tmp_path, "agent"), Worker(tmp_path, "agent")]
    for worker in workers:
        done = worker.run(stage(read_added), ["tree/deep/b.txt"], files=registry.blocks())
        assert done.value == ["leaf"]


def test_a_file_that_was_added_before_stays(registry: FileRegistry, store: Store, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
        registry.add(str(tmp_path / folder / "a.txt"))
    assert (read_added("a.txt"), store.puts) == ("one", 1)


@pytest.mark.parametrize("path", ["/no/such/file", "hdfs://host/file", "https://host/file"])
def test_what_is_not_on_this_machine_is_refused(registry: FileRegistry, path: str) -> None:
    with pytest.raises(SparkError, match=r"does not exist|fetch it to this machine first"):
        registry.add(path)


def use_module(_value: int) -> int:
    """Import what was added, in the task."""
    import added_module_of_test  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

    return int(added_module_of_test.ANSWER)


def test_modules_and_archives_of_them_are_on_the_path_of_tasks(registry: FileRegistry, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        archive.writestr("added_module_of_test.py", "ANSWER = 42\n")
    registry.add_py(str(tmp_path / "package.zip"))
    sys.path[:] = [path for path in sys.path if not path.endswith("package.zip")]
    worker = Worker(tmp_path)
    done = worker.run(stage(use_module), [1], files=registry.blocks(), py_files=registry.py_files())
    assert done.value == [42]
    del sys.modules["added_module_of_test"]


def test_code_that_names_an_added_module_is_unpickled_once_it_is_there(registry: FileRegistry, tmp_path: Path) -> None:
    (tmp_path / "module_that_comes_later.py").write_text("class Answer: pass\n")
    worker = Worker(tmp_path)
    code = stage(abs)
    object.__setattr__(code, "result", _NamedLater())
    with pytest.raises(StageUnreadable, match=r"module_that_comes_later.*sc\.addPyFile"):
        worker.run(code, [1])
    registry.add_py(str(tmp_path / "module_that_comes_later.py"))
    sys.path.remove(str(tmp_path / "driver"))
    worker = Worker(tmp_path)
    done = worker.run(code, [1], files=registry.blocks(), py_files=registry.py_files())
    assert type(done.value).__name__ == "Answer"
    del sys.modules["module_that_comes_later"]


class _NamedLater:
    """Pickles as a class of a module that is added."""

    def __call__(self, task: object, items: object) -> object:
        raise AssertionError("never called: another thing comes out of the pickle")

    def __reduce__(self) -> tuple[object, ...]:
        return _made_by_name, ("module_that_comes_later", "Answer")


def _made_by_name(module: str, name: str) -> object:
    made = getattr(__import__(module), name)

    def result(_task: object, _items: object) -> object:
        return made()

    return result


def test_what_holds_no_modules_is_no_code(registry: FileRegistry, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(SparkError, match="add it with addFile"):
        registry.add_py(str(tmp_path / "a.txt"))


def test_a_file_that_is_lost_ends_the_task_as_missed_and_is_put_anew(
    registry: FileRegistry, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("hundred")
    registry.add(str(tmp_path / "a.txt"))
    store.drop(list(registry.blocks().values()))
    missed = Worker(tmp_path).end(stage(read_added), ["a.txt"], files=registry.blocks())
    assert isinstance(missed, TaskMissed)
    assert missed.lost is not None
    assert registry.renew(missed.lost)
    assert Worker(tmp_path).run(stage(read_added), ["a.txt"], files=registry.blocks()).value == ["hundred"]
    assert not registry.renew(missed.lost._replace(block_id="rdd-1"))
