"""Quantities and limits: amounts by name alone."""

import pytest

from mesolite.errors import ResourceError
from mesolite.resources import Limits, Quantities


def quantities(text: str) -> Quantities:
    return Quantities.parse(text)


def test_quantities_drop_zeros_and_read_and_print_alike() -> None:
    assert str(quantities("mem:64; cpus:0.50;gpus:0;")) == "cpus:0.5;mem:64"
    assert quantities("cpus:1;cpus:2") == quantities("cpus:3")
    assert quantities("") == Quantities.EMPTY
    assert not Quantities.EMPTY
    assert quantities("cpus:1").as_dict() == {"cpus": 1000}
    assert repr(quantities("cpus:1")) == "Quantities.parse('cpus:1')"


def test_a_name_that_is_missing_is_zero() -> None:
    assert quantities("cpus:1").get("mem") == 0
    assert quantities("cpus:1").get("cpus") == 1000
    assert quantities("cpus:1;mem:2").names() == ("cpus", "mem")
    assert list(quantities("mem:2;cpus:1")) == [("cpus", 1000), ("mem", 2000)]


def test_quantities_floor_at_zero_and_drop() -> None:
    assert quantities("cpus:1;mem:64") - quantities("cpus:2;mem:4;gpus:1") == quantities("mem:60")
    assert quantities("cpus:1") + quantities("mem:1") == quantities("cpus:1;mem:1")


def test_quantities_contain_name_by_name() -> None:
    assert quantities("cpus:2;mem:1").contains(quantities("cpus:2"))
    assert not quantities("cpus:2").contains(quantities("cpus:1;mem:1"))
    assert quantities("cpus:1").contains(Quantities.EMPTY)


def test_equal_quantities_hash_alike() -> None:
    assert len({quantities("cpus:1;mem:2"), quantities("mem:2;cpus:1")}) == 1
    assert len({Limits.parse("cpus:1"), Limits.parse("cpus:1.0")}) == 1
    assert quantities("cpus:1") != Limits.parse("cpus:1")
    assert Limits.parse("cpus:1") != quantities("cpus:1")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("cpus", "write name:number"),
        (":1", "write name:number"),
        ("cpus(eng):1", "write name:number"),
        ("ports:[1-2]", "write a number"),
        ("cpus:-1", "negative"),
        ("cpus:nan", "write a number"),
        ("cpus:0.0001", "rounds to 0"),
        ("mem:1e12", "too large"),
    ],
)
def test_mistakes_are_explained(text: str, advice: str) -> None:
    with pytest.raises(ResourceError, match=advice):
        Quantities.parse(text)
    with pytest.raises(ResourceError, match=advice):
        Limits.parse(text)


def test_negative_amounts_cannot_be_made() -> None:
    with pytest.raises(ResourceError, match=r"cpus: -0\.001 is negative"):
        Quantities({"cpus": -1})
    with pytest.raises(ResourceError, match=r"-1\.5 is negative"):
        Limits({"cpus": -1500})


def test_a_limit_that_is_missing_is_infinite_and_zero_allows_nothing() -> None:
    limits = Limits.parse("cpus:2;gpus:0")
    assert limits.get("mem") is None
    assert limits.get("gpus") == 0
    assert limits.contains(quantities("cpus:2;mem:1000"))
    assert not limits.contains(quantities("cpus:2.001"))
    assert not limits.contains(quantities("gpus:1"))
    assert Limits.NONE.contains(quantities("cpus:1000"))
    assert not Limits.NONE
    assert str(limits) == "cpus:2;gpus:0"
    assert repr(limits) == "Limits.parse('cpus:2;gpus:0')"


def test_limits_floor_at_zero_and_stay() -> None:
    rest = Limits.parse("cpus:2;mem:64") - quantities("cpus:5;mem:4;gpus:1")
    assert rest == Limits({"cpus": 0, "mem": 60_000})
    assert rest.names() == ("cpus", "mem")
    assert rest.as_dict() == {"cpus": 0, "mem": 60_000}
    assert list(rest) == [("cpus", 0), ("mem", 60_000)]
