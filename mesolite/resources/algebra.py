"""`Resources`: the value that masters, agents and frameworks calculate with.

A `Resources` maps identities to amounts: thousandths for scalars, coalesced intervals for ranges, frozen sets for sets.
Nothing in it is empty, so two are equal exactly where they hold the same. It is immutable and every operation gives a new
value; what comes from a peer is validated once, at `Resources.of`, and never again.

Semantics are those of Mesos (`src/common/resources.cpp`, reference 1.12):

- `+`, `-` and `contains` go by identity. One cpu reserved for a role is not contained in two unreserved ones.
- Ranges and sets are sets: adding [1-2] to [2-3] gives [1-3], which no longer tells that 2 came twice.
- Subtracting what is not contained is a broken invariant; ask `contains` first.
- Persistent volumes are whole: they are added, subtracted and chopped as single pieces.

The hot path is plain scalars. They have a dict of their own, so that arithmetic on them is dict work on keys that are
hashed once; the rarer types pay for themselves only.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Final, TypeAlias, cast

import msgspec

from mesolite.errors import ResourceError

from . import intervals, text
from .amounts import MILLI, max_milli, milli_from_float, text_from_milli
from .identity import Identity, identity_of, sort_key, stamped
from .intervals import Intervals
from .quantities import Limits, Quantities
from .resource import Range, Reservation, Resource, ResourceType
from .validation import type_conflict, validate

#: Integers of ranges, or items of a set; the type of the identity says which.
Elements: TypeAlias = Intervals | frozenset[str]

#: What every value without ranges and sets shares. Nobody changes a dict of a finished value.
_NO_ELEMENTS: dict[Identity, Elements] = {}

#: Lists that were checked before. Tasks have few sizes and hosts few kinds, and each is sent thousands of times: when agents
#: register again, checking and adding up was half of a master's time. Beyond the bound it begins anew.
MAX_KNOWN_LISTS: Final = 4096
#: Longer lists, and pieces with sets, reservations or volumes, whose texts have no bound, are not remembered.
MAX_KNOWN_LENGTH: Final = 16
_known: dict[tuple[Resource, ...], "Resources"] = {}


class Resources:
    """An immutable, hashable amount of resources; see the module for what its operations mean."""

    __slots__ = ("_elements", "_hash", "_roles", "_scalars", "_unallocated", "_wire")

    #: No resources.
    EMPTY: ClassVar["Resources"]

    #: Thousandths above 0.
    _scalars: dict[Identity, int]
    #: Ranges and sets, none of them empty.
    _elements: dict[Identity, Elements]
    #: What `to_wire` gave, None before.
    _wire: tuple[Resource, ...] | None
    #: What `__hash__` gave, None before.
    _hash: int | None
    #: What `unallocated` gave, None before.
    _unallocated: "Resources | None"
    #: What `allocation_roles` gave, None before.
    _roles: frozenset[str] | None

    def __init__(self) -> None:
        self._scalars = {}
        self._elements = _NO_ELEMENTS
        self._wire = None
        self._hash = None
        self._unallocated = None
        self._roles = None

    @classmethod
    def parse(cls, expression: str) -> "Resources":
        """Read the resource language, for example `cpus:1;mem:512;ports:[31000-31005];disks:{a,b};cpus(eng):2`.

        Entries of one identity are added up, zeros vanish, a role in parentheses is a static reservation.

        Raises:
            ResourceError: An entry means nothing, or a name has two types; the message says what to write.
        """
        return cls.of(text.parse(expression))

    @classmethod
    def of(cls, wire: Iterable[Resource]) -> "Resources":
        """Check what a peer sent and add it up.

        Raises:
            ResourceError: One is invalid (`validate`), a name has two types, or a sum is absurdly large; the message
                names the resource.
        """
        if not isinstance(wire, tuple):
            return cls._checked(wire)
        known = _known.get(wire)
        if known is None:
            known = cls._checked(wire)
            if len(wire) <= MAX_KNOWN_LENGTH and all(map(_is_small, wire)):
                if len(_known) >= MAX_KNOWN_LISTS:
                    _known.clear()
                _known[wire] = known
        return known

    @classmethod
    def _checked(cls, wire: Iterable[Resource]) -> "Resources":
        scalars: dict[Identity, int] = {}
        elements: dict[Identity, Elements] = {}
        types: dict[str, ResourceType] = {}
        for resource in wire:
            error = validate(resource) or type_conflict(types, resource)
            if error is not None:
                raise ResourceError(error)
            identity = identity_of(resource)
            if resource.scalar is None:
                _add_elements(elements, identity, _elements_of(resource))
            elif resource.scalar:
                scalars[identity] = total = scalars.get(identity, 0) + resource.scalar
                if total > max_milli(resource.name):
                    limit = text_from_milli(max_milli(resource.name))
                    raise ResourceError(f"resource {resource.name!r}: its amounts add up to more than {limit}")
        return _adopted(scalars, elements)

    def to_wire(self) -> tuple[Resource, ...]:
        """These resources as they travel: sorted by name, the same for equal values. Built once per value."""
        if self._wire is None:
            self._wire = tuple(self._wire_resources())
        return self._wire

    def _wire_resources(self) -> Iterator[Resource]:
        for identity in sorted([*self._scalars, *self._elements], key=sort_key):
            if identity.volume_milli is not None:
                copies = self._scalars[identity] // identity.volume_milli
                yield from [identity.wire(identity.volume_milli)] * copies
            elif identity.type is ResourceType.SCALAR:
                yield identity.wire(self._scalars[identity])
            elif identity.type is ResourceType.RANGES:
                pairs = cast(Intervals, self._elements[identity])
                yield identity.wire_elements(tuple(Range(begin, end) for begin, end in pairs))
            else:
                yield identity.wire_elements(tuple(sorted(cast(frozenset[str], self._elements[identity]))))

    # Arithmetic.

    @classmethod
    def sum_of(cls, many: Iterable["Resources"]) -> "Resources":
        """All of them together: as by `+` one after another, without a value in between."""
        scalars: dict[Identity, int] = {}
        elements: dict[Identity, Elements] = {}
        for each in many:
            for identity, milli in each._scalars.items():
                scalars[identity] = scalars.get(identity, 0) + milli
            for identity, more in each._elements.items():
                _add_elements(elements, identity, more)
        return _adopted(scalars, elements)

    def __add__(self, other: "Resources") -> "Resources":
        """Both together."""
        scalars = self._scalars.copy()
        for identity, milli in other._scalars.items():
            scalars[identity] = scalars.get(identity, 0) + milli
        elements = self._elements
        if other._elements:
            elements = elements.copy()
            for identity, more in other._elements.items():
                _add_elements(elements, identity, more)
        return _adopted(scalars, elements)

    def __sub__(self, other: "Resources") -> "Resources":
        """What is left without the other, which must be contained."""
        scalars = self._scalars.copy()
        for identity, milli in other._scalars.items():
            rest = scalars.get(identity, 0) - milli
            assert rest >= 0, f"subtracting {other} from {self}, which does not contain it"
            if rest:
                scalars[identity] = rest
            else:
                del scalars[identity]
        elements = self._elements
        if other._elements:
            elements = elements.copy()
            for identity, less in other._elements.items():
                held = elements.pop(identity, None)
                assert held is not None, f"subtracting {other} from {self}, which has none of it"
                assert _holds(held, less), f"subtracting {other} from {self}, which lacks some of it"
                left = _without(held, less)
                if left:
                    elements[identity] = left
        return _adopted(scalars, elements)

    def contains(self, other: "Resources") -> bool:
        """Tell whether all of the other is in here, identity by identity."""
        mine = self._scalars
        for identity, milli in other._scalars.items():
            if mine.get(identity, 0) < milli:
                return False
        for identity, less in other._elements.items():
            held = self._elements.get(identity)
            if held is None or not _holds(held, less):
                return False
        return True

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self._scalars) or bool(self._elements)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resources):
            return NotImplemented
        return self._scalars == other._scalars and self._elements == other._elements

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self._scalars.items()), frozenset(self._elements.items())))
        return self._hash

    def __iter__(self) -> Iterator[Resource]:
        """The resources as they travel, in the order of `to_wire`."""
        return iter(self.to_wire())

    def __str__(self) -> str:
        """The resource language, sorted; a longer form for what it cannot express."""
        return text.format_resources(self.to_wire())

    def __repr__(self) -> str:
        return f"<Resources {self}>"

    def __reduce__(self) -> tuple[object, ...]:
        # Through the wire form: the cached hash holds for this process only, for Python salts those of strings.
        return (Resources.of, (self.to_wire(),))

    # Amounts.

    def scalar(self, name: str) -> int:
        """Thousandths of the scalars of this name over all identities; a shared volume counts once (I10)."""
        total = 0
        for identity, milli in self._scalars.items():
            if identity.name == name:
                total += _counted(identity, milli)
        return total

    def names(self) -> tuple[str, ...]:
        """The names that there is something of, sorted."""
        return tuple(sorted({identity.name for identity in (*self._scalars, *self._elements)}))

    def quantities(self) -> Quantities:
        """Amounts by name: scalars as by `scalar`, ranges and sets by their elements."""
        amounts: dict[str, int] = {}
        for identity, milli in self._scalars.items():
            amounts[identity.name] = amounts.get(identity.name, 0) + _counted(identity, milli)
        for identity, held in self._elements.items():
            amounts[identity.name] = amounts.get(identity.name, 0) + _element_count(held) * MILLI
        return Quantities(amounts)

    def shrink_to(self, limit: "Quantities | Limits") -> "Resources":
        """Chop down to a limit, so that `limit` contains the result's quantities.

        Scalars are cut, GPUs to whole ones. Ranges, sets and persistent volumes are kept whole or left out. Identities
        take their part in the order of `to_wire`, so the same input gives the same output (Mesos draws the order, trap 15).

        Args:
            limit: How much of each name may stay. Of a name that it lacks, `Quantities` allow nothing, `Limits` all.
        """
        left: dict[str, int | None] = {}
        scalars: dict[Identity, int] = {}
        elements: dict[Identity, Elements] = {}
        for identity in sorted([*self._scalars, *self._elements], key=sort_key):
            room = left.setdefault(identity.name, limit.get(identity.name))
            if identity.type is ResourceType.SCALAR:
                kept = _chopped(identity, self._scalars[identity], room)
                used = _counted(identity, kept)
                if kept:
                    scalars[identity] = kept
            else:
                held = self._elements[identity]
                used = _element_count(held) * MILLI
                if room is not None and used > room:
                    continue
                elements[identity] = held
            if room is not None:
                left[identity.name] = room - used
        return _adopted(scalars, elements)

    # Roles and reservations.

    def allocated_to(self, role: str) -> "Resources":
        """All of it stamped as offered or allocated to the role (I2)."""
        return self._restamped(role)

    def unallocated(self) -> "Resources":
        """All of it without the stamp of a role, as totals have it."""
        if self._unallocated is None:
            self._unallocated = self._restamped(None)
        return self._unallocated

    def allocation_roles(self) -> frozenset[str]:
        """The roles that any of this is allocated to."""
        if self._roles is None:
            roles = {identity.allocation_role for identity in (*self._scalars, *self._elements)}
            self._roles = frozenset(role for role in roles if role is not None)
        return self._roles

    def reserved(self, role: str | None = None) -> "Resources":
        """What is reserved: for the role itself (not one above or below it), or for anybody where it is None."""
        if role is None:
            return self._where(lambda identity: bool(identity.reservations))
        return self._where(lambda identity: identity.reservation_role() == role)

    def unreserved(self) -> "Resources":
        """What is reserved for nobody."""
        return self._where(lambda identity: not identity.reservations)

    def allocatable_to(self, role: str) -> "Resources":
        """What the role may be offered: unreserved, or reserved for it or a role above it."""
        return self._where(lambda identity: identity.is_allocatable_to(role))

    def revocable(self) -> "Resources":
        """What may be taken back from its user."""
        return self._where(lambda identity: identity.revocable)

    def non_revocable(self) -> "Resources":
        """What is its user's until he ends."""
        return self._where(lambda identity: not identity.revocable)

    def push_reservation(self, reservation: Reservation) -> "Resources":
        """Reserve all of it, on top of the reservations it has.

        Raises:
            ResourceError: The result is invalid, for example because the role is no sub-role of the present one.
        """
        return Resources.of(
            msgspec.structs.replace(resource, reservations=(*resource.reservations, reservation)) for resource in self
        )

    def pop_reservation(self) -> "Resources":
        """Take the newest reservation off everything.

        Raises:
            ResourceError: Some of it is not reserved, or is a volume that may not be unreserved.
        """
        free = self.unreserved()
        if free:
            raise ResourceError(f"{free} is not reserved, so its reservation cannot be undone")
        return Resources.of(
            msgspec.structs.replace(resource, reservations=resource.reservations[:-1]) for resource in self
        )

    def _where(self, wanted: Callable[[Identity], bool]) -> "Resources":
        scalars = {identity: milli for identity, milli in self._scalars.items() if wanted(identity)}
        elements = {identity: held for identity, held in self._elements.items() if wanted(identity)}
        if len(scalars) == len(self._scalars) and len(elements) == len(self._elements):
            return self
        return _adopted(scalars, elements)

    def _restamped(self, role: str | None) -> "Resources":
        scalars: dict[Identity, int] = {}
        for identity, milli in self._scalars.items():
            identity = stamped(identity, role)
            scalars[identity] = scalars.get(identity, 0) + milli
        if not self._elements:
            return _adopted(scalars, _NO_ELEMENTS)
        elements: dict[Identity, Elements] = {}
        for identity, held in self._elements.items():
            _add_elements(elements, stamped(identity, role), held)
        return _adopted(scalars, elements)


def scalars(*, cpus: float = 0, mem_mib: float = 0, disk_mib: float = 0, gpus: float = 0) -> Resources:
    """Plain resources by their standard names, rounded to thousandths; 0 is none.

    Raises:
        ResourceError: An amount is negative, not finite, too large, too small to round to anything, or a part of a GPU.
    """
    amounts = {"cpus": cpus, "mem": mem_mib, "disk": disk_mib, "gpus": gpus}
    return Resources.of(
        Resource(name=name, type=ResourceType.SCALAR, scalar=milli_from_float(name, amount))
        for name, amount in amounts.items()
    )


def _adopted(scalars: dict[Identity, int], elements: dict[Identity, Elements]) -> Resources:
    """Resources around dicts that are theirs from now on and hold nothing empty."""
    resources = Resources.__new__(Resources)
    resources._scalars = scalars  # pyright: ignore[reportPrivateUsage]
    resources._elements = elements  # pyright: ignore[reportPrivateUsage]
    resources._wire = None  # pyright: ignore[reportPrivateUsage]
    resources._hash = None  # pyright: ignore[reportPrivateUsage]
    resources._unallocated = None  # pyright: ignore[reportPrivateUsage]
    resources._roles = None  # pyright: ignore[reportPrivateUsage]
    return resources


def _is_small(resource: Resource) -> bool:
    return (
        resource.set is None
        and len(resource.ranges or ()) <= MAX_KNOWN_LENGTH
        and not resource.reservations
        and resource.disk is None
        and resource.provider_id is None
    )


def _counted(identity: Identity, milli: int) -> int:
    return milli if not identity.shared else min(milli, identity.volume_milli or milli)


def _chopped(identity: Identity, milli: int, room: int | None) -> int:
    if room is None or _counted(identity, milli) <= room:
        return milli
    piece = identity.volume_milli or (MILLI if identity.name == "gpus" else 1)
    return room - room % piece


def _elements_of(resource: Resource) -> Elements:
    if resource.ranges is not None:
        return intervals.coalesce((each.begin, each.end) for each in resource.ranges)
    return frozenset(resource.set or ())


def _add_elements(elements: dict[Identity, Elements], identity: Identity, more: Elements) -> None:
    held = elements.get(identity)
    if held is None:
        if more:
            elements[identity] = more
    elif isinstance(held, frozenset):
        elements[identity] = held | cast(frozenset[str], more)
    else:
        elements[identity] = intervals.union(held, cast(Intervals, more))


def _holds(held: Elements, less: Elements) -> bool:
    if isinstance(held, frozenset):
        return held >= cast(frozenset[str], less)
    return intervals.contains(held, cast(Intervals, less))


def _without(held: Elements, less: Elements) -> Elements:
    if isinstance(held, frozenset):
        return held - cast(frozenset[str], less)
    return intervals.difference(held, cast(Intervals, less))


def _element_count(held: Elements) -> int:
    return len(held) if isinstance(held, frozenset) else intervals.count(held)


Resources.EMPTY = Resources()
