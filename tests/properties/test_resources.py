"""The laws of the resource algebra, held against an oracle that knows no cleverness.

The oracle of a value is a dict of exact fractions (scalars) and Python sets of single integers or items (ranges, sets),
keyed by the identity's parts. It is derived from the wire form of what hypothesis drew, not from `Resources`. Numbers are
small, so that values collide, contain each other and touch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import TypeAlias

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mesolite.errors import ResourceError
from mesolite.resources import (
    EMPTY,
    DiskInfo,
    Limits,
    Quantities,
    Range,
    Reservation,
    ReservationType,
    Resource,
    Resources,
    ResourceType,
    ancestors,
    role_error,
    validate,
)
from mesolite.resources.intervals import coalesce, contains, count, difference, union

#: A hundred examples of each law take well under a second; no deadline, for the machine is shared.
fast = settings(max_examples=100)

Key: TypeAlias = tuple[object, ...]

STATIC = ReservationType.STATIC
DYNAMIC = ReservationType.DYNAMIC

STACKS: list[tuple[Reservation, ...]] = [
    (),
    (),
    (Reservation(type=STATIC, role="a"),),
    (Reservation(type=STATIC, role="b"),),
    (Reservation(type=DYNAMIC, role="a"),),
    (Reservation(type=DYNAMIC, role="a", principal="p"),),
    (Reservation(type=STATIC, role="a"), Reservation(type=DYNAMIC, role="a/x", labels=(("k", "v"),))),
]
#: Those that the language can write.
PLAIN_STACKS = [stack for stack in STACKS if not stack or (len(stack) == 1 and stack[0].type is STATIC)]

pairs = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: (min(pair), max(pair)))


def one_resource(stacks: list[tuple[Reservation, ...]], roles: list[str | None]) -> st.SearchStrategy[Resource]:
    stack, role = st.sampled_from(stacks), st.sampled_from(roles)
    scalars = st.builds(
        Resource,
        name=st.sampled_from(["cpus", "mem"]),
        type=st.just(ResourceType.SCALAR),
        scalar=st.integers(0, 4000),
        reservations=stack,
        allocation_role=role,
    )
    ports = st.builds(
        Resource,
        name=st.just("ports"),
        type=st.just(ResourceType.RANGES),
        ranges=st.lists(pairs, max_size=4).map(
            lambda drawn: tuple(Range(begin, end) for begin, end in coalesce(drawn)),
        ),
        reservations=stack,
        allocation_role=role,
    )
    disks = st.builds(
        Resource,
        name=st.just("disks"),
        type=st.just(ResourceType.SET),
        set=st.frozensets(st.sampled_from("abcd")).map(tuple),
        reservations=stack,
        allocation_role=role,
    )
    return st.one_of(scalars, scalars, ports, disks)


wires = st.lists(one_resource(STACKS, [None, None, "a"]), max_size=5)
values = wires.map(Resources.of)
plain_values = st.lists(one_resource(PLAIN_STACKS, [None]), max_size=5).map(Resources.of)
quantities = st.dictionaries(st.sampled_from(["cpus", "mem", "ports", "disks"]), st.integers(0, 5000)).map(Quantities)
limits = st.dictionaries(st.sampled_from(["cpus", "mem", "ports", "disks"]), st.integers(0, 5000)).map(Limits)


@dataclass(frozen=True)
class Oracle:
    """What there is, by identity: exact amounts, and every single port or item."""

    amounts: dict[Key, Fraction]
    units: frozenset[tuple[Key, int | str]]

    def holds(self, other: "Oracle") -> bool:
        enough = all(self.amounts.get(key, 0) >= amount for key, amount in other.amounts.items())
        return enough and self.units >= other.units

    def plus(self, other: "Oracle") -> "Oracle":
        keys = self.amounts.keys() | other.amounts.keys()
        amounts = {key: self.amounts.get(key, Fraction(0)) + other.amounts.get(key, Fraction(0)) for key in keys}
        return Oracle(amounts, self.units | other.units)

    def minus(self, other: "Oracle") -> "Oracle":
        rest = {key: amount - other.amounts.get(key, Fraction(0)) for key, amount in self.amounts.items()}
        return Oracle({key: amount for key, amount in rest.items() if amount}, self.units - other.units)


def oracle(resources: Iterable[Resource]) -> Oracle:
    amounts: dict[Key, Fraction] = {}
    units: set[tuple[Key, int | str]] = set()
    for resource in resources:
        key = (resource.name, resource.reservations, resource.allocation_role)
        if resource.scalar:
            amounts[key] = amounts.get(key, Fraction(0)) + Fraction(resource.scalar, 1000)
        for each in resource.ranges or ():
            units |= {(key, number) for number in range(each.begin, each.end + 1)}
        units |= {(key, item) for item in resource.set or ()}
    return Oracle(amounts, frozenset(units))


def numbers(intervals: Iterable[tuple[int, int]]) -> set[int]:
    return {number for begin, end in intervals for number in range(begin, end + 1)}


@fast
@given(wires, wires)
def test_sum_containment_and_difference_are_those_of_the_oracle(left: list[Resource], right: list[Resource]) -> None:
    one, other = Resources.of(left), Resources.of(right)
    assert oracle(one + other) == oracle(left).plus(oracle(right))
    assert one.contains(other) == oracle(left).holds(oracle(right))
    assert (one == other) == (oracle(left) == oracle(right))
    if one.contains(other):
        assert oracle(one - other) == oracle(left).minus(oracle(right))


@fast
@given(values, values, values)
def test_addition_is_commutative_and_associative_and_has_a_zero(
    one: Resources, two: Resources, three: Resources
) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + EMPTY == one
    assert hash(one + two) == hash(two + one)


@fast
@given(values, values)
def test_a_sum_contains_its_parts_and_containment_is_an_order(one: Resources, two: Resources) -> None:
    total = one + two
    assert total.contains(one)
    assert total.contains(two)
    assert one.contains(one)
    assert one.contains(EMPTY)
    assert (one.contains(two) and two.contains(one)) == (one == two)


@fast
@given(values, values)
def test_what_is_taken_from_a_value_and_given_back_makes_it_whole(one: Resources, two: Resources) -> None:
    total = one + two
    rest = total - one
    assert rest + one == total
    assert not rest - rest
    assert not total - total


@fast
@given(values, values)
def test_operations_leave_their_operands_alone(one: Resources, two: Resources) -> None:
    before = (oracle(one), oracle(two), one.to_wire(), two.to_wire())
    _ = (one + two) - two
    _ = one.allocated_to("z"), one.unreserved(), one.shrink_to(two.quantities()), one.contains(two)
    assert (oracle(one), oracle(two), one.to_wire(), two.to_wire()) == before


@fast
@given(values)
def test_the_wire_form_goes_there_and_back(value: Resources) -> None:
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(value.to_wire()), type=tuple[Resource, ...])
    assert Resources.of(decoded) == value
    assert Resources.of(decoded).to_wire() == value.to_wire()


@fast
@given(wires, st.randoms(use_true_random=False))
def test_the_order_in_which_resources_come_does_not_matter(wire: list[Resource], random: Random) -> None:
    shuffled = list(wire)
    random.shuffle(shuffled)
    assert Resources.of(shuffled) == Resources.of(wire)
    assert Resources.of(shuffled).to_wire() == Resources.of(wire).to_wire()


@fast
@given(plain_values)
def test_what_is_printed_is_read_back(value: Resources) -> None:
    assert Resources.parse(str(value)) == value
    assert str(Resources.parse(str(value))) == str(value)


@fast
@given(st.text(alphabet="cpusmer:;[](){},-.0123459e *", max_size=30) | st.text(max_size=30))
def test_any_text_is_read_and_printed_or_refused(text: str) -> None:
    try:
        value = Resources.parse(text)
    except ResourceError:
        return  # any other exception is a failure
    assert Resources.parse(str(value)) == value


@fast
@given(values)
def test_selections_partition(value: Resources) -> None:
    assert value.reserved() + value.unreserved() == value
    assert value.revocable() + value.non_revocable() == value
    assert oracle(value.allocatable_to("a/x")).units <= oracle(value).units
    mine = value.unreserved() + value.reserved("a") + value.reserved("a/x")
    assert value.allocatable_to("a/x") == mine


@fast
@given(values)
def test_stamping_conserves_what_there_is(value: Resources) -> None:
    bare = value.unallocated()
    assert bare.allocated_to("r").unallocated() == bare
    assert bare.allocated_to("r").quantities() == bare.quantities()
    assert bare.scalar("cpus") == value.scalar("cpus")
    assert bare.allocated_to("r").allocation_roles() == ({"r"} if bare else set())


@fast
@given(plain_values)
def test_a_pushed_reservation_is_popped(value: Resources) -> None:
    free = value.unreserved()
    pushed = free.push_reservation(Reservation(type=DYNAMIC, role="a", principal="p"))
    assert pushed.reserved("a") == pushed
    assert pushed.quantities() == free.quantities()
    assert pushed.pop_reservation() == free


@fast
@given(values, quantities, limits)
def test_shrinking_keeps_as_much_as_the_limit_allows(value: Resources, some: Quantities, most: Limits) -> None:
    for limit in (some, most):
        kept = value.shrink_to(limit)
        assert value.contains(kept)
        assert limit.contains(kept.quantities())
        assert kept == value.shrink_to(limit)
        for name in ("cpus", "mem"):
            room = limit.get(name)
            assert kept.scalar(name) == (value.scalar(name) if room is None else min(room, value.scalar(name)))


@fast
@given(values, values)
def test_quantities_count_every_unit(one: Resources, two: Resources) -> None:
    counted: dict[str, Fraction] = {}
    facts = oracle(one)
    for key, amount in facts.amounts.items():
        counted[str(key[0])] = counted.get(str(key[0]), Fraction(0)) + amount
    for key, _ in facts.units:
        counted[str(key[0])] = counted.get(str(key[0]), Fraction(0)) + 1
    assert one.quantities() == Quantities({name: int(amount * 1000) for name, amount in counted.items()})
    if one.contains(two):
        assert (one - two).quantities() == one.quantities() - two.quantities()


@fast
@given(quantities, quantities)
def test_quantities_are_dicts_that_never_go_below_zero(one: Quantities, two: Quantities) -> None:
    names = {*one.names(), *two.names()}
    assert one + two == Quantities({name: one.get(name) + two.get(name) for name in names})
    assert one - two == Quantities({name: max(0, one.get(name) - two.get(name)) for name in names})
    assert one.contains(two) == all(one.get(name) >= two.get(name) for name in names)
    assert Quantities.parse(str(one)) == one
    assert one - (one - two) == two - (two - one)


@fast
@given(limits, quantities, quantities)
def test_what_is_left_of_a_limit_allows_exactly_what_fits_beside(
    limit: Limits, used: Quantities, more: Quantities
) -> None:
    assume(limit.contains(used))
    assert (limit - used).contains(more) == limit.contains(used + more)
    assert (limit - used).names() == limit.names()
    assert Limits.parse(str(limit)) == limit


@fast
@given(st.lists(pairs, max_size=6), st.lists(pairs, max_size=6))
def test_intervals_are_sets_of_integers(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    one, other = coalesce(left), coalesce(right)
    assert numbers(one) == numbers(left)
    assert count(one) == len(numbers(left))
    assert numbers(union(one, other)) == numbers(left) | numbers(right)
    assert numbers(difference(one, other)) == numbers(left) - numbers(right)
    assert contains(one, other) == (numbers(left) >= numbers(right))
    for result in (one, union(one, other), difference(one, other)):
        assert all(end + 1 < begin for (_, end), (begin, _) in pairwise(result)), "coalesced: one form for one set"


@fast
@given(
    one_resource(STACKS, [None, "a"])
    | st.builds(
        Resource,
        name=st.sampled_from(["cpus", "gpus", "disk", "ports", "", "a;b"]) | st.text(max_size=5),
        type=st.sampled_from(ResourceType),
        scalar=st.none() | st.integers(-(2**63), 2**64 - 1),
        ranges=st.none() | st.lists(st.builds(Range, st.integers(-9, 9), st.integers(-9, 9)), max_size=3).map(tuple),
        set=st.none() | st.lists(st.text(max_size=2), max_size=3).map(tuple),
        reservations=st.lists(
            st.builds(Reservation, type=st.sampled_from(ReservationType), role=st.text(max_size=5)), max_size=2
        ).map(tuple),
        allocation_role=st.none() | st.text(max_size=5),
        revocable=st.booleans(),
        shared=st.booleans(),
        disk=st.none()
        | st.builds(
            DiskInfo, persistence_id=st.none() | st.text(max_size=3), container_path=st.none() | st.text(max_size=3)
        ),
        provider_id=st.none() | st.text(max_size=3),
    )
)
def test_nothing_that_decodes_can_break_the_algebra(resource: Resource) -> None:
    if validate(resource) is not None:
        with pytest.raises(ResourceError):
            Resources.of([resource])
        return
    value = Resources.of([resource])
    assert Resources.of(value.to_wire()) == value
    assert value + value - value == value or resource.type is not ResourceType.SCALAR
    assert str(value) or not value
    assert value.shrink_to(value.quantities()) == value


@fast
@given(st.text(alphabet="ab/*.- ", max_size=8))
def test_roles_that_pass_are_paths_of_proper_components(role: str) -> None:
    well_formed = role == "*" or all(
        part and part not in {".", "..", "*"} and not part.startswith("-") and " " not in part
        for part in role.split("/")
    )
    assert (role_error(role) is None) == well_formed
    if well_formed:
        assert list(ancestors(role)) == [role[:end] for end in range(len(role) - 1, 0, -1) if role[end] == "/"]
