"""The batch framework as a scheduler: its core's effects become the driver's verbs, and results go to a listener."""

from collections.abc import Sequence
from typing import Protocol, assert_never

from mesolite.protocol import Demand, Filters, Offer, Source, TaskState, TaskStatus
from mesolite.resources import Resource

from ..driver.driver import SchedulerDriver
from ..driver.scheduler import Scheduler
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .core import BatchCore
from .effects import BatchEffect, KillTask, LaunchTasks, Refused, Remember, ReportResult, ReportSummary
from .events import BatchEvent, JobCancelled, JobSubmitted
from .job import JobSpec
from .records import Journal
from .result import JobSummary, TaskResult

_NO_FILTER = Filters(refuse_ms=0)


class BatchListener(Protocol):
    """Hears how jobs go; called on the driver's thread, must not block."""

    def connected(self) -> None:
        """The framework is subscribed, for the first time or again."""
        ...

    def finished(self, result: TaskResult) -> None:
        """A task has its result."""
        ...

    def job_finished(self, summary: JobSummary) -> None:
        """All tasks of a job have; nothing more is heard of it."""
        ...

    def job_refused(self, job_id: str, reason: str) -> None:
        """A job was not taken; nothing more is heard of it."""
        ...

    def ended(self, message: str) -> None:
        """The framework is over; nothing more is heard of any job."""
        ...


class BatchScheduler(Scheduler):
    """Runs jobs on a driver. `submit` and `cancel` are for the driver's thread: hand them to `DriverShell.post`."""

    def __init__(self, core: BatchCore, listener: BatchListener, journal: Journal | None = None) -> None:
        """Lead the driver's news to the core.

        Args:
            core: One that remembers, where there is a journal.
            listener: Who hears of results.
            journal: What keeps what the core wants remembered. Where it cannot, the driver ends with its error.
        """
        self._core = core
        self._listener = listener
        self._journal = journal
        #: Attempts that an earlier life gave up may be alive; the first subscription asks for all tasks there are.
        self._asks_for_strays = journal is not None

    def submit(self, driver: SchedulerDriver, job: JobSpec) -> None:
        """Take a job on."""
        self._apply(driver, JobSubmitted(now_ms=driver.now_ms, job=job))

    def framework_lost(self, driver: SchedulerDriver) -> None:
        """Take all attempts for lost: their framework was removed while nobody spoke for it, and its tasks with it."""
        statuses = tuple(
            TaskStatus(
                task_id=task_id,
                state=TaskState.GONE,
                source=Source.MASTER,
                timestamp_ms=driver.now_ms,
                agent_id=agent_id,
                message="its framework was removed while the program was away",
            )
            for task_id, agent_id in self._core.counting_attempts
        )
        self._apply(driver, Updated(now_ms=driver.now_ms, statuses=statuses))

    def cancel(self, driver: SchedulerDriver, job_id: str) -> None:
        """Kill a job: what is not launched never will be, what runs is killed. An unknown job is ignored."""
        self._apply(driver, JobCancelled(now_ms=driver.now_ms, job_id=job_id))

    def subscribed(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        # States the first demand, be it for nothing: without one everything would be offered.
        self._apply(driver, Ticked(now_ms=driver.now_ms))
        if self._asks_for_strays:
            self._asks_for_strays = False
            driver.reconcile()
        self._listener.connected()

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self._apply(driver, Offered(now_ms=driver.now_ms, offers=tuple(offers)))

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        """See `Scheduler`."""
        self._apply(driver, Updated(now_ms=driver.now_ms, statuses=tuple(statuses)))

    def unsatisfiable(self, driver: SchedulerDriver, demand: Demand, largest: Sequence[Resource]) -> None:
        """See `Scheduler`."""
        self._apply(driver, TooLarge(now_ms=driver.now_ms, demand=demand, largest=tuple(largest)))

    def wakeup(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        self._apply(driver, Ticked(now_ms=driver.now_ms))

    def error(self, driver: SchedulerDriver, message: str) -> None:
        """See `Scheduler`."""
        self._listener.ended(message)

    def _apply(self, driver: SchedulerDriver, event: BatchEvent) -> None:
        for effect in self._core.apply(event):
            self._carry_out(driver, effect)
        if (deadline_ms := self._core.next_deadline_ms()) is not None:
            driver.wake_at(deadline_ms)

    def _carry_out(self, driver: SchedulerDriver, effect: BatchEffect) -> None:
        match effect:
            case Remember():
                assert self._journal is not None, "only a core with a journal remembers"
                self._journal.save(effect.jobs, effect.tasks)
            case ReportResult():
                self._listener.finished(effect.result)
            case LaunchTasks():
                driver.launch(effect.offer_ids, effect.tasks, _NO_FILTER)
            case DeclineOffers():
                driver.decline(effect.offer_ids, Filters(refuse_ms=effect.refuse_ms))
            case StateDemand():
                driver.set_demand(effect.demands)
            case KillTask():
                driver.kill(effect.task_id)
            case ReviveOffers():
                driver.revive()
            case ReportSummary():
                self._listener.job_finished(effect.summary)
            case Refused():
                self._listener.job_refused(effect.job_id, effect.reason)
            case _:
                assert_never(effect)
