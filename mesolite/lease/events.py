"""What happens to somebody who wants to lead, and what it asks of the store."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.transport.contract import Lease, LeaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The store did what it was asked, and says who leads."""

    now_ms: int
    #: When it was asked. A lease counts from here, because the answer may have been long on its way.
    asked_ms: int
    state: LeaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The store does not answer; what it was asked may have happened."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSpoilt:
    """The master cannot use this epoch any more: the store forgot a part of what was done in it, or somebody follows a newer."""

    now_ms: int
    epoch: int
    #: The next is to be at least this.
    at_least: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """The master ends."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """See `Store.claim_lease`."""

    at_least: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """See `Store.renew_lease`."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """See `Store.lease`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """See `Store.release_lease`."""

    lease: Lease


LeaseEvent: TypeAlias = Tick | Answered | Unanswered | EpochSpoilt | Resigned
LeaseEffect: TypeAlias = Claim | Renew | Look | Release
