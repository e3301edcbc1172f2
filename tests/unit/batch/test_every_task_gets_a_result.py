"""The promise of batch on the driver: every task gets exactly one result, whatever happens to messages on the way.

Method: the real driver and batch core against a dumb master. In the first phase messages are lost and doubled, masters replaced,
agents hidden, at rates that are drawn too (so some runs have one kind of fault only). In the second phase nothing fails any
more; everything must come to rest. Safety is checked all the way: no second result for a task, no id launched twice, invariants
after every step. Liveness at the end: a result for each task, and nothing that was given up is left running.
"""

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mesolite.frameworks.batch.core import BatchCore
from mesolite.frameworks.batch.job import JobSpec
from mesolite.frameworks.batch.journal import MemoryJournal
from mesolite.frameworks.batch.records import JobRecord, Kept, TaskRecord
from mesolite.frameworks.batch.result import JobSummary, TaskResult
from mesolite.frameworks.batch.retry import RetryPolicy
from mesolite.frameworks.batch.scheduler import BatchScheduler
from mesolite.frameworks.batch.task import TaskSpec
from mesolite.frameworks.driver.driver import Action, SchedulerDriver
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import TERMINAL_STATES, EventBatch, FrameworkInfo, TaskState
from tests.unit.batch.dumb_master import AGENTS, DumbMaster

FRAMEWORK_ID = FrameworkId("batch-17")
POLICY = RetryPolicy(max_attempts=3, max_losses=1000, unreachable_ms=20_000, backoff_cap_ms=4000)
TASKS = 7


class Listener:
    """Notes results."""

    def __init__(self) -> None:
        self.results: list[TaskResult] = []
        self.summaries: list[JobSummary] = []

    def connected(self) -> None:
        """See `BatchListener`."""

    def finished(self, result: TaskResult) -> None:
        """See `BatchListener`."""
        self.results.append(result)

    def job_finished(self, summary: JobSummary) -> None:
        """See `BatchListener`."""
        self.summaries.append(summary)

    def job_refused(self, job_id: str, reason: str) -> None:
        """See `BatchListener`."""
        raise AssertionError(reason)

    def ended(self, message: str) -> None:
        """See `BatchListener`."""
        raise AssertionError(message)


class DyingJournal(MemoryJournal):
    """A journal whose program may die right before or right after something is saved."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        #: How likely that is.
        self.odds = 0.0

    def save(self, jobs: Sequence[JobRecord], tasks: Sequence[TaskRecord]) -> None:
        """See `Journal`."""
        if self.rng.random() < self.odds:
            raise DiedError
        super().save(jobs, tasks)
        if self.rng.random() < self.odds:
            raise DiedError


class DiedError(Exception):
    """The program was killed."""


class World:
    """Everything, in one thread."""

    def __init__(self, seed: int, *, dies: bool = False) -> None:
        self.rng = random.Random(seed)
        self.listener = Listener()
        self.journal = DyingJournal(self.rng) if dies else None
        self.lives = 0
        self.begin()
        self.master = DumbMaster(FRAMEWORK_ID, self.rng)
        self.now_ms = 1_000_000
        # Each kind of fault is off, rare or heavy in this run.
        self.loss, self.doubling, self.failover, self.hiding = (self.rng.choice([0, 0.1, 0.4]) for _ in range(4))
        self.old: list[EventBatch] = []

    def begin(self) -> None:
        """The program starts, with nothing but its journal."""
        self.lives += 1
        kept = self.journal.load() if self.journal is not None else Kept()
        self.core = BatchCore.recover(FRAMEWORK_ID, kept.jobs, kept.tasks) if self.journal else BatchCore(FRAMEWORK_ID)
        self.core.check()
        self.scheduler = BatchScheduler(self.core, self.listener, self.journal)
        self.driver = SchedulerDriver(
            self.scheduler,
            FrameworkInfo(framework_id=FRAMEWORK_ID, name="batch"),
            session=SessionId(f"session-{self.lives}"),
            rng=self.rng,
            settings=DriverSettings(reconcile_interval_ms=60_000),
            known_tasks=self.core.counting_attempts,
        )

    def submit(self, job_id: str) -> None:
        """Submit a job."""
        spec = JobSpec(job_id=job_id, count=TASKS, task=TaskSpec(command="true", mem_mib=10), retry=POLICY)
        self.exchange([], lambda driver: self.scheduler.submit(driver, spec))

    def cancel(self, job_id: str) -> None:
        """Kill a job."""
        self.exchange([], lambda driver: self.scheduler.cancel(driver, job_id))

    def exchange(self, heard: list[EventBatch], *actions: Action, faults: bool = False) -> None:
        """One step of the driver, and what it says to the master."""
        if self.journal is not None:
            self.journal.odds = 0.03 if faults else 0.0
        try:
            said = self.driver.step(self.now_ms, heard, actions)
        except DiedError:
            self.begin()
            return
        for batch in said:
            if faults and self.rng.random() < self.loss:
                continue
            self.master.hear(batch)
            if faults and self.rng.random() < self.doubling:
                self.master.hear(batch)
        self.core.check()
        self.driver.core.check()

    def step(self, *, faults: bool) -> None:
        """A second of the world's time."""
        self.now_ms += 1000
        if faults and self.rng.random() < self.failover / 4:
            self.master.fail_over()
        if faults and self.rng.random() < self.hiding / 2:
            self.master.hide(self.rng.choice(AGENTS), self.now_ms)
        if not faults or self.rng.random() < 0.3:
            self.master.hidden.clear()
        self.master.step(self.now_ms, faults=faults)
        self.exchange(self.heard(faults=faults), faults=faults)

    def heard(self, *, faults: bool) -> list[EventBatch]:
        """What arrives of what the master said; old batches may arrive once more."""
        heard: list[EventBatch] = []
        for batch in self.master.said:
            if faults and self.rng.random() < self.loss:
                continue
            heard.append(batch)
            self.old.append(batch)
            if faults and self.rng.random() < self.doubling:
                heard.append(self.rng.choice(self.old))
        self.master.said.clear()
        return heard

    def at_rest(self) -> bool:
        """Whether all jobs have ended and nothing runs."""
        running = any(attempt.state not in TERMINAL_STATES for attempt in self.master.attempts.values())
        return not self.core.unfinished_jobs and not running


def live_through(world: World) -> None:
    """Let two jobs, of which one is cancelled, suffer for a while, and then come to rest undisturbed."""
    world.submit("steady")
    world.submit("killed")
    for step in range(60):
        world.step(faults=True)
        if step == 20:
            world.cancel("killed")
    for _ in range(600):
        if world.at_rest():
            break
        world.step(faults=False)


@settings(max_examples=150)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_with_a_journal_every_task_gets_exactly_one_result_whenever_its_program_dies(seed: int) -> None:
    """What was found counts from the journal, because what a program was told may have died with it."""
    world = World(seed, dies=True)
    assert world.journal is not None
    live_through(world)
    results = {(each.job_id, each.index): each for each in world.journal.load().results}
    assert results.keys() == {(job, index) for job in ("steady", "killed") for index in range(TASKS)}
    told = [(each.job_id, each.index, each.task_id) for each in world.listener.results]
    assert len(told) == len(set(told)), "a result was told twice"
    assert all(results[job, index].task_id == task_id for job, index, task_id in told), "a task had two results"
    assert world.at_rest(), "an attempt that was given up runs on"
    assert [job.spec.job_id for job in world.journal.load().jobs if job.summary is not None] == ["steady", "killed"]


@settings(max_examples=150)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_every_task_gets_exactly_one_result_whatever_happens_to_messages(seed: int) -> None:
    world = World(seed)
    live_through(world)
    counts = Counter((result.job_id, result.index) for result in world.listener.results)
    assert counts == {(job, index): 1 for job in ("steady", "killed") for index in range(TASKS)}
    assert {summary.job_id for summary in world.listener.summaries} == {"steady", "killed"}
    assert world.at_rest(), "an attempt that was given up runs on"
    believed = {result.task_id for result in world.listener.results if result.state is TaskState.FINISHED}
    finished = {name for name, attempt in world.master.attempts.items() if attempt.state is TaskState.FINISHED}
    assert believed <= finished, "a success that never was"
