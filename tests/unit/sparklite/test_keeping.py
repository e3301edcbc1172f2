"""Keeping RDDs on workers and in files, and describing them."""

from collections.abc import Iterator
from operator import add
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.frameworks.sparklite import RDD, SparkConf, SparkContext
from mesolite.frameworks.sparklite.errors import SparkError


class Counted:
    """An RDD whose computation leaves a file for each time that a partition is made."""

    def __init__(self, sc: SparkContext, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

        def note(index: int, items: Iterator[int]) -> Iterator[int]:
            times = len(list(folder.glob(f"{index}-*")))
            (folder / f"{index}-{times}").touch()
            return items

        self.rdd: RDD[int] = sc.parallelize(range(6), 2).mapPartitionsWithIndex(note)

    @property
    def times(self) -> int:
        """How often partitions were made."""
        return len(list(self._folder.iterdir()))


@pytest.fixture
def counted(sc: SparkContext, tmp_path: Path) -> Counted:
    """Two partitions."""
    return Counted(sc, tmp_path / "made")


def test_what_is_not_kept_is_computed_for_each_job(counted: Counted) -> None:
    assert [counted.rdd.count(), counted.rdd.count()] == [6, 6]
    assert counted.times == 4


def test_what_is_kept_is_computed_once(counted: Counted) -> None:
    assert counted.rdd.cache() is counted.rdd
    assert counted.rdd.is_cached
    assert [counted.rdd.count(), counted.rdd.map(str).count()] == [6, 6]
    assert counted.times == 2


def test_levels_are_pysparks(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 2])
    assert rdd.getStorageLevel() == StorageLevel(False, False, False, False, 1)
    assert str(rdd.cache().getStorageLevel()) == "Memory Serialized 1x Replicated"
    assert rdd.persist(StorageLevel.MEMORY_ONLY) is rdd
    with pytest.raises(SparkError, match="Cannot change storage level of an RDD after it was already assigned a level"):
        rdd.persist(StorageLevel.DISK_ONLY)
    assert rdd.unpersist() is rdd
    assert not rdd.is_cached
    assert rdd.persist(StorageLevel.DISK_ONLY).getStorageLevel() == StorageLevel.DISK_ONLY
    assert not sc.parallelize([1]).persist(StorageLevel.NONE).is_cached


# Checkpoints


def test_a_checkpoint_needs_a_directory() -> None:
    with pytest.raises(SparkError, match="Checkpoint directory has not been set in the SparkContext"):
        SparkContext("local[2]", conf=SparkConf()).parallelize([1]).checkpoint()


def test_a_checkpoint_is_written_after_the_first_job_and_read_from_then_on(
    sc: SparkContext, counted: Counted, tmp_path: Path
) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    assert str(sc.getCheckpointDir()).startswith(f"file:{tmp_path}/saved/")
    counted.rdd.checkpoint()
    following = counted.rdd.map(lambda x: x + 1)
    assert (counted.rdd.is_checkpointed, counted.rdd.isCheckpointed(), counted.rdd.getCheckpointFile()) == (
        True,
        False,
        None,
    )
    assert following.count() == 6
    assert counted.rdd.isCheckpointed()
    assert not counted.rdd.isLocallyCheckpointed()
    assert counted.rdd.getCheckpointFile() == f"{sc.getCheckpointDir()}/rdd-{counted.rdd.id()}"
    times = counted.times
    assert following.glom().collect() == [[1, 2, 3], [4, 5, 6]]
    assert counted.rdd.reduce(add) == 15
    assert counted.times == times


def test_a_checkpoint_cuts_the_lineage(sc: SparkContext, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    rdd: RDD[Any] = sc.parallelize([(1, 1), (2, 2), (1, 3)], 2).reduceByKey(add)
    rdd.checkpoint()
    following = rdd.mapValues(str)
    assert sorted(following.collect()) == [(1, "4"), (2, "2")]
    text = following.toDebugString().decode()
    assert "ReliableCheckpointRDD" in text
    assert "+-" not in text
    assert sorted(following.join(rdd).collect()) == [(1, ("4", 4)), (2, ("2", 2))]


def test_a_checkpoint_before_a_shuffle_is_written_too(sc: SparkContext, counted: Counted, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    counted.rdd.checkpoint()
    pairs = counted.rdd.map(lambda x: (x % 2, x)).reduceByKey(add)
    assert sorted(pairs.collect()) == [(0, 6), (1, 9)]
    assert counted.rdd.isCheckpointed()
    times = counted.times
    assert sorted(counted.rdd.map(lambda x: (x % 2, x)).groupByKey().mapValues(len).collect()) == [(0, 3), (1, 3)]
    assert counted.times == times


def test_a_checkpoint_that_fails_is_tried_again_after_the_next_job(sc: SparkContext, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    rdd = sc.parallelize([1, 2], 2)
    rdd.checkpoint()
    target = Path(str(sc.getCheckpointDir()).removeprefix("file:")) / f"rdd-{rdd.id()}"
    target.mkdir()
    with pytest.raises(SparkError, match="already exists"):
        rdd.count()
    assert not rdd.isCheckpointed()
    target.rmdir()
    assert rdd.count() == 2
    assert rdd.isCheckpointed()
    assert rdd.collect() == [1, 2]


def test_any_job_makes_checkpoints(sc: SparkContext, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    rdd = sc.parallelize(range(4), 2)
    rdd.checkpoint()
    assert sc.runJob(rdd, lambda items: [sum(items)]) == [1, 5]
    assert rdd.isCheckpointed()


def test_a_lineage_that_is_cut_again_and_again_stays_short(sc: SparkContext, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    rdd: RDD[Any] = sc.parallelize([(i % 5, i) for i in range(100)], 4)
    for turn in range(10):
        rdd = rdd.mapValues(lambda value: value + 1).reduceByKey(add, 3)
        if turn % 3 == 2:
            rdd.checkpoint()
            rdd.count()
    assert len(rdd.toDebugString().splitlines()) <= 5
    assert sorted(rdd.collect()) == [(key, sum(range(key, 100, 5)) + 20 + 9) for key in range(5)]


def test_only_what_a_job_needed_is_checkpointed(sc: SparkContext, tmp_path: Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "saved"))
    rdd = sc.parallelize([1])
    rdd.checkpoint()
    sc.parallelize([2]).count()
    assert not rdd.isCheckpointed()


def test_a_local_checkpoint_keeps_the_rdd_on_workers(counted: Counted) -> None:
    counted.rdd.localCheckpoint()
    assert counted.rdd.isLocallyCheckpointed()
    assert not counted.rdd.isCheckpointed()
    assert [counted.rdd.count(), counted.rdd.count()] == [6, 6]
    assert counted.rdd.isCheckpointed()
    assert counted.rdd.getCheckpointFile() is None
    assert counted.times == 2


# Describing


def test_names_are_shown(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 2])
    assert rdd.name() is None
    assert rdd.setName("sample") is rdd
    assert rdd.name() == "sample"
    assert repr(rdd).startswith(f"sample ParallelCollectionRDD[{rdd.id()}] at parallelize at test_keeping.py:")


def shape_of(rdd: RDD[Any]) -> list[str]:
    """A debug string without numbers of RDDs and places in programs."""
    lines = rdd.toDebugString().decode().splitlines()
    return [line.split("[")[0] + line[line.rindex("[") :] for line in lines]


def test_a_debug_string_goes_right_at_each_shuffle(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(9), 3).map(lambda x: (x, 1)).reduceByKey(add, 11).mapValues(str).persist()
    assert shape_of(rdd) == [
        "(11) PythonRDD[Memory Serialized 1x Replicated]",
        " |   ShuffledRDD[]",
        " +-(3) PythonRDD[]",
        "    |  ParallelCollectionRDD[]",
    ]


def test_a_debug_string_has_all_parents(sc: SparkContext) -> None:
    left = sc.parallelize(range(9), 3).map(lambda x: (x, 1)).reduceByKey(add, 2)
    right = sc.parallelize(range(4), 3).map(lambda x: (x, 1)).reduceByKey(add, 4)
    assert shape_of(left.union(right).setName("both")) == [
        "(6) both UnionRDD[]",
        " |  ShuffledRDD[]",
        " +-(3) PythonRDD[]",
        "    |  ParallelCollectionRDD[]",
        " |  ShuffledRDD[]",
        " +-(3) PythonRDD[]",
        "    |  ParallelCollectionRDD[]",
    ]


def test_shuffles_before_shuffles_go_further_right(sc: SparkContext) -> None:
    rdd = sc.parallelize([(1, 1)], 10).reduceByKey(add, 100).map(lambda x: x).reduceByKey(add, 2)
    assert shape_of(rdd) == [
        "(2) ShuffledRDD[]",
        " +-(100) PythonRDD[]",
        "     |   ShuffledRDD[]",
        "     +-(10) ParallelCollectionRDD[]",
    ]


def test_resource_profiles_are_taken_and_change_nothing(sc: SparkContext) -> None:
    rdd = sc.parallelize([1])
    assert rdd.getResourceProfile() is None
    assert rdd.withResources("profile") is rdd
    assert rdd.getResourceProfile() == "profile"
