"""What every core of a scheduler hears of its driver, and wants of it: the same for batch jobs, pools and elastic workers.

Each framework adds its own to these and closes the union (`events.py`, `effects.py` beside its core). The driver's own core has
others: it speaks with the master.
"""

from dataclasses import dataclass

from mesolite.ids import OfferId
from mesolite.protocol import Demand, Offer, TaskStatus
from mesolite.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Offers came."""

    now_ms: int
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """Tasks changed, in order."""

    now_ms: int
    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """No agent is large enough for one unit of a demand."""

    now_ms: int
    demand: Demand
    #: All that the largest agent has.
    largest: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed, or the subscription stands."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineOffers:
    """Give offers back."""

    offer_ids: tuple[OfferId, ...]
    #: How long what was in them is not wanted; 0 where nothing is wanted at all.
    refuse_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviveOffers:
    """What was refused is wanted after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDemand:
    """Say what is wanted; free if unchanged."""

    demands: tuple[Demand, ...]
