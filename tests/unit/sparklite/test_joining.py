"""Joins and groups of several RDDs, case by case. What partitions hold is in test_as_pyspark.py."""

from typing import Any

import pytest

from mesolite.executors.sparklite import pair_steps
from mesolite.executors.sparklite.result_iterable import ResultIterable
from mesolite.frameworks.sparklite import RDD, SparkContext
from mesolite.frameworks.sparklite.partitioner import Partitioner

from .test_pairs import shuffles


@pytest.fixture
def left(sc: SparkContext) -> RDD[Any]:
    return sc.parallelize([("a", 1), ("b", 4)], 2)


@pytest.fixture
def right(sc: SparkContext) -> RDD[Any]:
    return sc.parallelize([("a", 2), ("a", 3), ("c", 8)], 2)


def test_a_join_pairs_each_value_with_each(left: RDD[Any], right: RDD[Any]) -> None:
    assert sorted(left.join(right).collect()) == [("a", (1, 2)), ("a", (1, 3))]


def test_a_left_outer_join_keeps_what_is_only_left(left: RDD[Any], right: RDD[Any]) -> None:
    assert sorted(left.leftOuterJoin(right).collect()) == [("a", (1, 2)), ("a", (1, 3)), ("b", (4, None))]


def test_a_right_outer_join_keeps_what_is_only_right(left: RDD[Any], right: RDD[Any]) -> None:
    assert sorted(left.rightOuterJoin(right).collect()) == [("a", (1, 2)), ("a", (1, 3)), ("c", (None, 8))]


def test_a_full_outer_join_keeps_both(left: RDD[Any], right: RDD[Any]) -> None:
    joined = sorted(left.fullOuterJoin(right).collect())
    assert joined == [("a", (1, 2)), ("a", (1, 3)), ("b", (4, None)), ("c", (None, 8))]


def test_values_that_are_none_are_values(sc: SparkContext) -> None:
    one, other = sc.parallelize([(1, None)], 1), sc.parallelize([(1, None), (2, None)], 1)
    assert one.join(other).collect() == [(1, (None, None))]
    assert sorted(one.subtractByKey(other).collect()) == []
    assert other.subtractByKey(one).collect() == [(2, None)]


def test_values_need_not_be_hashable_nor_comparable(sc: SparkContext) -> None:
    one, other = sc.parallelize([(1, [1]), (1, {})], 2), sc.parallelize([(1, {2: 2})], 1)
    assert one.join(other).collect() == [(1, ([1], {2: 2})), (1, ({}, {2: 2}))]


def test_groups_hold_the_values_of_each_side(left: RDD[Any], right: RDD[Any]) -> None:
    grouped = sorted((key, [list(each) for each in both]) for key, both in left.cogroup(right).collect())
    assert grouped == [("a", [[1], [2, 3]]), ("b", [[4], []]), ("c", [[], [8]])]
    assert all(isinstance(each, ResultIterable) for _, both in left.cogroup(right).collect() for each in both)


def test_any_number_of_rdds_can_be_grouped(sc: SparkContext) -> None:
    rdds = [sc.parallelize(pairs, 2) for pairs in ([("a", 5), ("b", 6)], [("a", 1), ("b", 4)], [("a", 2)], [("b", 42)])]
    grouped = sorted((key, tuple(map(list, sides))) for key, sides in rdds[0].groupWith(*rdds[1:]).collect())
    assert grouped == [("a", ([5], [1], [2], [])), ("b", ([6], [4], [], [42]))]


def test_keys_of_the_other_are_subtracted(sc: SparkContext) -> None:
    pairs = sc.parallelize([("a", 1), ("b", 4), ("b", 5), ("a", 2)], 2)
    other = sc.parallelize([("a", 3), ("c", None)], 2)
    assert sorted(pairs.subtractByKey(other).collect()) == [("b", 4), ("b", 5)]


def test_keys_that_are_subtracted_travel_once() -> None:
    """Goal: a key that the other side has a million times takes no million places. Method: the step by itself."""
    often = iter([("a", number) for number in range(1000)] + [("b", 1), ("a", 2)])
    assert list(pair_steps.only_keys_of_right(0, often)) == [("a", (1, None)), ("b", (1, None))]
    many = iter([(number, None) for number in range(150_000)] * 2)
    assert {key for key, _ in pair_steps.only_keys_of_right(0, many)} == set(range(150_000))


def test_an_rdd_joins_with_itself(left: RDD[Any]) -> None:
    assert sorted(left.join(left).collect()) == [("a", (1, 1)), ("b", (4, 4))]


def test_as_many_partitions_as_both_sides_have(left: RDD[Any], right: RDD[Any]) -> None:
    assert left.join(right).getNumPartitions() == 4
    assert left.join(right, 3).partitioner == Partitioner(3)
    assert left.partitionBy(3).join(right.partitionBy(3)).getNumPartitions() == 3
    assert left.groupWith(right, left).getNumPartitions() == 6


@pytest.mark.parametrize(
    ("left_placed", "right_placed", "moved"), [(False, False, 1), (True, False, 2), (False, True, 2), (True, True, 2)]
)
def test_sides_that_lie_right_are_not_moved_again(
    left: RDD[Any], right: RDD[Any], left_placed: bool, right_placed: bool, moved: int
) -> None:
    """Goal: no needless shuffle, and the same answer in the same order. Method: shuffles counted, `partitionBy` included."""
    one = left.partitionBy(3) if left_placed else left
    other = right.partitionBy(3) if right_placed else right
    joined = one.fullOuterJoin(other, 3)
    assert shuffles(joined) == moved
    assert joined.collect() == left.fullOuterJoin(right, 3).collect()


def test_what_is_no_rdd_cannot_be_joined(left: RDD[Any]) -> None:
    with pytest.raises(TypeError, match="an RDD is needed, not list: make one"):
        left.join([("a", 1)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_rdds_of_two_contexts_cannot_be_joined(left: RDD[Any]) -> None:
    with SparkContext("local[1]") as other, pytest.raises(ValueError, match="same SparkContext"):
        left.join(other.parallelize([("a", 1)]))
