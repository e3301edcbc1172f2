"""What comes into the batch core."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.protocol import Demand, Offer, TaskStatus
from mesolite.resources import Resource

from .job import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """The user wants a job done."""

    now_ms: int
    job: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """The user does not want it any more."""

    now_ms: int
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """There are offers."""

    now_ms: int
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """Attempts changed, in order."""

    now_ms: int
    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """No agent is large enough for this demand."""

    now_ms: int
    demand: Demand
    #: All that the largest agent has.
    largest: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed."""

    now_ms: int


BatchEvent: TypeAlias = JobSubmitted | JobCancelled | Offered | Updated | TooLarge | Ticked
