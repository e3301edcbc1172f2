"""What the batch core wants done."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import OfferId, TaskId
from mesolite.protocol import TaskInfo

from ..driver.scheduling import DeclineOffers, ReviveOffers, StateDemand
from .records import JobRecord, TaskRecord
from .result import JobSummary, TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Make these durable before any other effect of the event is carried out. Always the first; only of cores that remember."""

    jobs: tuple[JobRecord, ...]
    tasks: tuple[TaskRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTasks:
    """Accept these offers with these tasks; what is left may be offered again at once."""

    offer_ids: tuple[OfferId, ...]
    tasks: tuple[TaskInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTask:
    """Kill an attempt."""

    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """A task has its result."""

    result: TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """All tasks of a job have theirs."""

    summary: JobSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A job cannot be taken."""

    job_id: str
    reason: str


BatchEffect: TypeAlias = (
    Remember
    | LaunchTasks
    | DeclineOffers
    | ReviveOffers
    | StateDemand
    | KillTask
    | ReportResult
    | ReportSummary
    | Refused
)
