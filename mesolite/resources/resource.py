"""One resource as it travels: Mesos's `Resource`, with amounts in integer thousandths.

A `Resource` is what a peer wrote and may be nonsense; `mesolite.resources.validation` says what is wrong with it, and
`Resources.of` turns valid ones into the value that the cores calculate with. Field names follow the Mesos v1 API.
"""

import enum

from msgspec import Struct


class ResourceType(enum.Enum):
    """How an amount is written. TEXT exists for attributes only (reference 1.12)."""

    SCALAR = "SCALAR"
    RANGES = "RANGES"
    SET = "SET"

    #: By identity, as they are compared. Enum's own hash is a call of Python code, which every lookup of a resource would pay.
    __hash__ = object.__hash__


class ReservationType(enum.Enum):
    """STATIC comes with the agent's configuration, DYNAMIC from a RESERVE operation."""

    STATIC = "STATIC"
    DYNAMIC = "DYNAMIC"


class Range(Struct, frozen=True, gc=False, array_like=True):
    """A closed interval of unsigned 64-bit integers."""

    begin: int
    end: int


class Reservation(Struct, frozen=True, gc=False, omit_defaults=True):
    """One step of a reservation stack; each step's role is a strict sub-role of the one before (R8)."""

    type: ReservationType
    role: str
    principal: str | None = None
    #: Free metadata, part of the identity; sorted pairs of key and value.
    labels: tuple[tuple[str, str], ...] = ()


class DiskInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """What makes a disk resource special: a persistent volume on it."""

    persistence_id: str | None = None
    principal: str | None = None
    container_path: str | None = None


class Resource(Struct, frozen=True, gc=False, omit_defaults=True):
    """A named amount with its identity: everything but the amount.

    Two resources merge only where name, type, reservations, allocation role, revocability, sharing, disk and provider are
    all equal (reference 1.12).
    """

    name: str
    type: ResourceType
    #: Thousandths of the unit: 1500 is 1.5 CPUs or 1.5 MiB.
    scalar: int | None = None
    ranges: tuple[Range, ...] | None = None
    set: tuple[str, ...] | None = None
    reservations: tuple[Reservation, ...] = ()
    #: The role this is offered or allocated to; absent in totals (I2).
    allocation_role: str | None = None
    revocable: bool = False
    shared: bool = False
    disk: DiskInfo | None = None
    provider_id: str | None = None
