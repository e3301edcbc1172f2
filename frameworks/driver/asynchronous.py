"""The driver for programs on asyncio: what happens is iterated over, what is wanted is awaited.

    async with AsyncSchedulerDriver(framework_info, open_store) as driver:
        async for event in driver.events():
            match event:
                case DeliverOffers():
                    await driver.do(lambda verbs: verbs.launch(...))

The driver itself runs in a thread, as ever; events cross over to the loop and verbs cross back. Updates are acknowledged when the
loop asks for the next event, so one whose handling failed comes again. What waits for the loop is bounded by what masters send
unanswered: their offers outstanding, and one update for each task.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from mesolite.clock import Clock
from mesolite.errors import BadInput, FrameworkError
from mesolite.ids import AgentId, ExecutorId, OfferId, SessionId, TaskId
from mesolite.protocol import Demand, Failure, FrameworkInfo, Offer, TaskStatus
from mesolite.resources import Resource
from mesolite.transport.contract import Store
from mesolite.transport.keys import DEFAULT_PRINCIPAL

from .driver import SchedulerDriver
from .effects import (
    DeliverCongestion,
    DeliverDisconnected,
    DeliverError,
    DeliverFailure,
    DeliverMessage,
    DeliverOffers,
    DeliverRescinded,
    DeliverSubscribed,
    DeliverUnsatisfiable,
    DeliverUpdates,
    DeliverWakeup,
    Delivery,
)
from .scheduler import Scheduler
from .settings import DriverSettings
from .shell import DriverShell

_Answer = TypeVar("_Answer")


class AsyncSchedulerDriver:
    """One session of a framework, for one event loop.

    Args:
        framework_info: Who the framework is. With an id used before this session takes over; the earlier one ends with an error.
        open_store: Opens a store of one's own; called once per thread.
        principal: Whose calls stream to write (DESIGN 6).
        clock: The time.
        known_tasks: Tasks launched by an earlier session that have not ended, with their agents if known: each is asked for, and
            what became of it comes as an update.
    """

    def __init__(
        self,
        framework_info: FrameworkInfo,
        open_store: Callable[[], Store],
        *,
        principal: str = DEFAULT_PRINCIPAL,
        clock: Clock | None = None,
        known_tasks: Iterable[tuple[TaskId, AgentId | None]] = (),
    ) -> None:
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._funnel = _Funnel(self._arrived)
        driver = SchedulerDriver(
            self._funnel,
            framework_info,
            session=SessionId(uuid4().hex),
            rng=random.Random(),
            settings=DriverSettings(implicit_acknowledgements=False),
            known_tasks=known_tasks,
        )
        self._shell = DriverShell(driver, open_store, clock=clock, principal=principal)
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._funnel.loop = asyncio.get_running_loop()
        self._running = asyncio.create_task(asyncio.to_thread(self._shell.run))
        self._running.add_done_callback(lambda _: self._arrived.put_nowait(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the framework without ending it; for that, `do(SchedulerDriver.teardown)` before."""
        assert self._running is not None
        self._shell.stop()
        await self._running

    async def events(self) -> AsyncIterator[Delivery]:
        """Yield what happens, in order, until the framework ends."""
        while (delivery := await self._arrived.get()) is not None:
            yield delivery
            if isinstance(delivery, DeliverUpdates):
                self._acknowledge(delivery.statuses)

    async def do(self, action: Callable[[SchedulerDriver], _Answer]) -> _Answer:
        """Use the driver's verbs on its thread, and await what the action returns.

        Raises:
            BadInput: A verb made no sense. Anything else that the action raises ends the driver, as from a callback.
            FrameworkError: The framework has ended.
        """
        assert self._running is not None, "use it within `async with`"
        promise: Future[_Answer] = Future()

        def on_driver_thread(driver: SchedulerDriver) -> None:
            try:
                promise.set_result(action(driver))
            except BadInput as error:
                promise.set_exception(error)

        self._shell.post(on_driver_thread)
        answer = asyncio.wrap_future(promise)
        await asyncio.wait((answer, self._running), return_when=asyncio.FIRST_COMPLETED)
        if not promise.done():
            answer.cancel()
            raise FrameworkError("the framework has ended")
        # When the action itself ended the framework, the loop may have heard of the end first.
        return await answer

    def _acknowledge(self, statuses: Sequence[TaskStatus]) -> None:
        self._shell.post(lambda driver: driver.acknowledge(statuses))


class _Funnel(Scheduler):
    """Puts every callback into the loop's queue."""

    def __init__(self, arrived: "asyncio.Queue[Delivery | None]") -> None:
        self._arrived = arrived
        #: Set before the driver runs.
        self.loop: asyncio.AbstractEventLoop | None = None

    def subscribed(self, driver: SchedulerDriver) -> None:
        self._put(DeliverSubscribed())

    def disconnected(self, driver: SchedulerDriver) -> None:
        self._put(DeliverDisconnected())

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        self._put(DeliverOffers(offers=tuple(offers)))

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        self._put(DeliverRescinded(offer_ids=tuple(offer_ids)))

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        self._put(DeliverUpdates(statuses=tuple(statuses)))

    def message(self, driver: SchedulerDriver, agent_id: AgentId, executor_id: ExecutorId, data: bytes) -> None:
        self._put(DeliverMessage(agent_id=agent_id, executor_id=executor_id, data=data))

    def failure(self, driver: SchedulerDriver, failure: Failure) -> None:
        self._put(DeliverFailure(failure=failure))

    def unsatisfiable(self, driver: SchedulerDriver, demand: Demand, largest: Sequence[Resource]) -> None:
        self._put(DeliverUnsatisfiable(demand=demand, largest=tuple(largest)))

    def congestion(self, driver: SchedulerDriver, congested: bool) -> None:
        self._put(DeliverCongestion(congested=congested))

    def wakeup(self, driver: SchedulerDriver) -> None:
        self._put(DeliverWakeup())

    def error(self, driver: SchedulerDriver, message: str) -> None:
        self._put(DeliverError(message=message))

    def _put(self, delivery: Delivery) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._arrived.put_nowait, delivery)
