"""Jobs as the scheduler's shell knows them: who waits for one, and what has come of it so far."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import JobFailed
from .plan import JobPlan

#: `SparkContext.setLocalProperty` of what PySpark keeps in properties of the thread.
GROUP: Final = "spark.jobGroup.id"
DESCRIPTION: Final = "spark.job.description"
POOL: Final = "spark.scheduler.pool"
TAGS: Final = "spark.job.tags"
INTERRUPT: Final = "spark.job.interruptOnCancel"


@dataclass(slots=True, eq=False)
class Job:
    """A job that has not ended."""

    job_id: int
    #: Keeps its stages and their shuffles alive.
    plan: JobPlan
    #: The action and where it was called.
    name: str
    partitions: tuple[int, ...]
    #: Local properties of the thread that submitted it.
    properties: dict[str, str]
    #: What the thread waits for: the function's values, in order of `partitions`.
    future: "Future[list[Any]]" = field(default_factory=Future)
    results: list[Any] = field(default_factory=list[Any])
    #: Of the results so far, pickled.
    result_bytes: int = 0
    #: Why it is to fail, where that is the shell's word and not the DAG scheduler's.
    error: JobFailed | None = None

    def __post_init__(self) -> None:
        self.results = [None] * len(self.partitions)

    @property
    def group(self) -> str | None:
        """Its group, where it has one."""
        return self.properties.get(GROUP)

    @property
    def tags(self) -> set[str]:
        """Its tags."""
        return set(filter(None, self.properties.get(TAGS, "").split(",")))
