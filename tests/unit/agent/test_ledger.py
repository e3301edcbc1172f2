"""The agent's book of resources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.agent.ledger import Holding, ResourceLedger, holding_of
from mesolite.resources import Range, Resource, Resources, ResourceType


def holding(text: str) -> Holding:
    found = holding_of(Resources.parse(text))
    assert isinstance(found, Holding), found
    return found


def ledger(text: str = "cpus:4;mem:1000;ports:[100-200];disks:{a,b}") -> ResourceLedger:
    return ResourceLedger(Resources.parse(text))


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ("cpus:4;mem:1000;ports:[100-200];disks:{a,b}", True),
        ("cpus:4.001", False),
        ("gpus:1", False),
        ("ports:[100-201]", False),
        ("ports:[150-150]", True),
        ("disks:{a}", True),
        ("disks:{c}", False),
        ("chairs:{c}", False),
        ("lanes:[1-2]", False),
    ],
)
def test_what_fits_into_an_empty_machine(asked: str, fits: bool) -> None:
    assert (ledger().shortage(holding(asked)) is None) == fits


def test_reserved_and_unreserved_come_out_of_one_machine() -> None:
    book = ledger("cpus:1;cpus(web):1")
    book.take(holding("cpus(web):1.5"))
    assert book.shortage(holding("cpus:0.5")) is None
    assert book.shortage(holding("cpus:0.6")) == "cpus: 0.6 asked, 0.5 free"


def test_what_is_taken_is_not_there_and_what_is_given_back_is() -> None:
    book = ledger()
    taken = holding("cpus:3;ports:[100-150];disks:{a}")
    book.take(taken)
    for missing in ("cpus:2", "ports:[150-151]", "disks:{a}"):
        assert book.shortage(holding(missing)) is not None
    assert book.shortage(holding("cpus:1;ports:[151-200];disks:{b}")) is None
    book.give(taken)
    assert book.shortage(holding("cpus:4;ports:[100-200];disks:{a,b}")) is None


def test_giving_back_twice_is_a_broken_invariant() -> None:
    book = ledger()
    taken = holding("cpus:1")
    book.take(taken)
    book.give(taken)
    with pytest.raises(AssertionError, match="twice"):
        book.give(taken)


def test_a_machine_that_shrank_has_nothing_free() -> None:
    book = ledger("cpus:1")
    book.take(holding("cpus:3"))
    assert book.shortage(holding("cpus:0.1")) == "cpus: 0.1 asked, 0 free"


@pytest.mark.parametrize(
    "nonsense",
    [
        (Resource(name="", type=ResourceType.SCALAR, scalar=1),),
        (Resource(name="cpus", type=ResourceType.SCALAR, scalar=-1),),
        (Resource(name="cpus", type=ResourceType.SCALAR),),
        (Resource(name="ports", type=ResourceType.RANGES, ranges=(Range(5, 1),)),),
        tuple(
            Resource(name="ports", type=ResourceType.RANGES, ranges=(Range(1, 5),), allocation_role=role)
            for role in ("a", "b")
        ),
        tuple(Resource(name="x", type=ResourceType.SET, set=("i",), allocation_role=role) for role in ("a", "b")),
    ],
)
def test_nonsense_is_named(nonsense: tuple[Resource, ...]) -> None:
    assert isinstance(holding_of(nonsense), str)


@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(100, 220), st.integers(0, 20)).map(
            lambda drawn: Holding((("cpus", drawn[0]),), (("ports", ((drawn[1], drawn[1] + drawn[2]),)),))
        ),
        max_size=30,
    )
)
def test_whatever_is_let_in_never_exceeds_the_machine(holdings: list[Holding]) -> None:
    """Safety: no over-commitment; and giving all back leaves an empty machine."""
    book = ledger()
    inside: list[Holding] = []
    for each in holdings:
        if book.shortage(each) is None:
            book.take(each)
            inside.append(each)
        assert book.held["cpus"] <= book.total["cpus"]
        numbers = [number for kept in inside for begin, end in kept.ranges[0][1] for number in range(begin, end + 1)]
        assert len(numbers) == len(set(numbers))
        assert all(100 <= number <= 200 for number in numbers)
    for each in inside:
        book.give(each)
    assert book.shortage(holding("cpus:4;ports:[100-200]")) is None
