"""What is remembered of jobs, stages, tasks and executors: counts of everything, and single tasks as far as there is room.

Filled by `history.History`, read by the report, the progress bars and the status tracker.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from mesolite.executors.sparklite.task_data import TaskMetrics

from .listener import StageBegan, TaskFinished, TaskStarted

#: Single tasks of a stage that are kept. Quantiles are exact up to here; beyond, they are of a fair sample of this size.
MAX_TASKS_OF_STAGE: Final = 5_000

#: Of each stage, always kept whole: the slowest tasks, and the first failures.
SLOWEST_KEPT: Final = 20
FAILURES_KEPT: Final = 20

#: Characters of a task's reason: the beginning says where, the end of a traceback says what.
MAX_REASON_CHARS: Final = 4_000

#: As `TaskFinished.outcome`, and "running".
Outcome: TypeAlias = str
DONE: Final = "done"
FAILED: Final = "failed"
RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"


@dataclass(slots=True, kw_only=True)
class TaskRecord:
    """One attempt at one partition."""

    started: TaskStarted
    outcome: Outcome = RUNNING
    #: Shortened; empty for what is done.
    reason: str = ""
    #: On the driver's clock; 0 while it runs.
    ended_ms: int = 0
    metrics: TaskMetrics = field(default_factory=TaskMetrics)

    @property
    def run_ms(self) -> float:
        """How long it ran: by the worker's clock, or from sending to the end where the worker could not say."""
        return self.metrics.run_ms or float(max(0, self.ended_ms - self.started.at_ms))

    @property
    def began_ms(self) -> float:
        """When it began to run, on the driver's clock: it may have waited behind another since it was sent.

        The worker says when, by a clock that may be off: what cannot be is moved to between sending and end.
        """
        latest = max(float(self.started.at_ms), self.ended_ms - self.run_ms)
        return min(max(float(self.started.at_ms), self.metrics.began_ms or latest), latest)


class Spread(NamedTuple):
    """How the run times of a stage's finished tasks are spread, in milliseconds."""

    smallest: float = 0.0
    lower: float = 0.0
    median: float = 0.0
    upper: float = 0.0
    high: float = 0.0
    largest: float = 0.0


def spread_of(values: list[float]) -> Spread:
    """Return minimum, quartiles, 95th percentile and maximum (each a value that occurs: the nearest rank)."""
    if not values:
        return Spread()
    ordered = sorted(values)
    last = len(ordered) - 1
    return Spread(*(ordered[round(share * last)] for share in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)))


@dataclass(slots=True)
class Sums:
    """What tasks did together; each attempt counts."""

    run_ms: float = 0.0
    fetch_wait_ms: float = 0.0
    items_in: int = 0
    shuffle_read_bytes: int = 0
    shuffle_read_remote_bytes: int = 0
    shuffle_write_bytes: int = 0
    shuffle_write_items: int = 0
    spilled_bytes: int = 0
    result_bytes: int = 0
    cache_hits: int = 0
    #: The largest of any task, and the limit that was told with it.
    peak_memory_bytes: int = 0
    memory_limit_bytes: int = 0

    def add(self, task: TaskRecord) -> None:
        """Count an attempt that ended."""
        metrics = task.metrics
        self.run_ms += task.run_ms
        self.fetch_wait_ms += metrics.fetch_wait_ms
        self.items_in += metrics.items_in
        self.shuffle_read_bytes += metrics.shuffle_read_bytes
        self.shuffle_read_remote_bytes += metrics.shuffle_read_remote_bytes
        self.shuffle_write_bytes += metrics.shuffle_write_bytes
        self.shuffle_write_items += metrics.shuffle_write_items
        self.spilled_bytes += metrics.spilled_bytes
        self.result_bytes += metrics.result_bytes
        self.cache_hits += metrics.cache_hits
        self.peak_memory_bytes = max(self.peak_memory_bytes, metrics.peak_memory_bytes)
        self.memory_limit_bytes = max(self.memory_limit_bytes, metrics.memory_limit_bytes)


class StageRecord:
    """One attempt at a stage."""

    def __init__(self, began: StageBegan) -> None:
        self.began: Final = began
        #: None while it runs.
        self.ended_ms: int | None = None
        #: Why it did not come to its end; empty where it did, and while it runs.
        self.reason = ""
        self.active = 0
        #: Attempts that were launched though another one ran.
        self.speculative = 0
        #: Attempts that were launched where their input is not.
        self.remote = 0
        #: Attempts after the first of their partition, speculative ones apart.
        self.retried = 0
        #: How many attempts ended how.
        self.outcomes: Final[Counter[Outcome]] = Counter()
        self.sums: Final = Sums()
        #: Attempts that ended: all of them up to MAX_TASKS_OF_STAGE, a fair sample beyond.
        self.tasks: list[TaskRecord] = []
        self.failures: Final[list[TaskRecord]] = []
        self._slowest: Final[list[tuple[float, int, TaskRecord]]] = []
        #: Kept when the single tasks are given up.
        self._spread: Spread | None = None
        # A seed of its own, so that the same events leave the same sample.
        self._random: Final = random.Random(began.stage_id)

    @property
    def status(self) -> str:
        """In a word: running, succeeded or failed."""
        if self.ended_ms is None:
            return RUNNING
        return FAILED if self.reason else SUCCEEDED

    @property
    def ended_tasks(self) -> int:
        """How many attempts have ended."""
        return self.outcomes.total()

    @property
    def exact(self) -> bool:
        """Whether `spread` knows every task."""
        return self.ended_tasks <= MAX_TASKS_OF_STAGE

    def task_started(self, event: TaskStarted) -> None:
        """An attempt was sent."""
        self.active += 1
        self.remote += not event.local
        self.speculative += event.speculative
        self.retried += event.attempt > 0 and not event.speculative

    def task_finished(self, task: TaskRecord) -> None:
        """An attempt ended."""
        self.active -= 1
        self.outcomes[task.outcome] += 1
        self.sums.add(task)
        self._sample(task)
        heapq.heappush(self._slowest, (task.run_ms, task.started.task_id, task))
        if len(self._slowest) > SLOWEST_KEPT:
            heapq.heappop(self._slowest)
        if task.outcome not in (DONE, "killed") and len(self.failures) < FAILURES_KEPT:
            self.failures.append(task)

    def slowest(self) -> list[TaskRecord]:
        """Return the slowest attempts, the slowest first."""
        return [task for _, _, task in sorted(self._slowest, reverse=True)]

    def spread(self) -> Spread:
        """How the run times of finished tasks are spread."""
        if self._spread is not None:
            return self._spread
        known = spread_of([task.run_ms for task in self.tasks if task.outcome == DONE])
        # The slowest are known, also where they are not in the sample.
        return known._replace(
            largest=max([known.largest, *(run_ms for run_ms, _, task in self._slowest if task.outcome == DONE)])
        )

    def give_up_tasks(self) -> int:
        """Make room: keep of the single tasks only the slowest and the failures. Returns how many went."""
        before = len(self.tasks)
        self._spread = self.spread()
        kept = {task.started.task_id: task for task in (*self.slowest(), *self.failures)}
        self.tasks = list(kept.values())
        return before - len(self.tasks)

    def _sample(self, task: TaskRecord) -> None:
        """Keep it, or let chance decide: each of n tasks stays with the same probability (reservoir sampling, algorithm R)."""
        if len(self.tasks) < MAX_TASKS_OF_STAGE:
            self.tasks.append(task)
            return
        place = self._random.randrange(self.ended_tasks)
        if place < MAX_TASKS_OF_STAGE:
            self.tasks[place] = task


@dataclass(slots=True, kw_only=True)
class JobRecord:
    """One job."""

    job_id: int
    name: str
    group: str | None
    description: str | None
    stage_ids: tuple[int, ...]
    began_ms: int
    #: None while it runs.
    ended_ms: int | None = None
    #: Why it failed; empty where it did not, and while it runs.
    error: str = ""
    #: Names of the stages that it found done, by their numbers.
    skipped: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def status(self) -> str:
        """In a word: running, succeeded or failed."""
        if self.ended_ms is None:
            return RUNNING
        return FAILED if self.error else SUCCEEDED


@dataclass(slots=True, kw_only=True)
class ExecutorRecord:
    """One executor."""

    executor_id: str
    agent_id: str
    host: str
    began_ms: int
    #: None while it lives.
    ended_ms: int | None = None
    #: The most that it had.
    workers: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter[Outcome])
    sums: Sums = field(default_factory=Sums)


def shortened(reason: str) -> str:
    """Cut a long reason in its middle."""
    if len(reason) <= MAX_REASON_CHARS:
        return reason
    half = MAX_REASON_CHARS // 2
    return f"{reason[:half]}\n[… {len(reason) - 2 * half} characters left out …]\n{reason[-half:]}"


def ended(started: TaskStarted, event: TaskFinished) -> TaskRecord:
    """Return what is remembered of an attempt that ended."""
    return TaskRecord(
        started=started,
        outcome=event.outcome,
        reason=shortened(event.reason),
        ended_ms=event.at_ms,
        metrics=event.metrics,
    )
