"""The arithmetic of `Resources`, case by case; its laws are in tests/properties/test_resources.py."""

import copy
import pickle

import msgspec
import pytest

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
    scalars,
)
from mesolite.resources.algebra import MAX_KNOWN_LISTS

DYNAMIC = ReservationType.DYNAMIC
STATIC = ReservationType.STATIC


def parse(expression: str) -> Resources:
    return Resources.parse(expression)


def cpus(milli: int, *reservations: Reservation, revocable: bool = False, role: str | None = None) -> Resource:
    return Resource(
        name="cpus",
        type=ResourceType.SCALAR,
        scalar=milli,
        reservations=reservations,
        revocable=revocable,
        allocation_role=role,
    )


def volume(size_mib: int, persistence_id: str, *, shared: bool = False) -> Resource:
    return Resource(
        name="disk",
        type=ResourceType.SCALAR,
        scalar=size_mib * 1000,
        reservations=(Reservation(type=DYNAMIC, role="eng"),),
        disk=DiskInfo(persistence_id=persistence_id, container_path="data"),
        shared=shared,
    )


def test_a_list_that_was_checked_before_gives_the_same_value_without_being_checked_again() -> None:
    wire = (cpus(1234, role="eng"), *parse("mem:77;ports:[1-3]"))
    assert Resources.of(wire) is Resources.of(tuple(wire))
    assert Resources.of(wire) == Resources.of(list(wire))


@pytest.mark.parametrize("wire", [(volume(1, "v"),), tuple(parse("disks:{a}")), (cpus(1),) * 17])
def test_lists_whose_size_has_no_bound_are_not_remembered(wire: tuple[Resource, ...]) -> None:
    assert Resources.of(wire) is not Resources.of(wire)
    assert Resources.of(wire) == Resources.of(wire)


def test_a_list_that_is_wrong_is_wrong_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ResourceError):
            Resources.of((cpus(-1),))


def test_only_so_many_lists_are_remembered() -> None:
    first = Resources.of((cpus(1),))
    for milli in range(2, MAX_KNOWN_LISTS + 2):
        Resources.of((cpus(milli),))
    assert Resources.of((cpus(1),)) is not first
    assert Resources.of((cpus(1),)) == first


def test_a_sum_of_many_is_what_adding_them_one_by_one_gives() -> None:
    many = [parse("cpus:1;ports:[1-2]"), EMPTY, parse("cpus:0.5;ports:[2-3];disks:{a}"), parse("mem:3;disks:{b}")]
    assert Resources.sum_of(many) == sum(many, EMPTY)
    assert Resources.sum_of([]) == EMPTY


def test_scalars_add_and_subtract_without_drift() -> None:
    tenth = scalars(cpus=0.1)
    total = EMPTY
    for _ in range(10):
        total += tenth
    assert total == parse("cpus:1")
    assert total - parse("cpus:0.7") == parse("cpus:0.3")


def test_what_is_used_up_vanishes() -> None:
    rest = parse("cpus:1;mem:64") - parse("cpus:1")
    assert rest == parse("mem:64")
    assert rest.names() == ("mem",)
    assert not rest - parse("mem:64")


def test_subtracting_more_than_there_is_breaks_an_invariant() -> None:
    with pytest.raises(AssertionError, match="subtracting cpus:2 from cpus:1"):
        _ = parse("cpus:1") - parse("cpus:2")
    with pytest.raises(AssertionError, match="has none of it"):
        _ = parse("cpus:1") - parse("ports:[1-2]")
    with pytest.raises(AssertionError, match="lacks some of it"):
        _ = parse("ports:[1-2]") - parse("ports:[2-3]")


def test_ranges_coalesce_and_split() -> None:
    assert parse("ports:[4-6]") + parse("ports:[7-8]") == parse("ports:[4-8]")
    assert parse("ports:[1-9]") - parse("ports:[3-4,9-9]") == parse("ports:[1-2,5-8]")
    assert parse("ports:[1-9]").contains(parse("ports:[1-2,8-9]"))
    assert not parse("ports:[1-4,6-9]").contains(parse("ports:[4-6]"))


def test_sets_unite_and_differ() -> None:
    assert parse("disks:{a}") + parse("disks:{b,a}") == parse("disks:{a,b}")
    assert parse("disks:{a,b}") - parse("disks:{a}") == parse("disks:{b}")
    assert not parse("disks:{a}").contains(parse("disks:{a,c}"))


@pytest.mark.parametrize(
    "other",
    [
        cpus(1000, Reservation(type=STATIC, role="eng")),
        cpus(1000, Reservation(type=DYNAMIC, role="eng")),
        cpus(1000, Reservation(type=DYNAMIC, role="eng", principal="ops")),
        cpus(1000, Reservation(type=DYNAMIC, role="eng", labels=(("team", "a"),))),
        cpus(1000, Reservation(type=STATIC, role="eng"), Reservation(type=DYNAMIC, role="eng/web")),
        cpus(1000, revocable=True),
        cpus(1000, role="eng"),
        Resource(name="cpus", type=ResourceType.SCALAR, scalar=1000, provider_id="storage"),
        Resource(name="gpus", type=ResourceType.SCALAR, scalar=1000),
    ],
)
def test_every_part_of_the_identity_keeps_resources_apart(other: Resource) -> None:
    plain, special = parse("cpus:1"), Resources.of([other])
    both = plain + special
    assert plain != special
    assert not plain.contains(special)
    assert not special.contains(plain)
    assert len(both.to_wire()) == 2
    assert both - special == plain
    assert Resources.of(both.to_wire()) == both


def test_the_order_of_labels_does_not_matter() -> None:
    one = Reservation(type=DYNAMIC, role="eng", labels=(("a", "1"), ("b", "2")))
    other = Reservation(type=DYNAMIC, role="eng", labels=(("b", "2"), ("a", "1")))
    assert Resources.of([cpus(1000, one)]) == Resources.of([cpus(1000, other)])


def test_equal_values_hash_alike_and_survive_copying_and_pickling() -> None:
    one = parse("cpus:1;ports:[1-2];disks:{a}")
    other = parse("disks:{a};ports:[2-2,1-1]") + parse("cpus:1")
    assert hash(one) == hash(other)
    assert len({one, other}) == 1
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != "cpus:1"


def test_the_wire_form_is_sorted_and_the_same_for_equal_values() -> None:
    one = parse("mem:2;cpus:1;cpus(eng):1")
    other = parse("cpus(eng):1;mem:2") + parse("cpus:1")
    assert one.to_wire() == other.to_wire()
    assert [resource.name for resource in one] == ["cpus", "cpus", "mem"]
    assert one.to_wire() is one.to_wire()


def test_the_order_of_the_wire_form_sees_every_part_of_the_identity() -> None:
    eng = Reservation(type=DYNAMIC, role="eng")
    disk = volume(1, "a")
    variants = [
        cpus(1000),
        cpus(1000, revocable=True),
        cpus(1000, role="eng"),
        cpus(1000, eng),
        cpus(1000, Reservation(type=STATIC, role="eng")),
        cpus(1000, Reservation(type=DYNAMIC, role="eng", principal="")),
        cpus(1000, Reservation(type=DYNAMIC, role="eng", labels=(("k", "v"),))),
        cpus(1000, eng, Reservation(type=DYNAMIC, role="eng/web")),
        Resource(name="cpus", type=ResourceType.SCALAR, scalar=1000, provider_id=""),
        disk,
        volume(2, "a"),
        volume(1, "b"),
        volume(1, "a", shared=True),
        msgspec.structs.replace(disk, disk=DiskInfo(persistence_id="a", container_path="other")),
        msgspec.structs.replace(disk, disk=DiskInfo(persistence_id="a", container_path="data", principal="p")),
    ]
    wire = Resources.of(variants).to_wire()
    assert len(wire) == len(variants)
    assert Resources.of(reversed(variants)).to_wire() == wire


def test_of_adds_up_equal_identities_and_drops_zeros() -> None:
    zero = Resource(name="gpus", type=ResourceType.SCALAR, scalar=0)
    nothing = Resource(name="ports", type=ResourceType.RANGES, ranges=())
    assert Resources.of([cpus(1000), cpus(500), zero, nothing]) == parse("cpus:1.5")


def test_of_refuses_what_is_invalid_and_names_it() -> None:
    with pytest.raises(ResourceError, match=r"resource 'cpus': its amount is negative"):
        Resources.of([cpus(-1)])
    with pytest.raises(ResourceError, match="'x': is SCALAR in one place and SET in another"):
        Resources.of(
            [
                Resource(name="x", type=ResourceType.SCALAR, scalar=1),
                Resource(name="x", type=ResourceType.SET, set=("a",)),
            ]
        )


def test_of_refuses_sums_that_no_machine_has() -> None:
    most = Resource(name="x", type=ResourceType.SCALAR, scalar=10**15)
    assert Resources.of([most]).scalar("x") == 10**15
    with pytest.raises(ResourceError, match="'x': its amounts add up to more than 1000000000000"):
        Resources.of([most, most])


def test_amounts_are_summed_over_identities() -> None:
    resources = parse("cpus:1;cpus(eng):2;ports:[1-3];disks:{a,b}")
    assert resources.scalar("cpus") == 3000
    assert resources.scalar("ports") == 0
    assert resources.names() == ("cpus", "disks", "ports")
    assert resources.quantities() == Quantities({"cpus": 3000, "ports": 3000, "disks": 2000})


def test_the_allocation_stamp_goes_on_and_comes_off_everything() -> None:
    resources = parse("cpus:1;cpus(eng):2;ports:[1-3]")
    stamped = resources.allocated_to("eng")
    assert stamped.allocation_roles() == {"eng"}
    assert all(resource.allocation_role == "eng" for resource in stamped)
    assert not resources.contains(stamped)
    assert stamped.unallocated() == resources
    assert resources.allocation_roles() == frozenset()


def test_taking_the_stamps_off_merges_what_they_kept_apart() -> None:
    resources = parse("cpus:1;ports:[1-3]").allocated_to("a") + parse("cpus:2;ports:[4-5]").allocated_to("b")
    assert resources.allocation_roles() == {"a", "b"}
    assert resources.unallocated() == parse("cpus:3;ports:[1-5]")


def test_reservations_select() -> None:
    resources = parse("cpus:1;cpus(eng):2;cpus(eng/web):4;cpus(ops):8")
    assert resources.unreserved() == parse("cpus:1")
    assert resources.reserved() == parse("cpus(eng):2;cpus(eng/web):4;cpus(ops):8")
    assert resources.reserved("eng") == parse("cpus(eng):2")
    assert resources.allocatable_to("eng/web") == parse("cpus:1;cpus(eng):2;cpus(eng/web):4")
    assert resources.allocatable_to("eng") == parse("cpus:1;cpus(eng):2")
    assert resources.allocatable_to("*") == parse("cpus:1")
    assert resources.allocatable_to("engine") == parse("cpus:1")


def test_revocable_and_the_rest_make_the_whole() -> None:
    resources = Resources.of([cpus(1000), cpus(2000, revocable=True)])
    assert resources.revocable().scalar("cpus") == 2000
    assert resources.non_revocable() == parse("cpus:1")
    assert resources.revocable() + resources.non_revocable() == resources


def test_reservations_are_pushed_and_popped() -> None:
    plain = parse("cpus:1;ports:[1-2]")
    eng = plain.push_reservation(Reservation(type=STATIC, role="eng"))
    web = eng.push_reservation(Reservation(type=DYNAMIC, role="eng/web", principal="ops"))
    assert eng == parse("cpus(eng):1;ports(eng):[1-2]")
    assert web.reserved("eng/web") == web
    assert web.pop_reservation() == eng
    assert eng.pop_reservation() == plain


def test_a_reservation_that_does_not_fit_the_stack_is_refused() -> None:
    with pytest.raises(ResourceError, match="'ops' cannot refine that for 'eng'"):
        parse("cpus(eng):1").push_reservation(Reservation(type=DYNAMIC, role="ops"))
    with pytest.raises(ResourceError, match="revocable"):
        Resources.of([cpus(1000, revocable=True)]).push_reservation(Reservation(type=DYNAMIC, role="eng"))
    with pytest.raises(ResourceError, match="cpus:1 is not reserved"):
        parse("cpus:1;cpus(eng):1").pop_reservation()


def test_shrinking_cuts_scalars_in_a_fixed_order() -> None:
    resources = parse("cpus(eng):4;cpus:2;mem:64")
    assert resources.shrink_to(Limits.parse("cpus:3")) == parse("cpus:2;cpus(eng):1;mem:64")
    assert resources.shrink_to(Quantities.parse("cpus:0.5")) == parse("cpus:0.5")
    assert resources.shrink_to(Limits.parse("cpus:0")) == parse("mem:64")
    assert resources.shrink_to(Limits.NONE) == resources
    assert resources.shrink_to(Quantities.EMPTY) == EMPTY


def test_shrinking_keeps_gpus_ranges_sets_and_volumes_whole() -> None:
    assert parse("gpus:4").shrink_to(Quantities({"gpus": 2500})) == parse("gpus:2")
    assert parse("ports:[1-3]").shrink_to(Limits.parse("ports:2")) == EMPTY
    assert parse("ports:[1-3]").shrink_to(Limits.parse("ports:3")) == parse("ports:[1-3]")
    two = Resources.of([volume(100, "a"), volume(50, "b")])
    assert two.shrink_to(Limits.parse("disk:120")) == Resources.of([volume(100, "a")])
    assert two.shrink_to(Limits.parse("disk:99")) == Resources.of([volume(50, "b")])


def test_a_volume_is_one_piece() -> None:
    small, large = Resources.of([volume(50, "a")]), Resources.of([volume(100, "a")])
    assert not large.contains(small)
    assert (large + small).to_wire() == (volume(50, "a"), volume(100, "a"))
    assert large.scalar("disk") == 100_000


def test_a_shared_volume_counts_once_however_often_it_is_held() -> None:
    once = Resources.of([volume(100, "a", shared=True)])
    twice = once + once
    assert twice.to_wire() == (volume(100, "a", shared=True),) * 2
    assert twice.scalar("disk") == 100_000
    assert twice.quantities() == Quantities({"disk": 100_000})
    assert twice - once == once
    assert not once.contains(twice)
    assert twice.shrink_to(Limits.parse("disk:100")) == twice
    assert twice.shrink_to(Limits.parse("disk:99")) == EMPTY


def test_convenient_scalars_are_what_the_language_says() -> None:
    assert scalars(cpus=0.5, mem_mib=64) == parse("cpus:0.5;mem:64")
    assert scalars(disk_mib=10, gpus=1) == parse("disk:10;gpus:1")
    assert scalars() == EMPTY
    with pytest.raises(ResourceError, match="whole number"):
        scalars(gpus=0.5)


def test_special_resources_print_at_length_and_are_not_read_back() -> None:
    reservation = Reservation(type=DYNAMIC, role="eng", principal="ops", labels=(("k", "v"),))
    resources = Resources.of([cpus(1500, reservation, role="eng")])
    assert str(resources) == "cpus(allocated: eng)(reservations: [(DYNAMIC,eng,ops,{k=v})]):1.5"
    assert repr(Resources.of([cpus(1, revocable=True)])) == "<Resources cpus<revocable>:0.001>"
    assert str(Resources.of([volume(1, "id", shared=True)])) == (
        "disk(reservations: [(DYNAMIC,eng)])[id:data]<shared>:1"
    )
    provided = Resource(name="disk", type=ResourceType.SCALAR, scalar=1000, provider_id="p")
    assert str(Resources.of([provided])) == "disk<provider: p>:1"
    with pytest.raises(ResourceError):
        parse(str(resources))


def test_ranges_keep_their_largest_integer() -> None:
    most = 2**64 - 1
    wire = Resource(name="ids", type=ResourceType.RANGES, ranges=(Range(0, most),))
    resources = Resources.of([wire])
    assert resources.quantities().get("ids") == 2**64 * 1000
    assert str(resources - parse("ids:[1-5]")) == f"ids:[0-0,6-{most}]"
