"""Statistics, case by case. What PySpark answers is in test_as_pyspark.py."""

import math
import pickle
import statistics

import numpy
import pytest

from mesolite.executors.sparklite.hyperloglog import HyperLogLog
from mesolite.executors.sparklite.stat_counter import StatCounter
from mesolite.frameworks.sparklite import SparkContext
from mesolite.frameworks.sparklite.bounded_float import BoundedFloat


def test_documented_statistics_come_out(sc: SparkContext) -> None:
    numbers = sc.parallelize([1, 2, 3], 2)
    assert (numbers.sum(), numbers.mean(), numbers.sampleVariance(), numbers.sampleStdev()) == (6, 2.0, 1.0, 1.0)
    assert numbers.variance() == pytest.approx(2 / 3)
    assert numbers.stdev() == pytest.approx(math.sqrt(2 / 3))
    assert repr(sc.parallelize([1.0, 2.0, 3.0, 4.0], 2).stats()) == (
        "(count: 4, mean: 2.5, stdev: 1.118033988749895, max: 4.0, min: 1.0)"
    )


def test_counters_of_parts_are_merged_as_if_one_had_counted_all() -> None:
    numbers = [3.0, -7.5, 1e6, 4.0, 4.0, 0.1] * 20
    for cut in (0, 1, 5, 60, 119, 120):
        merged = StatCounter(numbers[:cut]).mergeStats(StatCounter(numbers[cut:]))
        assert (merged.count(), merged.max(), merged.min()) == (120, 1e6, -7.5)
        assert merged.mean() == pytest.approx(statistics.fmean(numbers))
        assert merged.variance() == pytest.approx(statistics.pvariance(numbers))
        assert merged.sampleVariance() == pytest.approx(statistics.variance(numbers))
        assert merged.sum() == pytest.approx(math.fsum(numbers))


def test_a_counter_of_nothing_has_no_variance() -> None:
    empty = StatCounter()
    assert (empty.count(), empty.mean(), empty.max(), empty.min()) == (0, 0.0, -math.inf, math.inf)
    assert math.isnan(empty.variance())
    assert math.isnan(StatCounter([1]).sampleVariance())


def test_a_counter_merges_values_copies_itself_and_itself() -> None:
    counter = StatCounter([1.0]).merge(3.0)
    copy = counter.copy().merge(8.0)
    assert (counter.count(), copy.count(), copy.mean()) == (2, 3, 4.0)
    assert counter.mergeStats(counter).count() == 4
    assert pickle.loads(pickle.dumps(copy)).asDict() == copy.asDict()


def test_a_counter_merges_only_counters() -> None:
    with pytest.raises(TypeError, match="Can only merge StatCounter but got <class 'int'>"):
        StatCounter().mergeStats(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_not_a_number_is_the_largest_and_the_smallest_once_it_has_come() -> None:
    for numbers in ([math.nan, 1.0], [1.0, math.nan], [1.0, math.nan, 2.0]):
        counter = StatCounter(numbers)
        assert math.isnan(counter.max())
        assert math.isnan(counter.min())
        merged = StatCounter([5.0]).mergeStats(counter)
        assert math.isnan(merged.max())
    assert StatCounter([math.inf, -math.inf]).max() == math.inf


def test_documented_histograms_come_out(sc: SparkContext) -> None:
    numbers = sc.parallelize(range(51), 3)
    assert numbers.histogram(2) == ([0, 25, 50], [25, 26])
    assert numbers.histogram([0, 5, 25, 50]) == ([0, 5, 25, 50], [5, 20, 26])
    assert numbers.histogram([0, 15, 30, 45, 60]) == ([0, 15, 30, 45, 60], [15, 15, 15, 6])
    words = sc.parallelize(["ab", "ac", "b", "bd", "ef"], 2)
    assert words.histogram(("a", "b", "c")) == (("a", "b", "c"), [2, 2])


def test_a_histogram_of_nothing_has_no_buckets_to_make(sc: SparkContext) -> None:
    for nothing in ([], [None, math.nan]):
        with pytest.raises(ValueError, match="can not generate buckets from empty RDD"):
            sc.parallelize(nothing, 2).histogram(3)


@pytest.mark.parametrize("items", [0, 1, 20, 1_000, 30_000])
def test_different_items_are_counted_about_right(sc: SparkContext, items: int) -> None:
    """Goal: within four standard deviations, sparse or dense. Method: text and numbers, each twice."""
    numbers = sc.parallelize([*range(items), *range(items)], 4)
    for relative_sd in (0.05, 0.01):
        assert numbers.countApproxDistinct(relative_sd) == pytest.approx(items, rel=4 * relative_sd)
    assert numbers.map(str).countApproxDistinct() == pytest.approx(items, rel=0.2)


def test_equal_numbers_are_one_whatever_their_type(sc: SparkContext) -> None:
    assert sc.parallelize([1, 1.0, True, (1, None), (1.0, None)], 2).countApproxDistinct(0.01) == 2


def test_counters_with_few_and_many_registers_are_merged() -> None:
    few, many, all_of_it = (HyperLogLog(0.05) for _ in range(3))
    few.add_all(range(3))
    many.add_all(range(5_000))
    all_of_it.add_all(range(5_000))
    few.merge(many)
    many.merge(few)
    assert few.estimate() == many.estimate() == all_of_it.estimate()


def test_approximate_answers_say_how_sure_they_are(sc: SparkContext) -> None:
    numbers = sc.parallelize(range(1000), 10)
    assert numbers.countApprox(1000, 1.0) == 1000
    total = numbers.sumApprox(1000)
    assert (total, total.confidence, total.low, total.high) == (499500.0, 1.0, 499500.0, 499500.0)
    assert numbers.meanApprox(1000) == 499.5
    assert pickle.loads(pickle.dumps(BoundedFloat(1.0, 0.5, 0.0, 2.0))).high == 2.0


def test_arrays_are_counted_element_by_element(sc: SparkContext) -> None:
    arrays = [numpy.array([1.0, -2.0]), numpy.array([3.0, 5.0]), numpy.array([2.0, 0.0])]
    stats = sc.parallelize(arrays, 2).stats()
    assert stats.count() == 3
    assert list(stats.mean()) == [2.0, 1.0]
    assert (list(stats.max()), list(stats.min())) == ([3.0, 5.0], [1.0, -2.0])
    assert list(stats.stdev()) == pytest.approx([math.sqrt(2 / 3), math.sqrt(26 / 3)])
    assert list(arrays[0]) == [1.0, -2.0], "what was counted is as it was"
    assert list(sc.parallelize(arrays, 2).sum()) == [6.0, 3.0]
