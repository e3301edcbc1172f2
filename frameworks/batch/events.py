"""What comes into the batch core."""

from dataclasses import dataclass
from typing import TypeAlias

from ..driver.scheduling import Offered, Ticked, TooLarge, Updated
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


BatchEvent: TypeAlias = JobSubmitted | JobCancelled | Offered | Updated | TooLarge | Ticked
