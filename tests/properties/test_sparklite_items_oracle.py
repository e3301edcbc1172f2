"""Operations on RDDs of any items, and actions, against plain lists: see test_sparklite_oracle.py for those on pairs."""

from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import product
from operator import add
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesolite.frameworks.sparklite import SparkContext
from tests.sparklite_parts import parts

#: Each example runs some jobs.
JOBS: Final = settings(max_examples=20)

atoms = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 2.0]), st.text("ab", max_size=2))
hashable = st.lists(st.one_of(atoms, st.tuples(atoms, atoms)), max_size=20)
anything = st.lists(st.one_of(atoms, st.lists(st.integers(0, 2), max_size=2)), max_size=20)
numbers = st.lists(st.integers(-30, 30), max_size=20)
texts = st.lists(st.text("abc", max_size=3), max_size=20)
slices = st.integers(1, 5)
wanted = st.one_of(st.none(), st.integers(1, 4))


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    with SparkContext("local[2]") as made:
        yield made


def flat(found: list[list[Any]]) -> list[Any]:
    return [item for part in found for item in part]


@JOBS
@given(items=anything, count=slices)
def test_items_stay_in_order_through_steps(sc: SparkContext, items: list[Any], count: int) -> None:
    rdd = sc.parallelize(items, count)
    assert flat(rdd.glom().collect()) == items
    assert len(rdd.glom().collect()) == count
    assert rdd.keyBy(repr).collect() == [(repr(item), item) for item in items]
    assert rdd.zipWithIndex().collect() == [(item, number) for number, item in enumerate(items)]
    assert rdd.zip(rdd.map(repr)).collect() == [(item, repr(item)) for item in items]
    assert sum(rdd.mapPartitions(lambda part: [len(list(part))]).collect()) == len(items)
    assert len({number for _, number in rdd.zipWithUniqueId().collect()}) == len(items)
    assert list(rdd.toLocalIterator()) == items


@JOBS
@given(left=anything, right=anything, counts=st.tuples(slices, slices))
def test_two_are_put_together(sc: SparkContext, left: list[Any], right: list[Any], counts: tuple[int, int]) -> None:
    one, other = sc.parallelize(left, counts[0]), sc.parallelize(right, counts[1])
    assert one.union(other).collect() == left + right
    assert (one + one).collect() == left + left
    pairs = one.cartesian(other).collect()
    assert len(pairs) == len(left) * len(right)
    assert Counter(map(repr, pairs)) == Counter(map(repr, product(left, right)))


@JOBS
@given(left=hashable, right=hashable, counts=st.tuples(slices, slices), partitions=wanted)
def test_sets_are_made_and_compared(
    sc: SparkContext, left: list[Any], right: list[Any], counts: tuple[int, int], partitions: int | None
) -> None:
    one, other = sc.parallelize(left, counts[0]), sc.parallelize(right, counts[1])
    distinct = one.distinct(partitions).collect()
    assert (len(distinct), set(distinct)) == (len(set(left)), set(left))
    both = one.intersection(other).collect()
    assert (len(both), set(both)) == (len(set(left) & set(right)), set(left) & set(right))
    rest = Counter({item: count for item, count in Counter(left).items() if item not in set(right)})
    assert Counter(one.subtract(other, partitions).collect()) == rest


@JOBS
@given(items=hashable, count=slices, partitions=wanted)
def test_items_are_grouped_by_what_is_made_of_them(
    sc: SparkContext, items: list[Any], count: int, partitions: int | None
) -> None:
    oracle: dict[str, list[Any]] = {}
    for item in items:
        oracle.setdefault(type(item).__name__, []).append(item)
    rdd = sc.parallelize(items, count).groupBy(lambda item: type(item).__name__, partitions)
    assert {key: list(group) for key, group in rdd.collect()} == oracle


@JOBS
@given(items=texts, count=slices, partitions=wanted, ascending=st.booleans())
def test_items_are_sorted_as_python_sorts(
    sc: SparkContext, items: list[str], count: int, partitions: int | None, ascending: bool
) -> None:
    """Method: by a key that many share, with the place in the input as the value. Equal keys keep their order."""
    rdd = sc.parallelize(items, count)
    expected = sorted(items, reverse=not ascending)
    assert rdd.sortBy(lambda item: item, ascending, partitions).collect() == expected
    pairs = sc.parallelize([(len(item), number) for number, item in enumerate(items)], count)
    ordered = pairs.sortByKey(ascending, partitions).collect()
    assert [key for key, _ in ordered] == sorted((len(item) for item in items), reverse=not ascending)
    assert sorted(ordered) == sorted(pairs.collect())
    if ascending:
        assert ordered == sorted(ordered), "equal keys keep the order in which they came"
    placed = parts(pairs.repartitionAndSortWithinPartitions(3, lambda key: key, ascending))
    assert [[key for key, _ in part] for part in placed] == [
        sorted((len(item) for item in items if len(item) % 3 == number), reverse=not ascending) for number in range(3)
    ]


@JOBS
@given(items=anything, count=slices, fewer=slices)
def test_partitions_are_made_fewer_and_more(sc: SparkContext, items: list[Any], count: int, fewer: int) -> None:
    rdd = sc.parallelize(items, count)
    joined = rdd.coalesce(fewer)
    assert joined.collect() == items
    assert joined.getNumPartitions() == min(count, fewer)
    spread = rdd.repartition(fewer)
    assert spread.getNumPartitions() == fewer
    assert Counter(map(repr, spread.collect())) == Counter(map(repr, items))


@JOBS
@given(items=numbers, count=slices, num=st.integers(0, 25))
def test_actions_answer_as_lists_do(sc: SparkContext, items: list[int], count: int, num: int) -> None:
    rdd = sc.parallelize(items, count)
    assert rdd.take(num) == items[:num]
    assert rdd.takeOrdered(num) == sorted(items)[:num]
    assert rdd.top(num) == sorted(items, reverse=True)[:num]
    assert rdd.takeOrdered(num, key=lambda item: -item) == sorted(items, key=lambda item: -item)[:num]
    assert rdd.isEmpty() == (not items)
    assert rdd.fold(0, add) == sum(items)
    assert rdd.aggregate(0, add, add) == rdd.treeAggregate(0, add, add) == sum(items)
    if items:
        assert (rdd.max(), rdd.min(), rdd.first()) == (max(items), min(items), items[0])
        assert rdd.reduce(add) == rdd.treeReduce(add) == sum(items)


@JOBS
@given(items=texts.filter(bool), count=slices)
def test_reductions_keep_the_order_of_items(sc: SparkContext, items: list[str], count: int) -> None:
    """Goal: functions need not be commutative for actions. Method: text put together."""
    rdd = sc.parallelize(items, count)
    assert rdd.reduce(add) == reduce(add, items)
    assert rdd.fold("", add) == "".join(items)
    assert rdd.aggregate("", add, add) == "".join(items)


@JOBS
@given(items=numbers, count=slices)
def test_what_is_kept_is_what_was_computed(sc: SparkContext, items: list[int], count: int) -> None:
    kept = sc.parallelize(items, count).map(lambda item: item * 2).cache()
    assert kept.collect() == kept.collect() == [item * 2 for item in items]
    assert sorted(kept.map(lambda item: (item, 1)).reduceByKey(add).collect()) == sorted(
        Counter(item * 2 for item in items).items()
    )
    kept.unpersist()
    assert kept.count() == len(items)
