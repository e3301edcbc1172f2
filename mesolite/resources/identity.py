"""What a resource is, without how much of it there is: the key under which amounts are added up.

Two resources merge only where their identities are equal (reference 1.12). A persistent volume is more than an amount of
disk: it cannot be split or merged, so its size belongs to its identity and what is counted is whole volumes.

Identities are compared and hashed in the innermost loops. They are therefore msgspec structs that compute their hash once,
in C, and everything derived from one is remembered in bounded caches.
"""

from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from .resource import DiskInfo, Range, Reservation, Resource, ResourceType
from .roles import is_strict_subrole

#: How many derived identities each cache keeps. A master sees names x roles x reservations of them: thousands, where one
#: entry costs some hundred bytes. Roles are a peer's choice, so there has to be a bound; beyond it things only get slower.
_CACHE_SIZE: Final = 16_384

SortKey: TypeAlias = tuple[object, ...]


class Identity(Struct, frozen=True, cache_hash=True):
    """Everything of a resource but its amount; `volume_milli` is the size of a persistent volume, which is one piece."""

    name: str
    type: ResourceType = ResourceType.SCALAR
    reservations: tuple[Reservation, ...] = ()
    allocation_role: str | None = None
    revocable: bool = False
    shared: bool = False
    disk: DiskInfo | None = None
    provider_id: str | None = None
    #: Thousandths of a MiB of one persistent volume; amounts under this identity are whole multiples of it.
    volume_milli: int | None = None

    def reservation_role(self) -> str | None:
        """The role that this is reserved for: that of the last step of the stack, or None."""
        return self.reservations[-1].role if self.reservations else None

    def is_allocatable_to(self, role: str) -> bool:
        """Tell whether the role may be offered this: unreserved, or reserved for the role or one above it."""
        owner = self.reservation_role()
        return owner is None or owner == role or is_strict_subrole(role, owner)

    def wire(self, milli: int) -> Resource:
        """This much of a scalar, as it travels."""
        return Resource(
            name=self.name,
            type=self.type,
            scalar=milli,
            reservations=self.reservations,
            allocation_role=self.allocation_role,
            revocable=self.revocable,
            shared=self.shared,
            disk=self.disk,
            provider_id=self.provider_id,
        )

    def wire_elements(self, elements: tuple[Range, ...] | tuple[str, ...]) -> Resource:
        """These ranges or set items, as they travel."""
        is_ranges = self.type is ResourceType.RANGES
        return msgspec.structs.replace(
            self.wire(0),
            scalar=None,
            ranges=elements if is_ranges else None,
            set=None if is_ranges else elements,
        )


@lru_cache(maxsize=_CACHE_SIZE)
def _plain(name: str, type_: ResourceType, allocation_role: str | None) -> Identity:
    return Identity(name=name, type=type_, allocation_role=allocation_role)


def identity_of(resource: Resource) -> Identity:
    """The identity of a valid resource."""
    if not resource.reservations and resource.disk is None and resource.provider_id is None and not resource.revocable:
        # Nearly everything there is. Sharing implies a volume, which implies a disk.
        return _plain(resource.name, resource.type, resource.allocation_role)
    is_volume = resource.disk is not None and resource.disk.persistence_id is not None
    return Identity(
        name=resource.name,
        type=resource.type,
        reservations=tuple(_with_sorted_labels(reservation) for reservation in resource.reservations),
        allocation_role=resource.allocation_role,
        revocable=resource.revocable,
        shared=resource.shared,
        disk=resource.disk,
        provider_id=resource.provider_id,
        volume_milli=resource.scalar if is_volume else None,
    )


@lru_cache(maxsize=_CACHE_SIZE)
def stamped(identity: Identity, role: str | None) -> Identity:
    """The same, allocated to the role; or to nobody, where it is None."""
    return msgspec.structs.replace(identity, allocation_role=role)


@lru_cache(maxsize=_CACHE_SIZE)
def sort_key(identity: Identity) -> SortKey:
    """A total order of identities: by name, then plain before special. Equal keys only for equal identities."""
    disk = identity.disk
    return (
        identity.name,
        identity.type.value,
        identity.revocable,
        _or_nothing(identity.allocation_role),
        tuple((step.type.value, step.role, _or_nothing(step.principal), step.labels) for step in identity.reservations),
        ()
        if disk is None
        else (_or_nothing(disk.persistence_id), _or_nothing(disk.principal), _or_nothing(disk.container_path)),
        identity.shared,
        _or_nothing(identity.provider_id),
        identity.volume_milli or 0,
    )


def _or_nothing(text: str | None) -> tuple[bool, str]:
    return (text is not None, text or "")


def _with_sorted_labels(reservation: Reservation) -> Reservation:
    """Labels are a set to whoever compares them (mesos `src/common/type_utils.cpp`), so one order stands for all."""
    if len(reservation.labels) < 2:
        return reservation
    return msgspec.structs.replace(reservation, labels=tuple(sorted(reservation.labels)))
