"""Where RDDs of collections begin and end: partitions hold exactly what PySpark 4 puts there."""

from collections.abc import Callable

import pytest

from mesolite.frameworks.sparklite import SparkContext
from mesolite.frameworks.sparklite.errors import ClosureError

SIZES = {
    (0, 3): [0, 0, 0],
    (1, 1): [1],
    (1, 2): [0, 1],
    (1, 7): [0, 0, 0, 0, 0, 0, 1],
    (2, 3): [0, 1, 1],
    (2, 4): [0, 1, 0, 1],
    (2, 7): [0, 0, 0, 1, 0, 0, 1],
    (3, 2): [1, 2],
    (3, 4): [0, 1, 1, 1],
    (3, 7): [0, 0, 1, 0, 1, 0, 1],
    (5, 2): [2, 3],
    (5, 3): [1, 2, 2],
    (5, 4): [1, 1, 1, 2],
    (5, 7): [0, 1, 1, 0, 1, 1, 1],
    (7, 3): [2, 2, 3],
    (7, 4): [1, 2, 2, 2],
    (10, 3): [3, 3, 4],
    (10, 4): [2, 2, 2, 4],
    (10, 7): [1, 1, 2, 1, 2, 1, 2],
    (11, 2): [5, 6],
    (11, 3): [3, 3, 5],
    (11, 4): [2, 4, 2, 3],
    (23, 3): [7, 7, 9],
    (23, 4): [5, 5, 5, 8],
    (23, 7): [3, 3, 3, 3, 3, 3, 5],
    (5000, 2): [2048, 2952],
    (5000, 3): [1024, 2048, 1928],
    (10000, 4): [2048, 3072, 2048, 2832],
}


@pytest.mark.parametrize(("size", "slices"), list(SIZES))
def test_partitions_have_the_sizes_of_pyspark(sc: SparkContext, size: int, slices: int) -> None:
    rdd = sc.parallelize(list(range(size)), slices)
    assert rdd.glom().map(len).collect() == SIZES[size, slices]
    assert rdd.collect() == list(range(size))


@pytest.mark.parametrize(
    ("numbers", "parts"),
    [
        (range(0, 6, 2), [[], [0], [], [2], [4]]),
        (range(10, 0, -3), [[], [10], [7], [4], [1]]),
        (range(7), [[0], [1], [2, 3], [4], [5, 6]]),
        (range(1), [[], [], [], [], [0]]),
        (range(0), [[], [], [], [], []]),
    ],
)
def test_ranges_are_cut_and_not_copied(sc: SparkContext, numbers: range, parts: list[list[int]]) -> None:
    assert sc.parallelize(numbers, 5).glom().collect() == parts


def test_a_range_may_be_longer_than_memory(sc: SparkContext) -> None:
    assert sc.parallelize(range(10**15), 3).take(2) == [0, 1]


def test_documented_examples(sc: SparkContext) -> None:
    assert sc.parallelize([0, 2, 3, 4, 6], 5).glom().collect() == [[0], [2], [3], [4], [6]]
    assert sc.parallelize(["a", "b", "c"], 2).glom().collect() == [["a"], ["b", "c"]]
    assert sc.range(5).collect() == [0, 1, 2, 3, 4]
    assert sc.range(2, 4).collect() == [2, 3]
    assert sc.range(1, 7, 2).collect() == [1, 3, 5]
    assert sc.emptyRDD().isEmpty()
    assert sc.emptyRDD().getNumPartitions() == 0


def test_any_iterable_will_do(sc: SparkContext) -> None:
    assert sc.parallelize("abcdef", 4).glom().collect() == [["a"], ["b", "c"], ["d"], ["e", "f"]]
    assert sc.parallelize({1: 2, 3: 4}, 2).glom().collect() == [[1], [3]]
    assert sc.parallelize((i for i in range(7)), 3).glom().collect() == [[0, 1], [2, 3], [4, 5, 6]]


def test_later_changes_to_a_collection_do_not_count(sc: SparkContext) -> None:
    items = [[1], [2]]
    rdd = sc.parallelize(items)
    items[0].append(9)
    assert rdd.collect() == [[1], [2]]


def test_items_may_be_functions(sc: SparkContext) -> None:
    functions: list[Callable[[int], int]] = [lambda x: x + 1, lambda x: x * 3]
    assert sc.parallelize(functions).map(lambda f: f(5)).collect() == [6, 15]


@pytest.mark.parametrize("slices", [0, -2])
def test_there_must_be_a_partition(sc: SparkContext, slices: int) -> None:
    with pytest.raises(ValueError, match="Positive number of partitions required"):
        sc.parallelize([1], slices)


def test_rdds_are_no_items(sc: SparkContext) -> None:
    with pytest.raises(ClosureError, match="an RDD cannot be used inside"):
        sc.parallelize([sc.parallelize([1])])


def test_empty_rdds_answer_as_pysparks_do(sc: SparkContext) -> None:
    empty = sc.emptyRDD()
    assert empty.collect() == []
    assert empty.fold(0, max) == 0
    assert empty.takeOrdered(3) == []
    assert empty.zipWithIndex().collect() == []
    assert empty.distinct().collect() == []
    assert empty.sortBy(lambda x: x).collect() == []
    assert empty.union(sc.parallelize([1])).collect() == [1]
    with pytest.raises(ValueError, match=r"Can not reduce\(\) empty RDD"):
        empty.top(3)


def test_union_of_many_keeps_their_order(sc: SparkContext) -> None:
    parts = [sc.parallelize([number], 1) for number in range(4)]
    assert sc.union(parts).glom().collect() == [[0], [1], [2], [3]]
    with pytest.raises(ValueError, match="union needs at least one RDD"):
        sc.union([])


def test_the_context_in_a_function_is_named_by_its_path(sc: SparkContext) -> None:
    with pytest.raises(ClosureError, match=r"\(its variable sc\): the SparkContext cannot be used inside a function"):
        sc.parallelize([1]).map(lambda x: sc.parallelize([x]).count()).collect()
