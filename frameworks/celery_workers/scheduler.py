"""A group of elastic workers as a scheduler: news go to the core, its effects become the driver's verbs."""

from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

from mesolite.protocol import Demand, Filters, Offer, TaskStatus
from mesolite.resources import Resource

from ..driver.driver import SchedulerDriver
from ..driver.scheduler import Scheduler
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .core import WorkersCore
from .effects import Drained, LaunchWorkers, LetGo, Remember, WorkersEffect
from .events import DrainAsked, Looked, LookFailed, WorkersEvent
from .looks import Look
from .status import GroupStatus

_NO_FILTER = Filters(refuse_ms=0)


class GroupListener(Protocol):
    """Hears of a group; called on the driver's thread, must not block."""

    def changed(self, status: GroupStatus) -> None:
        """Something happened."""
        ...

    def remember(self, effect: Remember) -> None:
        """Keep this."""
        ...

    def drained(self) -> None:
        """All workers are gone."""
        ...

    def ended(self, message: str) -> None:
        """The framework is over."""
        ...


class WorkersScheduler(Scheduler):
    """Runs a core on a driver. `looked`, `look_failed` and `drain` are for the driver's thread."""

    def __init__(self, core: WorkersCore, listener: GroupListener) -> None:
        self._core = core
        self._listener = listener
        #: Workers may live that nobody remembers: the first subscription asks for all there are.
        self._asks_for_strays = True

    def looked(self, look: Look) -> Callable[[SchedulerDriver], None]:
        """Take a look in; returns what to post."""
        return lambda driver: self._apply(driver, Looked(now_ms=driver.now_ms, look=look))

    def look_failed(self, reason: str) -> Callable[[SchedulerDriver], None]:
        """The broker did not answer; returns what to post."""
        return lambda driver: self._apply(driver, LookFailed(now_ms=driver.now_ms, reason=reason))

    def drain(self, driver: SchedulerDriver) -> None:
        """Let all workers go."""
        self._apply(driver, DrainAsked(now_ms=driver.now_ms))

    def subscribed(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        # States the first demand, be it for nothing: without one everything would be offered.
        self._apply(driver, Ticked(now_ms=driver.now_ms))
        if self._asks_for_strays:
            self._asks_for_strays = False
            driver.reconcile()

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

    def _apply(self, driver: SchedulerDriver, event: WorkersEvent) -> None:
        for effect in self._core.apply(event):
            self._carry_out(driver, effect)
        if (deadline_ms := self._core.next_deadline_ms()) is not None:
            driver.wake_at(deadline_ms)
        self._listener.changed(self._core.status)

    def _carry_out(self, driver: SchedulerDriver, effect: WorkersEffect) -> None:
        match effect:
            case Remember():
                self._listener.remember(effect)
            case LaunchWorkers():
                driver.launch(effect.offer_ids, effect.tasks, _NO_FILTER)
            case DeclineOffers():
                driver.decline(effect.offer_ids, Filters(refuse_ms=effect.refuse_ms))
            case ReviveOffers():
                driver.revive()
            case StateDemand():
                driver.set_demand(effect.demands)
            case LetGo():
                driver.kill(effect.task_id)
            case Drained():
                self._listener.drained()
            case _:
                assert_never(effect)
