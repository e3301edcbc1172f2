"""What cannot be pickled is named by the way to it."""

import pickle
import threading
from typing import Any, Final, NamedTuple

import cloudpickle
import pytest

from mesolite.executors.python.explain import MAX_PARTS, explain

LOCK: Final = threading.Lock()


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held


class Plain:
    def __init__(self, held: object) -> None:
        self.name = "fine"
        self.held = held


class Rude:
    def __reduce__(self) -> Any:
        raise KeyError("no")

    def __repr__(self) -> str:
        raise KeyError("no")


class Pair(NamedTuple):
    left: object
    right: object


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "result"),
        ([1, 2, LOCK], "result[2]"),
        ({"a": {"b": LOCK}}, "result['a']['b']"),
        (Plain(LOCK), "result.held"),
        (Slotted([LOCK]), "result.held[0]"),
        (Pair(1, LOCK), "result.right"),
        ({Plain: (1, Plain([0, 0, Plain(LOCK)]))}, ".held[2].held"),
        (ValueError("text", LOCK), "result.args[1]"),
        ([Rude()], "result[0]"),
    ],
)
def test_the_smallest_part_that_cannot_be_pickled_is_named(value: object, path: str) -> None:
    said = explain(value, "result", pickle.dumps)
    assert f"{path}: " in said


def test_what_a_function_carries_is_named() -> None:
    lock = threading.Lock()

    def closing_over() -> object:
        return lock

    def with_default(held: object = lock) -> object:
        return held

    assert "function (its variable lock): " in explain(closing_over, "function", cloudpickle.dumps)
    assert "function (its default argument 0): " in explain(with_default, "function", cloudpickle.dumps)


def test_something_that_contains_itself_is_explained_all_the_same() -> None:
    loop: list[object] = []
    loop.extend([loop, LOCK])
    assert explain(loop, "result", pickle.dumps).startswith("result[1]: ")


def test_a_huge_value_is_explained_as_far_as_it_goes() -> None:
    said = explain([*range(2 * MAX_PARTS), LOCK], "result", pickle.dumps)
    assert said.startswith("result (or something in it): ")


def test_what_is_nested_too_deeply_is_told_so() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert "RecursionError" in explain(nested, "result", pickle.dumps)
    while nested:  # taken apart, because its own end would be as deep
        nested = nested.pop()  # type: ignore[assignment]
