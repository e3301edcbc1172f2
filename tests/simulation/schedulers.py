"""Schedulers for the simulator: one that says something different every time, and a driver that writes down what it is told."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mesolite.frameworks.batch.result import JobSummary, TaskResult
from mesolite.frameworks.driver.driver import DEFAULT_FILTERS, SchedulerDriver
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.ids import AgentId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    CommandInfo,
    Demand,
    Filters,
    FrameworkInfo,
    KillPolicy,
    Offer,
    Operation,
    TaskInfo,
    TaskStatus,
    Uri,
)
from mesolite.resources import Resources, scalars

from .journal import Journal

#: Bounds of one plain scheduler's appetite, so that runs end.
MAX_LIVE_TASKS: Final = 10
MAX_TASKS: Final = 40
#: Runs until somebody kills it.
FOR_EVER: Final = "sleep 1000000"


def any_command(rng: random.Random, *, for_ever: bool) -> CommandInfo:
    """Draw what a task does: it succeeds, fails, lasts, does not listen, is too greedy, or cannot even start."""
    kind = rng.random()
    if for_ever and kind < 0.15:
        return CommandInfo(value=FOR_EVER)
    if kind < 0.55:
        return CommandInfo(value=f"sleep {rng.randint(0, 400) / 10}")
    if kind < 0.65:
        return CommandInfo(value=f"ignore-term {rng.randint(1, 60)}")
    if kind < 0.72:
        return CommandInfo(
            value=f"sleep {rng.randint(0, 9)}", uris=(Uri(rng.choice(("file:///data", "file:///missing"))),)
        )
    return CommandInfo(value=rng.choice(("true", "false", "exit 3", "oom", "missing", "echo done")))


class RecordedDriver(SchedulerDriver):
    """A driver whose verbs leave a trail in the journal."""

    def __init__(
        self,
        scheduler: Scheduler,
        framework_info: FrameworkInfo,
        *,
        session: SessionId,
        rng: random.Random,
        settings: DriverSettings,
        known_tasks: Iterable[tuple[TaskId, AgentId | None]],
        journal: Journal,
    ) -> None:
        super().__init__(
            Listener(scheduler, journal, session),
            framework_info,
            session=session,
            rng=rng,
            settings=settings,
            known_tasks=known_tasks,
        )
        self._journal: Final = journal

    def accept(
        self, offer_ids: Iterable[OfferId], operations: Iterable[Operation], filters: Filters = DEFAULT_FILTERS
    ) -> None:
        """See `SchedulerDriver`."""
        operations = tuple(operations)
        super().accept(offer_ids, operations, filters)
        for operation in operations:
            for task in operation.task_infos:
                facts = self._journal.task((self.framework_id, task.task_id))
                facts.asked_by = self.core.session
                facts.may_be_killed = facts.may_be_killed or task.max_completion_time_ms is not None

    def kill(self, task_id: TaskId, kill_policy: KillPolicy | None = None) -> None:
        """See `SchedulerDriver`."""
        self._journal.task((self.framework_id, task_id)).may_be_killed = True
        super().kill(task_id, kill_policy)

    def shutdown_executor(self, agent_id: AgentId, executor_id: ExecutorId) -> None:
        """See `SchedulerDriver`."""
        self._journal.shut_down.add((self.framework_id, agent_id, executor_id))
        super().shutdown_executor(agent_id, executor_id)

    def teardown(self) -> None:
        """See `SchedulerDriver`."""
        self._journal.ended.add(self.framework_id)
        super().teardown()


class Listener(Scheduler):
    """Writes down what a scheduler hears before it does."""

    def __init__(self, scheduler: Scheduler, journal: Journal, session: SessionId) -> None:
        self._journal: Final = journal
        self._session: Final = session
        self._scheduler: Final = scheduler
        self.subscribed = scheduler.subscribed  # type: ignore[method-assign]
        self.disconnected = scheduler.disconnected  # type: ignore[method-assign]
        self.rescinded = scheduler.rescinded  # type: ignore[method-assign]
        self.message = scheduler.message  # type: ignore[method-assign]
        self.failure = scheduler.failure  # type: ignore[method-assign]
        self.unsatisfiable = scheduler.unsatisfiable  # type: ignore[method-assign]
        self.congestion = scheduler.congestion  # type: ignore[method-assign]
        self.wakeup = scheduler.wakeup  # type: ignore[method-assign]

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self._journal.offered(self._session, offers)
        self._scheduler.offers(driver, offers)

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        """See `Scheduler`."""
        self._journal.heard(driver.framework_id, self._session, statuses)
        self._scheduler.status_updates(driver, statuses)

    def error(self, driver: SchedulerDriver, message: str) -> None:
        """See `Scheduler`."""
        self._journal.expelled[self._session] = message
        self._scheduler.error(driver, message)


class Results:
    """Hears how batch jobs go."""

    def __init__(self, framework_id: FrameworkId, journal: Journal) -> None:
        self._framework_id: Final = framework_id
        self._journal: Final = journal
        #: Jobs that have not ended.
        self.open: dict[str, None] = {}

    def connected(self) -> None:
        """See `BatchListener`."""

    def finished(self, result: TaskResult) -> None:
        """See `BatchListener`."""
        self._journal.results.setdefault((self._framework_id, result.job_id, result.index), []).append(result)

    def job_finished(self, summary: JobSummary) -> None:
        """See `BatchListener`."""
        del self.open[summary.job_id]

    def job_refused(self, job_id: str, reason: str) -> None:
        """See `BatchListener`."""
        raise AssertionError(f"job {job_id} was refused: {reason}")

    def ended(self, message: str) -> None:
        """See `BatchListener`."""


@dataclass(slots=True)
class Memory:
    """What a plain scheduler keeps in a safe place: it outlives its processes."""

    #: Tasks that have not ended, and where they were launched.
    live: dict[TaskId, AgentId] = field(default_factory=dict[TaskId, AgentId])
    launched: int = 0
    #: Executors that it may have, and where.
    executors: dict[tuple[AgentId, ExecutorId], None] = field(default_factory=dict[tuple[AgentId, ExecutorId], None])
    #: It wants no more tasks, and the present ones dead.
    closing: bool = False


class PlainScheduler(Scheduler):
    """Launches, kills, declines, suppresses and revives as the dice fall."""

    def __init__(self, name: str, roles: tuple[str, ...], memory: Memory, rng: random.Random) -> None:
        self._name: Final = name
        self._roles: Final = roles
        self._memory: Final = memory
        self._rng: Final = rng
        self._states_demand: Final = rng.random() < 0.5
        self._closed = False
        self._killed: set[TaskId] = set()

    def subscribed(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        if self._states_demand:
            self._demand(driver)
        driver.wake_at(driver.now_ms + self._rng.randint(500, 5_000))

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        for offer in offers:
            tasks = self._tasks(offer)
            if tasks:
                for task in tasks:
                    self._memory.live[task.task_id] = task.agent_id
                driver.launch([offer.offer_id], tasks, Filters(refuse_ms=self._rng.choice((0, 1000, 5000))))
            elif self._rng.random() < 0.8 or self._memory.closing:
                driver.decline([offer.offer_id], Filters(refuse_ms=self._rng.choice((0, 1000, 5000, 30_000))))

    def status_update(self, driver: SchedulerDriver, status: TaskStatus) -> None:
        """See `Scheduler`."""
        if status.state in TERMINAL_STATES:
            self._memory.live.pop(status.task_id, None)
        elif status.task_id not in self._killed and (self._memory.closing or self._rng.random() < 0.1):
            # Once: the answer to a kill of an unreachable task is that it is unreachable, and that must not go on for ever.
            self._killed.add(status.task_id)
            driver.kill(status.task_id, self._policy())

    def wakeup(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        driver.wake_at(driver.now_ms + self._rng.randint(500, 10_000))
        if self._memory.closing:
            if not self._closed:
                self.close(driver)
            return
        kind = self._rng.random()
        if kind < 0.3 and self._memory.live:
            driver.kill(self._rng.choice(list(self._memory.live)), self._policy())
        elif kind < 0.4:
            driver.suppress(self._some_roles())
        elif kind < 0.7:
            driver.revive(self._some_roles())
        elif kind < 0.8:
            driver.reconcile()
        elif self._states_demand:
            self._demand(driver)

    def close(self, driver: SchedulerDriver) -> None:
        """Want nothing more, and everything dead."""
        self._closed = True
        driver.suppress()
        driver.set_demand(())
        for task_id in list(self._memory.live):
            driver.kill(task_id, self._policy())

    def _tasks(self, offer: Offer) -> list[TaskInfo]:
        rng, memory = self._rng, self._memory
        have = Resources.of(offer.resources)
        cpus_milli, mem_milli = have.scalar("cpus"), have.scalar("mem")
        tasks: list[TaskInfo] = []
        while (
            not memory.closing
            and len(memory.live) + len(tasks) < MAX_LIVE_TASKS
            and memory.launched < MAX_TASKS
            and rng.random() < 0.7
        ):
            # Now and then more than is left: the master must refuse that one, and no other.
            greedy = rng.random() < 0.05
            cpus, mem = rng.choice((100, 500, 1000, 2000)), rng.choice((32_000, 128_000, 500_000))
            if (cpus > cpus_milli or mem > mem_milli) and not greedy:
                break
            cpus_milli, mem_milli = cpus_milli - cpus, mem_milli - mem
            memory.launched += 1
            tasks.append(
                TaskInfo(
                    task_id=TaskId(f"{self._name}-{memory.launched}"),
                    agent_id=offer.agent_id,
                    resources=scalars(cpus=cpus / 1000, mem_mib=mem / 1000).to_wire(),
                    command=any_command(rng, for_ever=True),
                    kill_policy=self._policy(),
                    max_completion_time_ms=rng.choice((None, None, None, 5_000)),
                )
            )
        return tasks

    def _demand(self, driver: SchedulerDriver) -> None:
        rng = self._rng
        driver.set_demand(
            [
                Demand(
                    role=role,
                    shape=scalars(cpus=rng.choice((0.5, 1, 2)), mem_mib=rng.choice((64, 256))).to_wire(),
                    count=rng.randint(0, 8) if not self._memory.closing else 0,
                )
                for role in self._roles
            ]
        )

    def _policy(self) -> KillPolicy | None:
        grace_ms = self._rng.choice((None, 0, 1_000, 10_000))
        return KillPolicy(grace_period_ms=grace_ms) if grace_ms is not None else None

    def _some_roles(self) -> tuple[str, ...]:
        return self._rng.choice(((), self._roles, self._roles[:1]))
