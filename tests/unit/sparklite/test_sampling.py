"""Samples, case by case. Which items come is in test_as_pyspark.py."""

import sys
from random import Random
from statistics import fmean, pvariance

import pytest

from mesolite.executors.sparklite.samplers import poisson
from mesolite.frameworks.sparklite import SparkContext


def test_documented_samples_are_of_the_documented_size(sc: SparkContext) -> None:
    assert 6 <= sc.parallelize(range(100), 4).sample(False, 0.1, 81).count() <= 14
    numbers = sc.parallelize(range(10), 2)
    assert len(numbers.takeSample(True, 20, 1)) == 20
    assert len(numbers.takeSample(False, 5, 2)) == 5
    assert len(numbers.takeSample(False, 15, 3)) == 10


def test_a_sample_is_the_same_each_time_it_is_computed(sc: SparkContext) -> None:
    for sample in (sc.parallelize(range(200), 4).sample(False, 0.5), sc.parallelize(range(200), 4).sample(True, 0.5)):
        assert sample.collect() == sample.collect()
    seeded = [sc.parallelize(range(200), 4).sample(False, 0.5, 9).collect() for _ in range(2)]
    assert seeded[0] == seeded[1]


def test_without_a_seed_samples_differ(sc: SparkContext) -> None:
    numbers = sc.parallelize(range(1000), 2)
    assert numbers.sample(False, 0.5).collect() != numbers.sample(False, 0.5).collect()


def test_splits_are_all_items_and_none_twice(sc: SparkContext) -> None:
    first, second = sc.parallelize(range(500), 1).randomSplit([2, 3], 17)
    assert sorted(first.collect() + second.collect()) == list(range(500))
    assert 150 < first.count() < 250
    assert 250 < second.count() < 350


def test_keys_are_sampled_by_their_fractions(sc: SparkContext) -> None:
    fractions = {"a": 0.2, "b": 0.1}
    pairs = sc.parallelize([(key, number) for key in fractions for number in range(1000)], 4)
    sample = dict(pairs.sampleByKey(False, fractions, 2).groupByKey().collect())
    assert 100 < len(sample["a"]) < 300
    assert 50 < len(sample["b"]) < 150
    assert set(sample["a"]) <= set(range(1000))


def test_a_sample_keeps_keys_where_they_are(sc: SparkContext) -> None:
    placed = sc.parallelize([(1, 1)], 2).partitionBy(3)
    assert placed.sample(False, 0.5).partitioner == placed.partitioner
    assert placed.sampleByKey(False, {}).partitioner == placed.partitioner
    assert placed.randomSplit([1])[0].partitioner == placed.partitioner


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 30.0])
def test_poisson_draws_have_the_mean_and_the_variance(mean: float) -> None:
    generator = Random(5)
    drawn = [poisson(generator, mean) for _ in range(4000)]
    assert fmean(drawn) == pytest.approx(mean, rel=0.1, abs=0.001)
    assert pvariance(drawn) == pytest.approx(mean, rel=0.15, abs=0.001)


def test_what_cannot_be_sampled_is_refused(sc: SparkContext) -> None:
    numbers = sc.parallelize(range(10), 2)
    with pytest.raises(ValueError, match="Fraction must be nonnegative"):
        numbers.sample(False, -0.1)
    with pytest.raises(ValueError, match="Weights must be nonnegative"):
        numbers.randomSplit([1, -1])
    with pytest.raises(ValueError, match="Sum of weights must be positive"):
        numbers.randomSplit([0.0])
    with pytest.raises(AssertionError, match="Negative fraction value: -1"):
        numbers.sampleByKey(False, {1: -1})
    with pytest.raises(ValueError, match="cannot be negative"):
        numbers.takeSample(False, -1)
    with pytest.raises(ValueError, match="cannot be greater than"):
        numbers.takeSample(False, sys.maxsize)
