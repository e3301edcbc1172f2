"""Operations on RDDs against plain lists and dictionaries: any items, any number of partitions, empty ones among them.

The answer must be the oracle's, and in its order wherever PySpark's order is certain: in each partition keys come in the order in
which they come first in the input, and values of a key in theirs.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import add, itemgetter
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mesolite.frameworks.sparklite import RDD, SparkContext
from tests.sparklite_parts import lists, parts

#: Each example runs a job or some.
JOBS: Final = settings(max_examples=30)

Pair = tuple[Any, Any]

atoms = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.0, 2.0]), st.text("ab", max_size=2)
)
keys = st.one_of(atoms, st.tuples(atoms, atoms), st.binary(max_size=1))
#: Values need not be hashable.
values = st.one_of(
    atoms, st.lists(st.integers(0, 2), max_size=2), st.dictionaries(st.integers(0, 1), atoms, max_size=1)
)
pair_lists = st.lists(st.tuples(keys, values), max_size=25)
number_pairs = st.lists(st.tuples(keys, st.integers(-50, 50)), max_size=25)
numbers = st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000)), max_size=25)
slices = st.integers(1, 5)
wanted = st.one_of(st.none(), st.integers(1, 4))
seeds = st.integers(-(2**40), 2**40)


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    with SparkContext("local[2]") as made:
        yield made


def grouped(pairs: Iterable[Pair]) -> dict[Any, list[Any]]:
    """The oracle of all that goes by key: keys and their values in order."""
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def check(rdd: RDD[Any], expected: list[Pair], order: Iterable[Any]) -> None:
    """All expected pairs are there, each key's in one partition, in the order of `order`, and those of a key in theirs."""
    position = {key: number for number, key in enumerate(order)}
    found = parts(rdd)
    for part in found:
        places = [position[key] for key, _ in part]
        assert places == sorted(places)
    homes = Counter(key for part in found for key in {key for key, _ in part})
    assert all(count == 1 for count in homes.values())
    flat = sorted((pair for part in found for pair in part), key=lambda pair: position[pair[0]])
    assert flat == sorted(expected, key=lambda pair: position[pair[0]])


# One RDD of pairs


@JOBS
@given(pairs=pair_lists, count=slices, partitions=wanted)
def test_groups_have_all_values_in_order(
    sc: SparkContext, pairs: list[Pair], count: int, partitions: int | None
) -> None:
    oracle = grouped(pairs)
    rdd = sc.parallelize(pairs, count)
    check(rdd.groupByKey(partitions).mapValues(list), list(oracle.items()), oracle)
    check(rdd.combineByKey(lambda v: [v], lambda c, v: [*c, v], add, partitions), list(oracle.items()), oracle)
    check(rdd.aggregateByKey([], lambda c, v: [*c, v], add, partitions), list(oracle.items()), oracle)
    check(rdd.mapValues(lambda v: [v]).reduceByKey(add, partitions), list(oracle.items()), oracle)
    placed = rdd.partitionBy(partitions)
    check(placed.groupByKey(partitions).mapValues(list), list(oracle.items()), oracle)


@JOBS
@given(pairs=number_pairs, count=slices, partitions=wanted)
def test_sums_by_key_are_those_of_groups(
    sc: SparkContext, pairs: list[Pair], count: int, partitions: int | None
) -> None:
    oracle = {key: sum(group) for key, group in grouped(pairs).items()}
    rdd = sc.parallelize(pairs, count)
    check(rdd.reduceByKey(add, partitions), list(oracle.items()), oracle)
    check(rdd.foldByKey(0, add, partitions), list(oracle.items()), oracle)
    assert list(rdd.reduceByKeyLocally(add).items()) == list(oracle.items())


@JOBS
@given(pairs=pair_lists, count=slices, partitions=st.integers(1, 4))
def test_pairs_lie_where_the_function_says_in_order(
    sc: SparkContext, pairs: list[Pair], count: int, partitions: int
) -> None:
    def where(key: Any) -> int:
        return len(str(key)) * 7 - 3

    expected = [[pair for pair in pairs if where(pair[0]) % partitions == number] for number in range(partitions)]
    assert parts(sc.parallelize(pairs, count).partitionBy(partitions, where)) == expected


@JOBS
@given(pairs=pair_lists, count=slices)
def test_keys_and_values_are_mapped_in_place(sc: SparkContext, pairs: list[Pair], count: int) -> None:
    rdd = sc.parallelize(pairs, count)
    assert rdd.keys().collect() == [key for key, _ in pairs]
    assert rdd.values().collect() == [value for _, value in pairs]
    assert rdd.mapValues(repr).collect() == [(key, repr(value)) for key, value in pairs]
    twice = rdd.flatMapValues(lambda value: [value, repr(value)]).collect()
    assert twice == [(key, each) for key, value in pairs for each in (value, repr(value))]


@JOBS
@given(pairs=pair_lists, count=slices)
def test_dictionaries_and_counts_are_plain_pythons(sc: SparkContext, pairs: list[Pair], count: int) -> None:
    rdd = sc.parallelize(pairs, count)
    assert rdd.collectAsMap() == dict(pairs)
    assert list(rdd.countByKey().items()) == list(Counter(key for key, _ in pairs).items())
    assert rdd.keys().countByValue() == Counter(key for key, _ in pairs)


@JOBS
@given(pairs=pair_lists, key=keys, count=slices, partitions=st.integers(1, 4))
def test_looking_up_finds_all_values(
    sc: SparkContext, pairs: list[Pair], key: Any, count: int, partitions: int
) -> None:
    expected = [value for each, value in pairs if each == key]
    rdd = sc.parallelize(pairs, count)
    assert rdd.lookup(key) == expected
    assert rdd.partitionBy(partitions).lookup(key) == expected


# Several RDDs


def joined(left: list[Pair], right: list[Pair], *, all_left: bool, all_right: bool) -> list[Pair]:
    """The oracle of joins."""
    ours, theirs = grouped(left), grouped(right)
    pairs: list[Pair] = []
    for key in grouped([*left, *right]):
        mine: list[Any] = ours.get(key, [None] if all_right else [])
        others: list[Any] = theirs.get(key, [None] if all_left else [])
        pairs.extend((key, (value, other)) for value in mine for other in others)
    return pairs


@JOBS
@given(
    left=pair_lists,
    right=pair_lists,
    counts=st.tuples(slices, slices),
    placed=st.tuples(wanted, wanted),
    partitions=wanted,
)
def test_sides_meet_by_their_keys(
    sc: SparkContext,
    left: list[Pair],
    right: list[Pair],
    counts: tuple[int, int],
    placed: tuple[int | None, int | None],
    partitions: int | None,
) -> None:
    """Method: each side may lie by its keys already, in the right number of partitions or another."""
    one, other = (
        rdd if each is None else rdd.partitionBy(each)
        for rdd, each in zip((sc.parallelize(left, counts[0]), sc.parallelize(right, counts[1])), placed, strict=True)
    )
    # Partitioning puts keys of one partition before those of another, so only the order within groups is certain.
    order = [*grouped(pair for rdd in (one, other) for pair in rdd.collect())]
    check(one.join(other, partitions), joined(left, right, all_left=False, all_right=False), order)
    check(one.leftOuterJoin(other, partitions), joined(left, right, all_left=True, all_right=False), order)
    check(one.rightOuterJoin(other, partitions), joined(left, right, all_left=False, all_right=True), order)
    check(one.fullOuterJoin(other, partitions), joined(left, right, all_left=True, all_right=True), order)
    ours, theirs = grouped(left), grouped(right)
    both = [(key, (ours.get(key, []), theirs.get(key, []))) for key in order]
    check(one.cogroup(other, partitions).mapValues(lists), both, order)
    rest = [(key, value) for key, group in ours.items() if key not in theirs for value in group]
    check(one.subtractByKey(other, partitions), rest, order)


@JOBS
@given(sides=st.lists(st.tuples(pair_lists, slices, wanted), min_size=2, max_size=4))
def test_any_number_of_sides_meet(sc: SparkContext, sides: list[tuple[list[Pair], int, int | None]]) -> None:
    rdds = [
        sc.parallelize(pairs, count) if placed is None else sc.parallelize(pairs, count).partitionBy(placed)
        for pairs, count, placed in sides
    ]
    order = [*grouped(pair for rdd in rdds for pair in rdd.collect())]
    oracles = [grouped(pairs) for pairs, _, _ in sides]
    expected = [(key, tuple(oracle.get(key, []) for oracle in oracles)) for key in order]
    check(rdds[0].groupWith(*rdds[1:]).mapValues(lists), expected, order)


# Numbers


@JOBS
@given(items=numbers, count=slices)
def test_statistics_are_those_of_all_numbers(sc: SparkContext, items: list[float], count: int) -> None:
    stats = sc.parallelize(items, count).stats()
    assert sc.parallelize(items, count).sum() == pytest.approx(math.fsum(items), abs=1e-6)
    assert stats.count() == len(items)
    if items:
        assert (stats.max(), stats.min()) == (max(items), min(items))
        assert stats.mean() == pytest.approx(statistics.fmean(items), abs=1e-6)
        assert stats.variance() == pytest.approx(statistics.pvariance(items), abs=1e-3)


@JOBS
@given(items=numbers, bounds=st.lists(st.integers(-100, 100), min_size=2, max_size=6, unique=True), count=slices)
def test_histograms_count_what_is_between_bounds(
    sc: SparkContext, items: list[float], bounds: list[int], count: int
) -> None:
    """Method: numbers that lie so close to a bound that a division could put them on it are left out."""
    bounds.sort()
    assume(not any(0 < abs(item - bound) < 1e-6 for item in items for bound in bounds))
    expected = [sum(low <= item < high for item in items) for low, high in pairwise(bounds)]
    expected[-1] += sum(item == bounds[-1] for item in items)
    assert sc.parallelize(items, count).histogram(bounds) == (bounds, expected)


@JOBS
@given(items=numbers.filter(bool), buckets=st.integers(1, 8), count=slices)
def test_made_buckets_hold_all_numbers(sc: SparkContext, items: list[float], buckets: int, count: int) -> None:
    bounds, counts = sc.parallelize(items, count).histogram(buckets)
    assert (bounds[0], bounds[-1], sum(counts)) == (min(items), max(items), len(items))
    assert len(bounds) - 1 == len(counts) == (1 if min(items) == max(items) else buckets)


# Samples


def is_in_order(part: list[Any], whole_list: list[Any]) -> bool:
    """Whether the first is the second with items left out."""
    rest = iter(whole_list)
    return all(any(item is other or item == other for other in rest) for item in part)


@JOBS
@given(items=st.lists(values, max_size=25), fraction=st.floats(0, 1), seed=seeds, count=slices)
def test_samples_leave_out_and_never_add(
    sc: SparkContext, items: list[Any], fraction: float, seed: int, count: int
) -> None:
    rdd = sc.parallelize(items, count)
    sample = rdd.sample(False, fraction, seed).collect()
    assert is_in_order(sample, items)
    assert rdd.sample(False, fraction, seed).collect() == sample
    assert rdd.sample(False, 1.0, seed).collect() == items
    assert all(item in items for item in rdd.sample(True, 2.0, seed).collect())
    keyed = rdd.map(lambda item: ("key", item))
    assert keyed.sampleByKey(False, {"key": fraction}, seed).values().collect() == sample


@JOBS
@given(items=st.lists(values, max_size=25), weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=4), seed=seeds)
def test_splits_are_the_whole(sc: SparkContext, items: list[Any], weights: list[float], seed: int) -> None:
    splits = [split.collect() for split in sc.parallelize(list(enumerate(items)), 3).randomSplit(weights, seed)]
    assert sorted((pair for split in splits for pair in split), key=itemgetter(0)) == list(enumerate(items))


@JOBS
@given(items=st.integers(0, 30), num=st.integers(0, 40), seed=seeds, count=slices)
def test_taken_samples_have_the_wanted_size(sc: SparkContext, items: int, num: int, seed: int, count: int) -> None:
    rdd = sc.parallelize(range(items), count)
    taken = rdd.takeSample(False, num, seed)
    assert (len(taken), len(set(taken))) == (min(num, items), min(num, items))
    assert len(rdd.takeSample(True, num, seed)) == (num if items else 0)


# Items of any kind


@JOBS
@given(items=st.lists(values, max_size=25), count=slices)
def test_items_are_mapped_filtered_and_counted_in_order(sc: SparkContext, items: list[Any], count: int) -> None:
    rdd = sc.parallelize(items, count)
    assert rdd.collect() == items
    assert rdd.count() == len(items)
    assert rdd.map(repr).collect() == [repr(item) for item in items]
    assert rdd.flatMap(lambda item: [item, item]).collect() == [each for item in items for each in (item, item)]
    assert rdd.filter(bool).collect() == [item for item in items if item]
