"""What a framework's author writes: a class with the callbacks that matter to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesolite.ids import AgentId, ExecutorId, OfferId
from mesolite.protocol import Demand, Failure, Offer, TaskStatus
from mesolite.resources import Resource

if TYPE_CHECKING:
    from .driver import SchedulerDriver


class Scheduler:
    """Callbacks of a framework; override those that matter.

    They are called on the driver's thread, one at a time, in the order in which things happened. They must not block, because
    nothing else is heard meanwhile; calls that they make on the driver leave together when all callbacks of a step are done.
    An exception ends the driver: updates whose callback failed are not acknowledged, so they come again.
    """

    def subscribed(self, driver: SchedulerDriver) -> None:
        """The subscription stands, for the first time or again. The driver has begun to reconcile by itself."""

    def disconnected(self, driver: SchedulerDriver) -> None:
        """The master is lost from sight. Offers were rescinded before this; tasks go on running."""

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """Accept or decline these; until then nobody else can use them. The default declines."""
        driver.decline([offer.offer_id for offer in offers])

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        """Offers delivered before are void now."""

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        """Tasks changed, in order. The default passes them on one by one; override it where thousands come at once.

        With implicit acknowledgements (the default) all of them are acknowledged when this returns. The same update may come
        twice after a crash, and in rare cases without one.
        """
        for status in statuses:
            self.status_update(driver, status)

    def status_update(self, driver: SchedulerDriver, status: TaskStatus) -> None:
        """A task changed."""

    def message(self, driver: SchedulerDriver, agent_id: AgentId, executor_id: ExecutorId, data: bytes) -> None:
        """An executor sent bytes; best effort."""

    def failure(self, driver: SchedulerDriver, failure: Failure) -> None:
        """An agent was removed or an executor ended; for information, updates of the tasks follow."""

    def unsatisfiable(self, driver: SchedulerDriver, demand: Demand, largest: Sequence[Resource]) -> None:
        """No agent is large enough for one unit of this demand; `largest` is all that the largest agent has."""

    def congestion(self, driver: SchedulerDriver, congested: bool) -> None:
        """Calls pile up on the way to the master (none leads, or it is busy): launch and say less; or they do so no longer.

        Nothing is lost where this is ignored, except for messages to executors, which are dropped meanwhile.
        """

    def wakeup(self, driver: SchedulerDriver) -> None:
        """The time given to `SchedulerDriver.wake_at` has come."""

    def error(self, driver: SchedulerDriver, message: str) -> None:
        """It is over: the master refuses this framework id for good, or another scheduler took it over."""
