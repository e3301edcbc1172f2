"""What comes into the core of elastic workers."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.protocol import Demand, Offer, TaskStatus
from mesolite.resources import Resource

from .looks import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Queues and workers were looked at."""

    now_ms: int
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFailed:
    """The broker did not answer."""

    now_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """There are offers."""

    now_ms: int
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """Workers changed, in order."""

    now_ms: int
    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """No agent is large enough for a worker."""

    now_ms: int
    demand: Demand
    largest: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainAsked:
    """All workers shall go, and none come."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed."""

    now_ms: int


WorkersEvent: TypeAlias = Looked | LookFailed | Offered | Updated | TooLarge | DrainAsked | Ticked
