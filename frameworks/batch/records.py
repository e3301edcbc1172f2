"""What a batch framework keeps over its program's death, each a whole thing to be put under its key, and who keeps it.

A task has no record before its first attempt: until then its job's record says all there is to say of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from mesolite.ids import AgentId, FrameworkId, TaskId

from .job import JobSpec
from .lifecycle import TaskPhase
from .result import JobSummary, TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job. Key: its id."""

    spec: JobSpec
    submitted_ms: int
    #: The user had it killed.
    cancelled: bool
    #: Once it has ended; then nothing but this counts.
    summary: JobSummary | None


class TaskRecord(Struct, frozen=True, kw_only=True):
    """A task of a job, once an attempt was made or it has its result. Key: the job's id and the index."""

    job_id: str
    index: int
    phase: TaskPhase
    attempts: int
    failures: int
    losses: int
    #: The newest attempt, which counts while `phase` is LAUNCHED or UNREACHABLE.
    task_id: TaskId | None
    agent_id: AgentId | None
    agent_url: str
    started_ms: int | None
    #: When WAITING or UNREACHABLE ends.
    deadline_ms: int | None
    result: TaskResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """All that a journal remembers."""

    #: None where no framework of an earlier life is to be gone on with.
    framework_id: FrameworkId | None = None
    #: In the order of their submission.
    jobs: tuple[JobRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    #: Those that the program has not been done with.
    results: tuple[TaskResult, ...] = ()


class Journal(Protocol):
    """Remembers. Safe from any thread."""

    def load(self) -> Kept:
        """Return everything."""
        ...

    def begin(self, framework_id: FrameworkId) -> None:
        """Remember the framework, before anybody hears of it."""
        ...

    def end(self) -> None:
        """Forget the framework: it is about to end, and its id with it. The jobs stay."""
        ...

    def save(self, jobs: Sequence[JobRecord], tasks: Sequence[TaskRecord]) -> None:
        """Put these, all or nothing; durable on return.

        Raises:
            Unavailable: The disk takes nothing, and nothing was changed.
        """
        ...

    def handed(self, result: TaskResult) -> None:
        """The program is done with a result. Those of a job that has ended are dropped with the last of them."""
        ...

    def close(self) -> None:
        """Let others use it."""
        ...
