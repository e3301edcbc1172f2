"""The pools as schedulers: news go to a core, what it wants done becomes the driver's verbs, and the rest is the pool's to do."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from mesolite.ids import AgentId, OfferId
from mesolite.protocol import Demand, Failure, Filters, KillPolicy, Offer, TaskInfo, TaskStatus
from mesolite.resources import Resource

from ..driver.driver import SchedulerDriver
from ..driver.scheduler import Scheduler
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .effects import ClusterEffect, KillTask, ShutdownExecutor
from .events import ClusterEvent, ExecutorEnded, Rescinded

Event = TypeVar("Event", contravariant=True)
Effect = TypeVar("Effect", covariant=True)
Rest = TypeVar("Rest")

#: What is left of an offer may be offered again at once: more is wanted of it soon.
NO_FILTER = Filters(refuse_ms=0)


class Core(Protocol[Event, Effect]):
    """What decides; `FineCore` or `CoarseCore`."""

    def apply(self, event: Event | ClusterEvent) -> "Sequence[Effect | ClusterEffect]":
        """Take one event in."""
        ...

    def next_deadline_ms(self) -> int | None:
        """When it wants to be told of the time."""
        ...


class PoolScheduler(Scheduler, Generic[Event, Rest]):
    """Runs a core on a driver. All methods are for the driver's thread.

    Args:
        core: What decides.
        carry_out: Does what is not the driver's to do.
        ended: Told when the framework is over, with the reason.
        connect_timeout_ms: How long a master has to answer, from `begin`.
        look: Tells the core what is not worth waking it for; called before each tick.
        subscribed: Told each time that a subscription stands, after whatever may have been forgotten meanwhile.
    """

    def __init__(
        self,
        core: Core[Event, Rest],
        carry_out: Callable[[SchedulerDriver, Rest], None],
        ended: Callable[[str], None],
        connect_timeout_ms: int,
        look: Callable[[SchedulerDriver], None] | None = None,
        subscribed: Callable[[SchedulerDriver], None] | None = None,
    ) -> None:
        self._subscribed = subscribed
        self._core = core
        self._carry_out = carry_out
        self._ended = ended
        self._connect_timeout_ms = connect_timeout_ms
        self._look = look
        #: When a master must have answered; None once one has.
        self._connect_by_ms: int | None = None
        self._connected = False

    def begin(self, driver: SchedulerDriver) -> None:
        """The driver begins: a master is to answer in time."""
        if not self._connected:
            self._connect_by_ms = driver.now_ms + self._connect_timeout_ms
            driver.wake_at(self._connect_by_ms)

    def apply(self, driver: SchedulerDriver, event: Event | ClusterEvent) -> None:
        """Take an event in, and do what follows."""
        for effect in self._core.apply(event):
            match effect:
                case StateDemand():
                    driver.set_demand(effect.demands)
                case DeclineOffers():
                    driver.decline(effect.offer_ids, Filters(refuse_ms=effect.refuse_ms))
                case ReviveOffers():
                    driver.revive()
                case KillTask():
                    grace = None if effect.grace_ms is None else KillPolicy(grace_period_ms=effect.grace_ms)
                    driver.kill(effect.task_id, grace)
                case ShutdownExecutor():
                    driver.shutdown_executor(effect.agent_id, effect.executor_id)
                case _:
                    self._carry_out(driver, effect)
        if (deadline_ms := self._core.next_deadline_ms()) is not None:
            driver.wake_at(deadline_ms)

    def launch(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId], tasks: Sequence[TaskInfo]) -> None:
        """Launch tasks; none of them gives the offers back."""
        if tasks:
            driver.launch(offer_ids, tasks, NO_FILTER)
        else:
            driver.decline(offer_ids, NO_FILTER)

    def subscribed(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        self._connected, self._connect_by_ms = True, None
        # States the first demand, be it for nothing: without one everything would be offered.
        self.apply(driver, Ticked(now_ms=driver.now_ms))
        if self._subscribed is not None:
            self._subscribed(driver)

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self.apply(driver, Offered(now_ms=driver.now_ms, offers=tuple(offers)))

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        """See `Scheduler`."""
        self.apply(driver, Rescinded(now_ms=driver.now_ms, offer_ids=tuple(offer_ids)))

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        """See `Scheduler`."""
        self.apply(driver, Updated(now_ms=driver.now_ms, statuses=tuple(statuses)))

    def failure(self, driver: SchedulerDriver, failure: Failure) -> None:
        """See `Scheduler`."""
        event = ExecutorEnded(
            now_ms=driver.now_ms,
            agent_id=AgentId(failure.agent_id),
            executor_id=failure.executor_id,
            exit_code=failure.exit_code,
            message=failure.message,
        )
        self.apply(driver, event)

    def unsatisfiable(self, driver: SchedulerDriver, demand: Demand, largest: Sequence[Resource]) -> None:
        """See `Scheduler`."""
        self.apply(driver, TooLarge(now_ms=driver.now_ms, demand=demand, largest=tuple(largest)))

    def wakeup(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        if self._connect_by_ms is not None:
            if driver.now_ms >= self._connect_by_ms:
                self._connect_by_ms = None
                self._ended(f"no leading master answered within {self._connect_timeout_ms} ms; is one running?")
                return
            driver.wake_at(self._connect_by_ms)
        if self._look is not None:
            self._look(driver)
        self.apply(driver, Ticked(now_ms=driver.now_ms))

    def error(self, driver: SchedulerDriver, message: str) -> None:
        """See `Scheduler`."""
        self._ended(message)
