"""The rules R1 to R13, one by one and in their order (reference 2.3)."""

import msgspec
import pytest

from mesolite.resources import (
    DiskInfo,
    Range,
    Reservation,
    ReservationType,
    Resource,
    ResourceType,
    validate,
    validate_all,
)
from mesolite.resources.validation import name_error

STATIC = ReservationType.STATIC
DYNAMIC = ReservationType.DYNAMIC
ENG = Reservation(type=DYNAMIC, role="eng")
WEB = Reservation(type=DYNAMIC, role="eng/web")
VOLUME = DiskInfo(persistence_id="id", container_path="data")


def scalar(name: str = "x", milli: int | None = 1000, **changes: object) -> Resource:
    return msgspec.structs.replace(Resource(name=name, type=ResourceType.SCALAR, scalar=milli), **changes)


def ranges(*pairs: tuple[int, int]) -> Resource:
    wire = tuple(Range(begin, end) for begin, end in pairs)
    return Resource(name="ports", type=ResourceType.RANGES, ranges=wire)


def items(*values: str) -> Resource:
    return Resource(name="disks", type=ResourceType.SET, set=values)


@pytest.mark.parametrize(
    "resource",
    [
        scalar(),
        scalar(milli=0),
        scalar("gpus", 2000),
        scalar("disk", 1, reservations=(ENG,), disk=VOLUME),
        scalar("disk", 1, reservations=(ENG,), disk=VOLUME, shared=True),
        scalar(reservations=(Reservation(type=STATIC, role="eng"), WEB)),
        scalar(reservations=(Reservation(type=STATIC, role="eng"),), revocable=True),
        scalar(allocation_role="*"),
        scalar(revocable=True),
        scalar(milli=10**15),
        ranges(),
        ranges((5, 6), (1, 2), (3, 4)),
        ranges((0, 2**64 - 1)),
        items(),
        items("b", "a"),
    ],
)
def test_sound_resources_pass(resource: Resource) -> None:
    assert validate(resource) is None


@pytest.mark.parametrize(
    ("rule", "resource", "error"),
    [
        ("R1", scalar(""), "its name is empty"),
        ("R1", scalar("n" * 256), "at most 255"),
        ("R1", scalar("a;b"), "one of ; : , ( ) [ ] { }"),
        ("R1", scalar("a\nb"), "control character"),
        ("R1", Resource(name="cpus", type=ResourceType.SET, set=("a",)), "must be SCALAR, not SET"),
        ("R2", scalar(milli=None), "a SCALAR must have a scalar"),
        ("R2", scalar(ranges=()), "neither ranges nor set"),
        ("R2", scalar(set=()), "neither ranges nor set"),
        ("R2", scalar(milli=-1), "negative"),
        ("R2", scalar(milli=10**15 + 1), "over the limit of 1000000000000"),
        ("R2", scalar("mem", 10**15), "over the limit of 953674316406.25"),
        ("R3", Resource(name="p", type=ResourceType.RANGES), "must have ranges"),
        ("R3", Resource(name="p", type=ResourceType.RANGES, ranges=(), scalar=0), "neither scalar nor set"),
        ("R3", ranges((2, 1)), "ends before it begins"),
        ("R3", ranges((-1, 1)), "unsigned 64-bit"),
        ("R3", ranges((1, 2**64)), "unsigned 64-bit"),
        ("R3", ranges((4, 8), (5, 6)), "[4-8] and [5-6] overlap"),
        ("R3", ranges((5, 6), (4, 8)), "[4-8] and [5-6] overlap"),
        ("R3", ranges((1, 2), (2, 3)), "overlap"),
        ("R4", Resource(name="s", type=ResourceType.SET), "must have a set"),
        ("R4", Resource(name="s", type=ResourceType.SET, set=(), ranges=()), "neither scalar nor ranges"),
        ("R4", items("a", "b", "a"), "'a' twice"),
        ("R5", scalar("cpus", disk=VOLUME, reservations=(ENG,)), "named disk only"),
        ("R7", scalar(reservations=(Reservation(type=STATIC, role="a b"),)), "white space"),
        ("R7", scalar(reservations=(Reservation(type=STATIC, role=""),)), "is empty"),
        ("R7", scalar(reservations=(Reservation(type=STATIC, role="*"),)), "for the role '*'"),
        ("R7", scalar(allocation_role="-x"), "its allocation role"),
        ("R8", scalar(reservations=(ENG, Reservation(type=STATIC, role="eng/web"))), "only the first step"),
        ("R8", scalar(reservations=(ENG, ENG)), "no sub-role"),
        ("R8", scalar(reservations=(WEB, ENG)), "no sub-role"),
        ("R8", scalar(reservations=(ENG, Reservation(type=DYNAMIC, role="engine"))), "no sub-role"),
        ("R10", scalar(shared=True), "only persistent volumes"),
        ("R10", scalar("disk", shared=True, disk=DiskInfo(container_path="x")), "only persistent volumes"),
        ("R11", scalar("gpus", 1500), "must be a whole number, not 1.5"),
        ("R12", scalar("disk", disk=VOLUME, reservations=(ENG,), revocable=True), "on revocable disk"),
        ("R12", scalar("disk", disk=VOLUME), "needs reserved disk"),
        ("R12", scalar("disk", disk=DiskInfo(persistence_id="i"), reservations=(ENG,)), "container path"),
        (
            "R12",
            scalar("disk", disk=DiskInfo(persistence_id="a/b", container_path="x"), reservations=(ENG,)),
            "its persistence id contains a slash",
        ),
        ("R12", scalar("disk", disk=DiskInfo(container_path="x")), "without a persistence id is not supported"),
        ("R12", scalar("disk", disk=DiskInfo(principal="ops")), "is empty"),
        ("R13", scalar(revocable=True, reservations=(ENG,)), "cannot be reserved dynamically"),
    ],
)
def test_each_rule_finds_what_it_forbids(rule: str, resource: Resource, error: str) -> None:
    found = validate(resource)
    assert found is not None, rule
    assert error in found
    assert found.startswith(f"resource {resource.name[:255]!r}: ")


@pytest.mark.parametrize(
    ("resource", "first"),
    [
        (scalar("", milli=-1), "name"),
        (scalar(milli=-1, disk=VOLUME), "negative"),
        (scalar(disk=VOLUME, reservations=(Reservation(type=STATIC, role="*"),)), "named disk only"),
        (scalar("gpus", 1, reservations=(ENG, ENG)), "no sub-role"),
        (scalar("gpus", 1, shared=True), "only persistent volumes"),
        (scalar("disk", disk=VOLUME, reservations=(ENG,), revocable=True), "on revocable disk"),
    ],
)
def test_the_first_rule_wins(resource: Resource, first: str) -> None:
    assert first in (validate(resource) or "")


def test_a_list_is_as_good_as_its_members_and_their_agreement() -> None:
    assert validate_all([]) is None
    assert validate_all([scalar(), scalar(), ranges((1, 2))]) is None
    assert "negative" in (validate_all([scalar(), scalar("y", -1)]) or "")
    clash = validate_all([scalar(), Resource(name="x", type=ResourceType.SET, set=())])
    assert clash == "resource 'x': is SCALAR in one place and SET in another; use one type"


@pytest.mark.parametrize("name", ["cpus", "nvidia.com/gpu", "größe", "a-b_c"])
def test_ordinary_names_pass(name: str) -> None:
    assert name_error(name) is None
