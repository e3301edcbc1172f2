"""When a function's bytes are made anew, what travels by value, and what a call is called."""

import functools
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from mesolite.frameworks.futures import errors as every_error
from mesolite.frameworks.futures.pickling import FunctionCache, dumps, is_installed, name_of

LIMIT = 3
SEEN: list[int] = []


def pure(number: int) -> int:
    return math.floor(number) + LIMIT


def calls_pure(number: int) -> int:
    return pure(number)


def impure(number: int) -> int:
    return number + len(SEEN)


def calls_impure(number: int) -> int:
    return impure(number)


@pytest.fixture
def cache() -> FunctionCache:
    return FunctionCache()


@pytest.mark.parametrize("function", [pure, calls_pure, math.floor, functools.reduce])
def test_a_function_that_cannot_have_changed_is_pickled_once(
    cache: FunctionCache, function: Callable[..., Any]
) -> None:
    assert cache.pack(function) is cache.pack(function)


@pytest.mark.parametrize("function", [impure, calls_impure, functools.partial(pure, 1)])
def test_a_function_that_may_have_changed_is_pickled_again(cache: FunctionCache, function: Callable[..., Any]) -> None:
    assert cache.pack(function) is not cache.pack(function)


def test_a_global_that_changed_is_noticed(cache: FunctionCache, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.pack(calls_pure)
    monkeypatch.setitem(pure.__globals__, "LIMIT", 4)
    after = cache.pack(calls_pure)
    assert before.digest != after.digest
    assert isinstance(after.pickled, bytes)
    assert pickle.loads(after.pickled)(1) == 5


def test_a_closure_that_changed_is_noticed(cache: FunctionCache) -> None:
    offset = 1

    def shifted(number: int) -> int:
        return number + offset

    before = cache.pack(shifted)
    offset = 2
    assert cache.pack(shifted).digest != before.digest


def test_a_function_does_not_stand_in_for_another_that_took_its_place_in_memory(cache: FunctionCache) -> None:
    def made(number: int) -> Callable[[], int]:
        return lambda: number

    for number in range(50):
        packed = cache.pack(made(number))
        assert isinstance(packed.pickled, bytes)
        assert pickle.loads(packed.pickled)() == number


def test_modules_of_the_program_travel_by_value() -> None:
    """Method: another process, which has neither this module nor its folder, calls what was sent."""
    program = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(4))"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program], input=dumps(calls_pure), capture_output=True, check=True, cwd="/"
    )
    assert ran.stdout.strip() == b"7"


def test_installed_packages_travel_by_name() -> None:
    assert is_installed("msgspec")
    assert is_installed("json")
    assert is_installed("builtins")
    assert not is_installed(__name__)
    assert not is_installed("mesolite.frameworks.futures.remote")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (pure, "pure"),
        (functools.partial(pure, 1), "pure"),
        (lambda: 0, "<lambda>"),
        (math.floor, "floor"),
        ([].append, "list.append"),
    ],
)
def test_a_call_is_called_by_its_function(function: Callable[..., Any], name: str) -> None:
    assert name_of(function) == name


def errors_of(module: ModuleType) -> list[type[Exception]]:
    return [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == module.__name__
    ]


@pytest.mark.parametrize("error", errors_of(every_error))
def test_every_error_travels_with_its_message(error: type[Exception]) -> None:
    again = pickle.loads(pickle.dumps(error("what happened")))
    assert type(again) is error
    assert "what happened" in str(again)


def test_a_memory_limit_travels_with_its_numbers() -> None:
    again = pickle.loads(pickle.dumps(every_error.OutOfMemory("too much", 10, 20)))
    assert (again.limit_bytes, again.peak_bytes) == (10, 20)
