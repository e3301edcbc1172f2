"""Transformations answer what PySpark 4 answers: the literals are its own answers, with two local workers."""

from collections.abc import Iterable, Iterator
from operator import add

import pytest

from mesolite.frameworks.sparklite import SparkContext


def test_map_calls_the_function_for_each_item(sc: SparkContext) -> None:
    rdd = sc.parallelize(["b", "a", "c"])
    assert sorted(rdd.map(lambda x: (x, 1)).collect()) == [("a", 1), ("b", 1), ("c", 1)]


def test_flat_map_puts_results_one_after_the_other(sc: SparkContext) -> None:
    rdd = sc.parallelize([2, 3, 4])
    assert sorted(rdd.flatMap(lambda x: range(1, x)).collect()) == [1, 1, 1, 2, 2, 3]
    assert sorted(rdd.flatMap(lambda x: [(x, x), (x, x)]).collect()) == [(2, 2), (2, 2), (3, 3), (3, 3), (4, 4), (4, 4)]


def test_filter_keeps_what_is_true(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4, 5]).filter(lambda x: x % 2 == 0).collect() == [2, 4]


def test_map_partitions_calls_the_function_once_for_each_partition(sc: SparkContext) -> None:
    def total(items: Iterator[int]) -> Iterator[int]:
        yield sum(items)

    assert sc.parallelize([1, 2, 3, 4], 2).mapPartitions(total).collect() == [3, 7]


def test_map_partitions_takes_any_iterable(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4], 2).mapPartitions(lambda items: [list(items)]).collect() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("method", ["mapPartitionsWithIndex", "mapPartitionsWithSplit"])
def test_functions_of_partitions_may_ask_for_its_number(sc: SparkContext, method: str) -> None:
    def number(index: int, items: Iterator[int]) -> Iterator[int]:
        yield index

    assert getattr(sc.parallelize([1, 2, 3, 4], 4), method)(number).collect() == [0, 1, 2, 3]


def test_glom_makes_one_list_of_each_partition(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4], 2).glom().collect() == [[1, 2], [3, 4]]
    assert sc.parallelize([1], 2).glom().collect() == [[], [1]]


def test_key_by_makes_pairs(sc: SparkContext) -> None:
    assert sc.parallelize(range(3)).keyBy(lambda x: x * x).collect() == [(0, 0), (1, 1), (4, 2)]


def test_distinct_keeps_each_item_once_where_its_hash_puts_it(sc: SparkContext) -> None:
    assert sorted(sc.parallelize([1, 1, 2, 3]).distinct().collect()) == [1, 2, 3]
    numbers = sc.parallelize([1, 1, 2, 3, 5, 8, 3, 6, 12], 3)
    assert numbers.distinct().glom().collect() == [[3, 6, 12], [1], [2, 5, 8]]
    assert numbers.distinct(2).getNumPartitions() == 2


def test_union_puts_partitions_one_after_the_other(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 1, 2, 3])
    assert rdd.union(rdd).collect() == [1, 1, 2, 3, 1, 1, 2, 3]
    assert (rdd + rdd).glom().collect() == [[1, 1], [2, 3], [1, 1], [2, 3]]


def test_union_of_rdds_with_one_partitioner_stays_in_their_partitions(sc: SparkContext) -> None:
    pairs = sc.parallelize([(1, 1), (2, 2), (3, 3)], 2)
    left, right = pairs.reduceByKey(add, 2), pairs.reduceByKey(add, 2)
    both = left.union(right)
    assert both.getNumPartitions() == 2
    assert both.partitioner == left.partitioner
    assert both.glom().collect() == [[(2, 2), (2, 2)], [(1, 1), (3, 3), (1, 1), (3, 3)]]
    assert left.union(pairs).partitioner is None


@pytest.mark.parametrize("method", ["union", "zip", "cartesian"])
def test_what_is_no_rdd_is_refused_with_a_hint(sc: SparkContext, method: str) -> None:
    with pytest.raises(TypeError, match=r"another RDD, not list: make one of it by sc\.parallelize"):
        getattr(sc.parallelize([1]), method)([1])


def test_cartesian_makes_all_pairs(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 2])
    assert sorted(rdd.cartesian(rdd).collect()) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_cartesian_pairs_each_partition_with_each(sc: SparkContext) -> None:
    left, right = sc.parallelize([1, 2, 3, 4], 2), sc.parallelize(["a", "b", "c"], 3)
    pairs = left.cartesian(right)
    assert pairs.getNumPartitions() == 6
    assert pairs.glom().collect()[:3] == [[(1, "a"), (2, "a")], [(1, "b"), (2, "b")], [(1, "c"), (2, "c")]]


def test_cartesian_takes_more_items_than_it_holds(sc: SparkContext) -> None:
    left, right = sc.parallelize(range(1100), 1), sc.parallelize(range(1030), 1)
    assert left.cartesian(right).map(lambda pair: pair[0] * 1030 + pair[1]).distinct().count() == 1100 * 1030


def test_zip_pairs_items_at_the_same_place(sc: SparkContext) -> None:
    first, second = sc.parallelize(range(5)), sc.parallelize(range(1000, 1005))
    assert first.zip(second).collect() == [(0, 1000), (1, 1001), (2, 1002), (3, 1003), (4, 1004)]


def test_zip_of_different_numbers_of_partitions_is_refused_at_once(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="Can only zip with RDD which has the same number of partitions"):
        sc.parallelize([1], 1).zip(sc.parallelize([1], 2))


def test_zip_with_index_counts_over_partitions(sc: SparkContext) -> None:
    assert sc.parallelize(["a", "b", "c", "d"], 3).zipWithIndex().collect() == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert sc.parallelize([], 3).zipWithIndex().collect() == []


def test_zip_with_unique_id_leaps_by_the_number_of_partitions(sc: SparkContext) -> None:
    numbered = sc.parallelize(["a", "b", "c", "d", "e"], 3).zipWithUniqueId()
    assert numbered.glom().collect() == [[("a", 0)], [("b", 1), ("c", 4)], [("d", 2), ("e", 5)]]


def test_steps_go_item_by_item_through_a_partition(sc: SparkContext) -> None:
    """A chain of steps must not gather a partition between two of them."""

    def endless(items: Iterable[int]) -> Iterator[int]:
        while True:
            yield from (1, 2)

    rdd = (
        sc.parallelize([0], 1)
        .mapPartitions(endless)
        .map(lambda x: x + 1)
        .filter(lambda x: x != 3)
        .flatMap(lambda x: [x, x])
    )
    assert rdd.take(3) == [2, 2, 2]


def raises_stop(item: int) -> list[int]:
    """What a `next()` without a default does."""
    if item == 2:
        raise StopIteration
    return [item]


@pytest.mark.parametrize("method", ["map", "flatMap", "filter", "keyBy"])
@pytest.mark.parametrize("items", [[0, 1, 2, 3], [0, 1, 2]])
def test_a_stray_stop_iteration_fails_and_does_not_cut_the_partition(
    sc: SparkContext, method: str, items: list[int]
) -> None:
    with pytest.raises(Exception, match="StopIteration"):
        getattr(sc.parallelize(items, 1), method)(raises_stop).collect()


def test_partitioners_are_kept_where_keys_stay(sc: SparkContext) -> None:
    placed = sc.parallelize([(1, 1), (2, 2)]).reduceByKey(add)
    assert placed.filter(bool).partitioner == placed.partitioner
    assert placed.map(lambda x: x, True).partitioner == placed.partitioner
    assert placed.map(lambda x: x).partitioner is None


def test_group_by_has_all_items_of_each_key(sc: SparkContext) -> None:
    groups = sc.parallelize([1, 1, 2, 3, 5, 8], 2).groupBy(lambda x: x % 2)
    assert [[(key, list(items)) for key, items in part] for part in groups.glom().collect()] == [
        [(0, [2, 8])],
        [(1, [1, 1, 3, 5])],
    ]


def test_intersection_has_what_is_in_both_once(sc: SparkContext) -> None:
    both = sc.parallelize([1, 10, 2, 3, 4, 5], 2).intersection(sc.parallelize([1, 6, 2, 3, 7, 8], 2))
    assert both.glom().collect() == [[], [1], [2], [3]]


def test_subtract_keeps_what_is_not_in_the_other(sc: SparkContext) -> None:
    left = sc.parallelize([("a", 1), ("b", 4), ("b", 5), ("a", 3)])
    assert sorted(left.subtract(sc.parallelize([("a", 3), ("c", None)])).collect()) == [("a", 1), ("b", 4), ("b", 5)]
    numbers = sc.parallelize([1, 2, 3, 4, 2], 2)
    assert numbers.subtract(sc.parallelize([3, 9], 2)).glom().collect() == [[4], [1], [2, 2], []]
    assert numbers.subtract(sc.parallelize([3, 9], 2), 3).getNumPartitions() == 3


# pipe


def test_pipe_goes_through_a_command(sc: SparkContext) -> None:
    assert sc.parallelize(["1", "2", "", "3"]).pipe("cat").collect() == ["1", "2", "", "3"]
    assert sc.parallelize([1, 2], 2).pipe("wc -l").map(str.strip).collect() == ["1", "1"]


def test_pipe_gives_the_command_the_environment_that_was_asked_for_alone(sc: SparkContext) -> None:
    assert sc.parallelize([1], 1).pipe("env", {"COLOUR": "blue"}).collect() == ["COLOUR=blue"]


def test_pipe_takes_more_than_a_pipe_holds(sc: SparkContext) -> None:
    lines = ["x" * 1000 for _ in range(2000)]
    assert sc.parallelize(lines, 1).pipe("cat").collect() == lines


def test_pipe_minds_the_code_only_if_told_to(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 2], 1)
    assert rdd.pipe("false").collect() == []
    with pytest.raises(Exception, match="Pipe function `false' exited with error code 1"):
        rdd.pipe("false", checkCode=True).collect()


def test_a_command_may_read_less_than_there_is(sc: SparkContext) -> None:
    assert sc.parallelize(range(100_000), 1).pipe("head -n 2").collect() == ["0", "1"]


def test_take_does_not_wait_for_a_command_that_never_ends(sc: SparkContext) -> None:
    assert sc.parallelize([1], 1).pipe("yes").take(2) == ["y", "y"]


def test_what_making_the_items_raises_is_not_lost_in_a_pipe(sc: SparkContext) -> None:
    with pytest.raises(Exception, match="division or modulo by zero"):
        sc.parallelize([1, 0], 1).map(lambda x: 1 // x).pipe("cat").collect()
