"""Saving: the files are Spark's in name and contents, and a directory has all of them or is not there."""

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.nodes import Items
from mesolite.executors.sparklite.saving import TEMPORARY, SaveLines
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskSpec
from mesolite.frameworks.sparklite import SparkContext
from mesolite.frameworks.sparklite.errors import SparkError

ITEMS = ["x", 1, None, b"by", ("a", 2), "new\nline"]
PARTS = [b"x\n1\n", b"None\nby\n", b"('a', 2)\nnew\nline\n"]
HADOOP = "org.apache.hadoop.io.compress."


def names_in(folder: Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in folder.iterdir())


def test_partitions_become_files_of_lines(sc: SparkContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sc.parallelize(ITEMS, 3).saveAsTextFile(str(out))
    assert names_in(out) == ["_SUCCESS", "part-00000", "part-00001", "part-00002"]
    assert [(out / f"part-0000{number}").read_bytes() for number in range(3)] == PARTS
    assert sc.textFile(str(out)).collect() == ["x", "1", "None", "by", "('a', 2)", "new", "line"]


@pytest.mark.parametrize(
    ("codec", "suffix", "uncompress"),
    [
        ("GzipCodec", ".gz", gzip.decompress),
        ("BZip2Codec", ".bz2", bz2.decompress),
        ("DefaultCodec", ".deflate", zlib.decompress),
    ],
)
def test_files_can_be_compressed(
    sc: SparkContext, tmp_path: Path, codec: str, suffix: str, uncompress: Callable[[bytes], bytes]
) -> None:
    out = tmp_path / "out"
    sc.parallelize(ITEMS, 3).saveAsTextFile(str(out), HADOOP + codec)
    assert [uncompress((out / f"part-0000{number}{suffix}").read_bytes()) for number in range(3)] == PARTS
    assert sc.textFile(f"file://{out}").count() == 7


def test_an_unknown_codec_is_refused_before_anything_is_written(sc: SparkContext, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown codec nope: there are .*GzipCodec"):
        sc.parallelize([1]).saveAsTextFile(str(tmp_path / "out"), "nope")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(sc: SparkContext, tmp_path: Path) -> None:
    for save in (sc.parallelize([1]).saveAsTextFile, sc.parallelize([1]).saveAsPickleFile):
        with pytest.raises(SparkError, match=f"^Output directory file:{tmp_path} already exists"):
            save(str(tmp_path))
    assert names_in(tmp_path) == []


def test_a_job_that_fails_leaves_nothing(sc: SparkContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Exception, match="by zero"):
        sc.parallelize([1, 0], 2).map(lambda x: 1 // x).saveAsTextFile(str(out))
    assert not out.exists()


def test_no_partitions_are_no_files(sc: SparkContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sc.emptyRDD().saveAsTextFile(str(out))
    assert names_in(out) == ["_SUCCESS"]
    assert sc.textFile(str(out)).collect() == []


def test_pickled_items_come_back_in_their_partitions(sc: SparkContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sc.parallelize(ITEMS, 3).saveAsPickleFile(str(out), 2)
    assert names_in(out) == ["_SUCCESS", "part-00000", "part-00001", "part-00002"]
    assert sc.pickleFile(str(out)).glom().collect() == [ITEMS[:2], ITEMS[2:4], ITEMS[4:]]
    again = tmp_path / "again"
    sc.parallelize(range(25), 2).saveAsPickleFile(str(again), 0)
    assert sc.pickleFile(str(again), 3).collect() == list(range(25))


def test_other_files_are_not_unpickled(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("text\n")
    with pytest.raises(Exception, match=r"was not written by saveAsPickleFile of sparklite"):
        sc.pickleFile(str(path)).collect()


def test_a_damaged_file_of_pickles_is_named(sc: SparkContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sc.parallelize(range(100), 1).saveAsPickleFile(str(out))
    part = out / "part-00000"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(Exception, match=r"part-00000 ends in the middle"):
        sc.pickleFile(str(out)).collect()


# Attempts


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[[int], Task]:
    """An attempt at partition 1."""

    def make(task_id: int) -> Task:
        code = StageCode(Items(0, 2), result=SaveLines(str(tmp_path), ""))
        spec = TaskSpec("app", 0, 0, 0, task_id, 1, {})
        return Task(code, spec, DirectoryBlocks(tmp_path / "_blocks"), Storage())

    return make


def test_two_attempts_at_a_partition_cannot_mix(tmp_path: Path, attempt: Callable[[int], Task]) -> None:
    (tmp_path / TEMPORARY).mkdir()

    def with_another_in_between() -> Any:
        yield "a"
        assert SaveLines(str(tmp_path), "")(attempt(2), iter(["a", "b"])) == "part-00001"
        yield "b"

    assert SaveLines(str(tmp_path), "")(attempt(1), with_another_in_between()) == "part-00001"
    assert names_in(tmp_path / TEMPORARY) == ["part-00001"]
    assert (tmp_path / TEMPORARY / "part-00001").read_text() == "a\nb\n"


def test_an_attempt_that_fails_leaves_no_file(tmp_path: Path, attempt: Callable[[int], Task]) -> None:
    (tmp_path / TEMPORARY).mkdir()
    with pytest.raises(ZeroDivisionError):
        SaveLines(str(tmp_path), "")(attempt(1), (1 // x for x in (1, 0)))
    assert names_in(tmp_path / TEMPORARY) == []


def test_an_attempt_that_comes_too_late_finds_nowhere_to_write(tmp_path: Path, attempt: Callable[[int], Task]) -> None:
    with pytest.raises(FileNotFoundError, match="This worker cannot see the directory that the driver made"):
        SaveLines(str(tmp_path), "")(attempt(1), iter(["a"]))
    assert "part-00001" not in names_in(tmp_path)
