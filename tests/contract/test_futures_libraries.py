"""joblib, scikit-learn and Dask compute on every pool of ours as they do without it."""

from collections.abc import Iterator
from typing import Any

import dask.array
import dask.bag
import dask.config
import joblib
import numpy
import pytest
from dask.delayed import delayed
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from mesolite.frameworks.futures import Executor, joblib_backend

# Dask's own types say less than its documentation.
arange: Any = dask.array.arange
from_sequence: Any = dask.bag.from_sequence


@pytest.fixture
def on_joblib(executor: Executor) -> Iterator[None]:
    joblib_backend.register()
    with joblib.parallel_config("mesolite", executor=executor):
        yield


def square(number: int) -> int:
    return number * number


def is_even(number: int) -> bool:
    return number % 2 == 0


def fail(number: int) -> int:
    raise ValueError(f"no square of {number}")


@pytest.mark.usefixtures("on_joblib")
class TestJoblib:
    def test_results_come_in_order(self) -> None:
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(number) for number in range(50))
        assert found == [number * number for number in range(50)]

    def test_results_can_be_taken_as_they_come(self) -> None:
        found = joblib.Parallel(n_jobs=2, return_as="generator")(joblib.delayed(square)(number) for number in range(20))
        assert list(found) == [number * number for number in range(20)]

    def test_an_exception_is_raised_here(self) -> None:
        with pytest.raises(ValueError, match="no square of 3"):
            joblib.Parallel(n_jobs=2)(joblib.delayed(fail)(number) for number in (3,))

    def test_scikit_learn_finds_what_it_finds_without_it(self) -> None:
        data, target = make_classification(n_samples=120, n_features=6, random_state=7)
        strengths = {"C": [0.01, 0.1, 1.0]}
        here = GridSearchCV(LogisticRegression(), strengths, cv=3, n_jobs=1).fit(data, target)
        there = GridSearchCV(LogisticRegression(), strengths, cv=3, n_jobs=-1).fit(data, target)
        assert there.best_params_ == here.best_params_
        assert numpy.allclose(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])


class TestDask:
    def test_an_array_is_computed(self, executor: Executor) -> None:
        numbers: Any = arange(10_000, chunks=1_000)
        total = (numbers**2).sum().compute(scheduler=executor)
        assert total == sum(number * number for number in range(10_000))

    def test_a_bag_is_computed(self, executor: Executor) -> None:
        bag: Any = from_sequence(range(100), npartitions=5)
        found = bag.map(square).filter(is_even).sum().compute(scheduler=executor)
        assert found == sum(number * number for number in range(0, 100, 2))

    def test_it_can_be_the_default(self, executor: Executor) -> None:
        with dask.config.set(scheduler=executor):
            assert delayed(square)(5).compute() == 25

    def test_an_exception_is_raised_here(self, executor: Executor) -> None:
        with pytest.raises(ValueError, match="no square of 3"):
            delayed(fail)(3).compute(scheduler=executor)
