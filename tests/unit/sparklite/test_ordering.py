"""Sorting and placing: partitions hold what PySpark's hold, because the sample and the places are the same."""

import pytest

from mesolite.frameworks.sparklite import SparkContext

PAIRS = [("a", 1), ("b", 2), ("1", 3), ("d", 4), ("2", 5)]


def test_sort_by_key_puts_pairs_in_order_over_the_partitions(sc: SparkContext) -> None:
    rdd = sc.parallelize(PAIRS)
    assert rdd.sortByKey().first() == ("1", 3)
    in_order = [("1", 3), ("2", 5), ("a", 1), ("b", 2), ("d", 4)]
    assert rdd.sortByKey(True, 1).collect() == in_order
    assert rdd.sortByKey(True, 2).collect() == in_order
    assert rdd.sortByKey(False, 2).collect() == in_order[::-1]


def test_sort_by_key_may_go_by_a_function_of_the_key(sc: SparkContext) -> None:
    words = ["Mary", "had", "a", "little", "lamb", "whose", "fleece", "was", "white", "as", "snow", "and"]
    pairs = [(word, place) for place, word in enumerate(words, 1)]
    ordered = sc.parallelize(pairs).sortByKey(True, 3, keyfunc=lambda k: k.lower()).collect()
    assert ordered[:3] == [("a", 3), ("and", 12), ("as", 10)]
    assert ordered == sorted(pairs, key=lambda pair: pair[0].lower())


def test_sort_by_goes_by_any_function(sc: SparkContext) -> None:
    assert sc.parallelize(PAIRS).sortBy(lambda x: x[0]).collect() == sorted(PAIRS)
    by_number = [("a", 1), ("b", 2), ("1", 3), ("d", 4), ("2", 5)]
    assert sc.parallelize(PAIRS).sortBy(lambda x: x[1]).collect() == by_number


def test_the_sample_parts_partitions_where_spark_parts_them(sc: SparkContext) -> None:
    """More pairs than the sample holds, so that what is drawn decides."""
    assert sc.parallelize(range(100), 5).sortBy(lambda x: -x, numPartitions=3).glom().collect() == [
        list(range(99, 74, -1)),
        list(range(74, 34, -1)),
        list(range(34, -1, -1)),
    ]
    pairs = sc.parallelize([(i * 37 % 101, i) for i in range(500)], 4)
    rising = pairs.sortByKey(True, 3).glom().map(lambda x: (len(x), x[0], x[-1])).collect()
    assert rising == [(163, (0, 0), (32, 454)), (208, (33, 20), (74, 406)), (129, (75, 73), (100, 434))]
    falling = pairs.sortByKey(False, 4).glom().map(lambda x: (len(x), x[0], x[-1])).collect()
    assert falling == [
        (114, (100, 30), (78, 488)),
        (123, (77, 13), (53, 430)),
        (129, (52, 56), (27, 402)),
        (134, (26, 28), (0, 404)),
    ]


def test_equal_keys_keep_their_order_in_both_directions(sc: SparkContext) -> None:
    rdd = sc.parallelize([(i % 3, i) for i in range(12)], 3)
    assert rdd.sortByKey(False, 2).glom().collect() == [
        [(2, 2), (2, 5), (2, 8), (2, 11)],
        [(1, 1), (1, 4), (1, 7), (1, 10), (0, 0), (0, 3), (0, 6), (0, 9)],
    ]


def test_nothing_is_in_order_already(sc: SparkContext) -> None:
    empty = sc.parallelize([], 3)
    assert empty.sortByKey().collect() == []
    assert empty.sortBy(lambda x: x).getNumPartitions() == 3


def test_a_sorted_rdd_knows_where_its_keys_are(sc: SparkContext) -> None:
    placed = sc.parallelize([(i, i) for i in range(9)], 3).sortByKey(numPartitions=3)
    assert placed.partitioner is not None
    assert placed.partitioner.numPartitions == 3
    assert [placed.partitioner(key) for key in (0, 4, 8)] == [0, 1, 2]


def test_sorting_into_no_partitions_is_refused(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match=r"^Number of partitions must be positive\.$"):
        sc.parallelize([(1, 1)]).sortByKey(numPartitions=0)


def test_partitions_can_be_sorted_each_for_itself(sc: SparkContext) -> None:
    rdd = sc.parallelize([(0, 5), (3, 8), (2, 6), (0, 8), (3, 8), (1, 3)], 2)
    rising = rdd.repartitionAndSortWithinPartitions(2, lambda x: x % 2, True)
    assert rising.glom().collect() == [[(0, 5), (0, 8), (2, 6)], [(1, 3), (3, 8), (3, 8)]]
    falling = rdd.repartitionAndSortWithinPartitions(2, lambda x: x % 2, False)
    assert falling.glom().collect() == [[(2, 6), (0, 5), (0, 8)], [(3, 8), (3, 8), (1, 3)]]


# coalesce and repartition


@pytest.mark.parametrize(
    ("partitions", "wanted", "ends"),
    [
        (5, 2, [4, 10]),
        (5, 3, [2, 6, 10]),
        (7, 4, [1, 4, 7, 10]),
        (3, 8, [3, 6, 10]),
        (3, 3, [3, 6, 10]),
        (5, 1, [10]),
    ],
)
def test_coalesce_takes_neighbours_together(sc: SparkContext, partitions: int, wanted: int, ends: list[int]) -> None:
    parts = sc.parallelize(range(10), partitions).coalesce(wanted).glom().collect()
    assert parts == [list(range(begin, end)) for begin, end in zip([0, *ends], ends, strict=False)]


def test_coalesce_to_one_has_all(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3, 4, 5], 3).coalesce(1).glom().collect() == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize("number", [0, -1])
def test_there_is_no_rdd_without_partitions(sc: SparkContext, number: int) -> None:
    for method in ("coalesce", "repartition"):
        with pytest.raises(ValueError, match=r"^Number of partitions must be positive\.$"):
            getattr(sc.parallelize([1]), method)(number)


def test_repartition_has_as_many_as_asked_for(sc: SparkContext) -> None:
    rdd = sc.parallelize([1, 2, 3, 4, 5, 6, 7], 4)
    assert sorted(rdd.glom().collect()) == [[1], [2, 3], [4, 5], [6, 7]]
    assert len(rdd.repartition(2).glom().collect()) == 2
    assert len(rdd.repartition(10).glom().collect()) == 10
    assert sorted(rdd.repartition(10).collect()) == [1, 2, 3, 4, 5, 6, 7]


def test_repartition_spreads_batches_where_spark_spreads_them(sc: SparkContext) -> None:
    assert sc.parallelize(range(25), 2).repartition(3).glom().collect() == [
        list(range(10)),
        list(range(10, 22)),
        list(range(22, 25)),
    ]
    assert sc.parallelize(range(7), 1).repartition(5).glom().collect() == [[], [], [], [], list(range(7))]
    assert sc.parallelize(range(64), 4).repartition(2).glom().collect() == [
        [*range(10, 16), *range(26, 42), *range(48, 58)],
        [*range(10), *range(16, 26), *range(42, 48), *range(58, 64)],
    ]
    sizes = sc.parallelize(range(200), 5).repartition(7).glom().map(lambda x: (len(x), x[0], x[-1])).collect()
    assert sizes == [
        (20, 50, 129),
        (20, 60, 139),
        (40, 70, 169),
        (40, 0, 179),
        (30, 10, 189),
        (30, 20, 199),
        (20, 30, 49),
    ]


def test_barriers_mark_the_step_that_runs_together(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(4), 2)
    together = rdd.barrier().mapPartitions(lambda items: [sum(items)])
    assert together.lineage.barrier
    assert not rdd.lineage.barrier
    assert together.collect() == [1, 5]
    numbered = rdd.barrier().mapPartitionsWithIndex(lambda index, items: [(index, sum(items))])
    assert numbered.lineage.barrier
    assert numbered.collect() == [(0, 1), (1, 5)]
