"""Operations on pairs, case by case. What partitions hold is in test_as_pyspark.py."""

import pickle
from collections.abc import Callable
from operator import add
from typing import Any, Final

import pytest

from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.result_iterable import ResultIterable
from mesolite.frameworks.sparklite import RDD, SparkConf, SparkContext
from mesolite.frameworks.sparklite.errors import JobFailed
from mesolite.frameworks.sparklite.partitioner import Partitioner, is_same_everywhere
from tests.sparklite_parts import parts


@pytest.fixture
def letters(sc: SparkContext) -> RDD[Any]:
    return sc.parallelize([("a", 1), ("b", 1), ("a", 2)], 2)


def shuffles(rdd: RDD[Any]) -> int:
    """How many shuffles its lineage has."""

    def count(lineage: Any) -> int:
        before = 0 if lineage.shuffle is None else 1 + count(lineage.shuffle.parent)
        return before + sum(count(parent) for parent in lineage.parents)

    return count(rdd.lineage)


def test_values_of_a_key_are_reduced(letters: RDD[Any]) -> None:
    assert sorted(letters.reduceByKey(add).collect()) == [("a", 3), ("b", 1)]


def test_locally_reduced_values_come_as_a_dictionary(letters: RDD[Any]) -> None:
    assert letters.reduceByKeyLocally(add) == {"a": 3, "b": 1}


def test_combiners_may_be_changed_in_place(letters: RDD[Any]) -> None:
    combined = letters.combineByKey(lambda value: [value], _appended, _extended)
    assert sorted(combined.collect()) == [("a", [1, 2]), ("b", [1])]


def _appended(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _extended(values: list[Any], others: list[Any]) -> list[Any]:
    values.extend(others)
    return values


def test_each_key_has_a_zero_value_of_its_own(sc: SparkContext) -> None:
    """Goal: a zero value that can be changed is copied for each key. Method: keys of one partition append to it."""
    pairs = sc.parallelize([(1, "x"), (2, "y"), (1, "z")], 1)
    assert pairs.aggregateByKey([], _appended, _extended).collect() == [(1, ["x", "z"]), (2, ["y"])]
    assert sorted(pairs.foldByKey("-", add).collect()) == [(1, "-xz"), (2, "-y")]


def test_means_by_key_are_aggregated(letters: RDD[Any]) -> None:
    sums = letters.aggregateByKey((0, 0), lambda x, y: (x[0] + y, x[1] + 1), lambda x, y: (x[0] + y[0], x[1] + y[1]))
    assert sorted(sums.collect()) == [("a", (3, 2)), ("b", (1, 1))]


def test_groups_can_be_read_twice_measured_and_sent(letters: RDD[Any]) -> None:
    groups = dict(letters.groupByKey().collect())
    assert isinstance(groups["a"], ResultIterable)
    assert (list(groups["a"]), list(groups["a"]), len(groups["a"]), groups["a"].data) == ([1, 2], [1, 2], 2, [1, 2])
    assert list(pickle.loads(pickle.dumps(groups["a"]))) == [1, 2]


def test_keys_values_and_mapped_values_keep_their_order(sc: SparkContext) -> None:
    pairs = sc.parallelize([("a", ["x", "y"]), ("b", []), ("c", ["z"])], 2)
    assert pairs.keys().collect() == ["a", "b", "c"]
    assert pairs.values().collect() == [["x", "y"], [], ["z"]]
    assert pairs.mapValues(len).collect() == [("a", 2), ("b", 0), ("c", 1)]
    assert pairs.flatMapValues(lambda value: value).collect() == [("a", "x"), ("a", "y"), ("c", "z")]


def test_lists_of_two_are_pairs_as_well(sc: SparkContext) -> None:
    assert sorted(sc.parallelize([[1, 2], [1, 3]], 2).reduceByKey(add).collect()) == [(1, 5)]
    assert sorted(sc.parallelize([[1, 2], [3, 4]], 2).partitionBy(2).collect()) == [(1, 2), (3, 4)]


def test_keys_and_values_are_counted(letters: RDD[Any], sc: SparkContext) -> None:
    assert letters.countByKey() == {"a": 2, "b": 1}
    assert sc.parallelize([1, 2, 1, 2, 2], 2).countByValue() == {1: 2, 2: 3}
    assert sc.parallelize([1], 2).countByValue()[99] == 0, "counts of what is not there are 0"


def test_of_several_values_of_a_key_the_last_is_in_the_map(sc: SparkContext) -> None:
    assert sc.parallelize([(1, "first"), (2, "only"), (1, "last")], 3).collectAsMap() == {1: "last", 2: "only"}


@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_looking_up_reads_the_one_partition_where_the_key_is(letters: RDD[Any], key: str) -> None:
    """Goal: the driver does not guess where text is. Method: both ways give the same."""
    assert letters.partitionBy(5).lookup(key) == letters.lookup(key) == {"a": [1, 2], "b": [1]}.get(key, [])


def test_looking_up_asks_the_partition_function_of_the_program(sc: SparkContext) -> None:
    pairs = sc.parallelize([(number, number * 2) for number in range(20)], 4).partitionBy(3, lambda key: key + 1)
    assert pairs.lookup(7) == [14]


def test_a_key_that_cannot_be_hashed_cannot_be_looked_up(sc: SparkContext) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        sc.parallelize([(1, 1)], 1).partitionBy(2).partitionBy(3).lookup([1])


def test_numbers_none_and_tuples_of_them_are_where_the_driver_thinks() -> None:
    assert is_same_everywhere((1, None, (2.5, True)))
    assert not is_same_everywhere("a")
    assert not is_same_everywhere((1, ("a",)))
    assert not is_same_everywhere(frozenset([1]))


def test_pairs_that_lie_right_are_not_moved(sc: SparkContext) -> None:
    pairs = sc.parallelize([(number % 4, number) for number in range(12)], 3)
    placed = pairs.partitionBy(2)
    assert placed.partitionBy(2) is placed
    assert shuffles(placed.reduceByKey(add)) == 1
    assert shuffles(placed.reduceByKey(add, 3)) == 2
    assert shuffles(placed.mapValues(str).groupByKey()) == 1
    assert shuffles(placed.map(lambda pair: pair).groupByKey()) == 2
    assert (
        parts(placed.reduceByKey(add)) == parts(pairs.reduceByKey(add, 2)) == [[(0, 12), (2, 18)], [(1, 15), (3, 21)]]
    )


def test_partitions_are_as_many_as_before_or_as_configured(sc: SparkContext) -> None:
    with SparkContext("local[2]", conf=SparkConf().set("spark.default.parallelism", "5")) as configured:
        pairs = configured.parallelize([(1, 1)], 3)
        assert pairs.reduceByKey(add).getNumPartitions() == 5
        assert pairs.join(pairs).getNumPartitions() == 5
        assert pairs.partitionBy(3).join(pairs.partitionBy(3)).getNumPartitions() == 5
    assert sc.parallelize([(1, 1)], 3).reduceByKey(add).getNumPartitions() == 3
    assert sc.parallelize([(1, 1)], 3).partitionBy(None).partitioner == Partitioner(3, portable_hash)


@pytest.mark.parametrize("wanted", [0, -1])
def test_fewer_than_one_partition_is_refused(letters: RDD[Any], wanted: int) -> None:
    """PySpark takes them, and silently loses all pairs."""
    with pytest.raises(ValueError, match=f"numPartitions must be at least 1, not {wanted}"):
        letters.reduceByKey(add, wanted)
    with pytest.raises(ValueError, match="at least 1"):
        letters.join(letters, wanted)


def test_a_number_of_partitions_that_is_none_is_refused(letters: RDD[Any]) -> None:
    with pytest.raises(TypeError, match="numPartitions must be an int, not 'many'"):
        letters.groupByKey("many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def stopping(*_: Any) -> Any:
    raise StopIteration


#: Each calls a function of the program in another place.
CALLS: Final[dict[str, Callable[[RDD[Any]], object]]] = {
    "mapped": lambda pairs: pairs.mapValues(stopping).collect(),
    "flat-mapped": lambda pairs: pairs.flatMapValues(stopping).collect(),
    "reduced": lambda pairs: pairs.reduceByKey(stopping).collect(),
    "reduced locally": lambda pairs: pairs.reduceByKeyLocally(stopping),
    "created": lambda pairs: pairs.combineByKey(stopping, add, add).collect(),
    "merged": lambda pairs: pairs.combineByKey(lambda value: value, add, stopping).collect(),
    "in place": lambda pairs: pairs.partitionBy(2).reduceByKey(stopping).collect(),
    "placed": lambda pairs: pairs.partitionBy(2, stopping).collect(),
}


@pytest.mark.parametrize("where", CALLS)
def test_a_stray_stop_iteration_is_an_error_and_no_end(sc: SparkContext, where: str) -> None:
    """Goal: no pair is silently lost because a function of the program ran into the end of an iterator of its own."""
    with pytest.raises((RuntimeError, JobFailed), match="StopIteration"):
        CALLS[where](sc.parallelize([(1, 1), (1, 2), (2, 3), (1, 4)], 2))
