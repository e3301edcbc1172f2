"""Actions answer what PySpark 4 answers."""

import heapq
from collections.abc import Iterator
from operator import add
from pathlib import Path

import pytest

from mesolite.frameworks.sparklite import SparkContext


def add_to_list(so_far: list[int], item: int) -> list[int]:
    """Changes its first argument, as PySpark allows."""
    so_far.append(item)
    return so_far


def extend_list(left: list[int], right: list[int]) -> list[int]:
    """The same for two partitions' values."""
    left.extend(right)
    return left


def test_first_and_take_stop_when_they_have_enough(sc: SparkContext) -> None:
    assert sc.parallelize([2, 3, 4]).first() == 2
    assert sc.parallelize([2, 3, 4, 5, 6]).take(2) == [2, 3]
    assert sc.parallelize([2, 3, 4, 5, 6]).take(10) == [2, 3, 4, 5, 6]
    assert sc.parallelize(range(100), 100).filter(lambda x: x > 90).take(3) == [91, 92, 93]


@pytest.mark.parametrize("num", [0, -1])
def test_take_of_nothing_is_nothing(sc: SparkContext, num: int) -> None:
    assert sc.parallelize([1]).take(num) == []


def test_take_looks_at_few_partitions_first(sc: SparkContext, tmp_path: Path) -> None:
    """One; if it has nothing four more; what was found tells how many more are needed."""

    def touched(index: int, items: Iterator[int]) -> Iterator[int]:
        (tmp_path / str(index)).touch()
        return items

    sc.parallelize(range(100), 100).mapPartitionsWithIndex(touched).take(1)
    assert len(list(tmp_path.iterdir())) == 1
    sc.parallelize([1, 2], 100).mapPartitionsWithIndex(touched).take(1)
    assert len(list(tmp_path.iterdir())) == 100
    for path in tmp_path.iterdir():
        path.unlink()
    sc.parallelize(range(100), 100).mapPartitionsWithIndex(touched).take(3)
    assert len(list(tmp_path.iterdir())) == 1 + 3


def test_first_of_nothing_is_an_error(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match=r"^RDD is empty$"):
        sc.parallelize([]).first()


def test_empty_is_what_has_no_item(sc: SparkContext) -> None:
    assert sc.parallelize([]).isEmpty() is True
    assert sc.parallelize([1]).isEmpty() is False
    assert sc.parallelize([None]).isEmpty() is False


def test_reduce_merges_all(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4, 5]).reduce(add) == 15
    assert sc.parallelize(2 for _ in range(10)).map(lambda x: 1).reduce(add) == 10
    assert sc.parallelize([1, 2], 5).reduce(add) == 3


@pytest.mark.parametrize("method", ["reduce", "max", "min"])
def test_nothing_can_be_reduced_to_nothing(sc: SparkContext, method: str) -> None:
    with pytest.raises(ValueError, match=r"^Can not reduce\(\) empty RDD$"):
        getattr(sc.parallelize([]), method)(*([add] if method == "reduce" else []))


def test_fold_uses_zero_in_each_partition_and_once_more(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4, 5]).fold(0, add) == 15
    assert sc.parallelize([1, 2], 3).fold(10, add) == 43


def test_aggregate_merges_items_and_then_partitions(sc: SparkContext) -> None:
    def with_item(so_far: tuple[int, int], item: int) -> tuple[int, int]:
        return so_far[0] + item, so_far[1] + 1

    def both(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
        return left[0] + right[0], left[1] + right[1]

    assert sc.parallelize([1, 2, 3, 4]).aggregate((0, 0), with_item, both) == (10, 4)
    assert sc.parallelize([]).aggregate((0, 0), with_item, both) == (0, 0)


def test_zero_may_be_changed_in_place_and_still_is_zero_everywhere(sc: SparkContext) -> None:
    zero: list[int] = []
    rdd = sc.parallelize(range(6), 6)
    assert rdd.aggregate(zero, add_to_list, extend_list) == [0, 1, 2, 3, 4, 5]
    in_tree = rdd.treeAggregate(zero, add_to_list, extend_list)
    assert sorted(in_tree) == [0, 1, 2, 3, 4, 5]
    assert zero == []


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10])
def test_trees_of_any_depth_have_the_same_answer(sc: SparkContext, depth: int) -> None:
    rdd = sc.parallelize([-5, -4, -3, -2, -1, 1, 2, 3, 4], 10)
    assert rdd.treeReduce(add, depth) == -5
    assert rdd.treeAggregate(0, add, add, depth) == -5


def test_trees_refuse_what_makes_no_sense(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match=r"^Depth cannot be smaller than 1 but got 0\.$"):
        sc.parallelize([1]).treeReduce(add, 0)
    with pytest.raises(ValueError, match=r"^Depth cannot be smaller than 1 but got -1\.$"):
        sc.parallelize([1]).treeAggregate(0, add, add, -1)
    with pytest.raises(ValueError, match=r"^Cannot reduce empty RDD\.$"):
        sc.parallelize([]).treeReduce(add)


def test_max_and_min_may_go_by_a_key(sc: SparkContext) -> None:
    rdd = sc.parallelize([1.0, 5.0, 43.0, 10.0])
    assert (rdd.max(), rdd.max(key=str)) == (43.0, 5.0)
    rdd = sc.parallelize([2.0, 5.0, 43.0, 10.0])
    assert (rdd.min(), rdd.min(key=str)) == (2.0, 10.0)


def test_top_has_the_largest_first(sc: SparkContext) -> None:
    assert sc.parallelize([10, 4, 2, 12, 3]).top(1) == [12]
    assert sc.parallelize([2, 3, 4, 5, 6], 2).top(2) == [6, 5]
    assert sc.parallelize([10, 4, 2, 12, 3]).top(3, key=str) == [4, 3, 2]
    assert sc.parallelize([1]).top(-1) == []


def test_take_ordered_has_the_smallest_first(sc: SparkContext) -> None:
    assert sc.parallelize([10, 1, 2, 9, 3, 4, 5, 6, 7]).takeOrdered(6) == [1, 2, 3, 4, 5, 6]
    assert sc.parallelize([10, 1, 2, 9, 3, 4, 5, 6, 7], 2).takeOrdered(6, key=lambda x: -x) == [10, 9, 7, 6, 5, 4]
    assert sc.parallelize([]).takeOrdered(3) == []
    assert sc.parallelize([3, 1]).takeOrdered(0) == []
    with pytest.raises(ValueError, match=r"^top N cannot be negative\.$"):
        sc.parallelize([1]).takeOrdered(-1)


def test_equal_items_keep_their_order_in_top_and_take_ordered(sc: SparkContext) -> None:
    items = [(1, "a"), (2, "b"), (1, "c"), (2, "d"), (1, "e")]
    rdd = sc.parallelize(items, 3)
    assert rdd.takeOrdered(4, key=lambda x: x[0]) == heapq.nsmallest(4, items, key=lambda x: x[0])
    assert rdd.top(4, key=lambda x: x[0]) == heapq.nlargest(4, items, key=lambda x: x[0])


def test_collect_with_a_job_group_is_known_and_deprecated(sc: SparkContext) -> None:
    with pytest.warns(FutureWarning, match="setJobGroup"):
        assert sc.parallelize([1, 2]).collectWithJobGroup("group", "description") == [1, 2]
    assert sc.getLocalProperty("spark.jobGroup.id") == "group"
    sc.setLocalProperty("spark.jobGroup.id", None)


def test_foreach_calls_where_the_items_are(sc: SparkContext, tmp_path: Path) -> None:
    sc.parallelize([1, 2, 3]).foreach(lambda x: (tmp_path / str(x)).touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_foreach_partition_runs_generators_to_their_end(sc: SparkContext, tmp_path: Path) -> None:
    def touch(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            (tmp_path / str(item)).touch()
            yield item

    sc.parallelize([1, 2, 3], 2).foreachPartition(touch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_foreach_partition_does_not_mind_what_else_is_returned(sc: SparkContext) -> None:
    sc.parallelize([1, 2]).foreachPartition(lambda items: 3)
    sc.parallelize([1, 2]).foreachPartition(lambda items: None)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_local_iterator_has_all_items_in_order(sc: SparkContext, ahead: bool) -> None:
    rdd = sc.parallelize(range(10))
    assert list(rdd.toLocalIterator(ahead)) == list(range(10))
    assert list(sc.parallelize([], 3).toLocalIterator(prefetchPartitions=ahead)) == []


def test_a_local_iterator_runs_partitions_only_as_they_are_needed(sc: SparkContext, tmp_path: Path) -> None:
    def touched(index: int, items: Iterator[int]) -> Iterator[int]:
        (tmp_path / str(index)).touch()
        return items

    items = sc.parallelize(range(4), 4).mapPartitionsWithIndex(touched).toLocalIterator()
    assert [next(items), next(items)] == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
