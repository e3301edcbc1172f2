"""The driver as a scheduler sees it: verbs to say, callbacks to hear. No threads and no I/O here: a shell, or the simulator,
calls `step` with what arrived and sends what comes back.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, assert_never

from mesolite.errors import BadInput
from mesolite.ids import AgentId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.protocol import (
    MAX_EXECUTOR_DATA_BYTES,
    Accept,
    Call,
    CallBatch,
    Decline,
    Demand,
    EventBatch,
    ExecutorInfo,
    Filters,
    FrameworkInfo,
    Kill,
    KillPolicy,
    LaunchGroupOperation,
    LaunchOperation,
    Message,
    Operation,
    Reconcile,
    ReconcileTask,
    Revive,
    SetDemand,
    Shutdown,
    Suppress,
    TaskInfo,
    TaskStatus,
    Teardown,
)

from .core import DriverCore
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
    DriverEffect,
    Refused,
    SendCalls,
)
from .events import (
    BatchArrived,
    CallsImpossible,
    Flushed,
    Request,
    Requested,
    Started,
    StoreReturned,
    Ticked,
    UpdatesKept,
    WakeupRequested,
)
from .scheduler import Scheduler
from .settings import DriverSettings
from .subscription import Phase

DEFAULT_FILTERS: Final = Filters()


class SchedulerDriver:
    """One session of a framework, and its scheduler's counterpart.

    The verbs may be used from callbacks and from actions given to `step`, on the thread that calls `step`. What they want to
    say leaves at the end of the step. A verb that makes no sense raises BadInput and does nothing; so does one that comes after
    the framework's end, without raising.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework_info: FrameworkInfo,
        *,
        session: SessionId,
        rng: random.Random,
        settings: DriverSettings | None = None,
        known_tasks: Iterable[tuple[TaskId, AgentId | None]] = (),
    ) -> None:
        """Make a driver that says nothing until its first step.

        Args:
            scheduler: Whose callbacks to call.
            framework_info: Who the framework is; its id is the framework's own choice. An id used before takes over.
            session: Drawn afresh for each driver.
            rng: For the jitter of back-off.
            settings: See `DriverSettings`.
            known_tasks: Tasks launched by an earlier session that have not ended, with their agents if known.
        """
        self._scheduler = scheduler
        self._settings = settings or DriverSettings()
        self._rng = rng
        self.core = DriverCore(framework_info, session, self._settings, known_tasks)
        self._now_ms = 0
        self._started = False
        #: The scheduler ended the framework itself and wants to hear no more.
        self._torn_down = False
        #: Deliveries that verbs caused; they run when the callback that used the verb has returned.
        self._postponed: deque[Delivery] = deque()

    @property
    def framework_id(self) -> FrameworkId:
        """The framework's id."""
        return self.core.framework_id

    @property
    def now_ms(self) -> int:
        """The time of the current step."""
        return self._now_ms

    @property
    def subscribed(self) -> bool:
        """Whether the subscription stands."""
        return self.core.phase is Phase.SUBSCRIBED

    @property
    def ended(self) -> bool:
        """Whether it is over: torn down and confirmed so, or given up; refused, or superseded."""
        return self.core.phase is Phase.ENDED

    @property
    def leaving(self) -> bool:
        """Whether it was torn down and waits to be told so. Nothing else is heard or said."""
        return self.core.phase is Phase.LEAVING

    @property
    def congested(self) -> bool:
        """Whether so much of what was said waits for a master that it is better to hold back (`Scheduler.congestion`)."""
        return self.core.flow.congested

    # For shells

    def step(
        self, now_ms: int, batches: Iterable[EventBatch] = (), actions: Sequence["Action"] = ()
    ) -> list[CallBatch]:
        """Deal with what arrived: run the callbacks, and return what is to be sent, in order.

        Args:
            now_ms: The time, which never decreases.
            batches: From the framework's stream, oldest first.
            actions: What others than callbacks want from the driver; each is called with it.
        """
        self._now_ms = now_ms
        if not self._started:
            self._started = True
            self._run(self.core.apply(Started(now_ms=now_ms)))
        for _ in range(len(self._postponed)):
            self._deliver(self._postponed.popleft())
        for action in actions:
            action(self)
        for batch in batches:
            self._run(self.core.apply(BatchArrived(now_ms=now_ms, batch=batch)))
        self._run(self.core.apply(Ticked(now_ms=now_ms, jitter=self._rng.random())))
        effects = self.core.apply(Flushed(now_ms=now_ms))
        return [effect.batch for effect in effects if isinstance(effect, SendCalls)]

    def next_deadline_ms(self) -> int | None:
        """When `step` wants to be called at the latest, even if nothing arrives."""
        return self._now_ms if self._postponed or not self._started else self.core.next_deadline_ms()

    def store_returned(self, now_ms: int) -> None:
        """Tell the driver that Redis answers again after an outage; follow with a step."""
        self._run(self.core.apply(StoreReturned(now_ms=now_ms)))

    def calls_impossible(self, now_ms: int, calls: Iterable[Call], reason: str) -> None:
        """Tell the driver that these calls are too large to travel; follow with a step."""
        self._run(self.core.apply(CallsImpossible(now_ms=now_ms, calls=tuple(calls), reason=reason)))

    # Verbs

    def launch(
        self,
        offer_ids: Iterable[OfferId],
        tasks: Iterable[TaskInfo],
        filters: Filters = DEFAULT_FILTERS,
        *,
        executor: ExecutorInfo | None = None,
    ) -> None:
        """Launch tasks on offers of one agent and one role; what is left over is declined with `filters`.

        A task comes back as DROPPED where an offer turns out to be void; every id must be new.

        Args:
            offer_ids: On what.
            tasks: In any number: thousands in one call cost the least.
            filters: For what is left over.
            executor: Of all tasks that have neither a command nor an executor of their own. Its own resources are taken from the
                offers where none of its id is on the agent (`Offer.executor_ids`).

        Raises:
            BadInput: The offers do not belong together, or a task's id or agent is wrong.
        """
        self.accept(offer_ids, (LaunchOperation(tuple(tasks), executor),), filters)

    def launch_group(
        self,
        offer_ids: Iterable[OfferId],
        executor: ExecutorInfo,
        tasks: Iterable[TaskInfo],
        filters: Filters = DEFAULT_FILTERS,
    ) -> None:
        """Launch tasks under one executor, all or none: where one of them is refused, all come back as ERROR; else as `launch`.

        They reach the executor in one piece. The tasks need not name it.
        """
        self.accept(offer_ids, (LaunchGroupOperation(executor, tuple(tasks)),), filters)

    def accept(
        self, offer_ids: Iterable[OfferId], operations: Iterable[Operation], filters: Filters = DEFAULT_FILTERS
    ) -> None:
        """Apply operations to offers; as `launch`."""
        self._want(Accept(tuple(offer_ids), tuple(operations), filters))

    def decline(self, offer_ids: Iterable[OfferId], filters: Filters = DEFAULT_FILTERS) -> None:
        """Give offers back, not to see the same again for `filters.refuse_ms`. Void ones are ignored."""
        self._want(Decline(tuple(offer_ids), filters))

    def kill(self, task_id: TaskId, kill_policy: KillPolicy | None = None) -> None:
        """Kill a task. Said again until it has ended."""
        self._want(Kill(task_id, None, kill_policy))

    def set_demand(self, demands: Iterable[Demand]) -> None:
        """Say how many more tasks of which shapes are wanted; from then on only what fits is offered. Free if unchanged."""
        self._want(SetDemand(tuple(demands)))

    def suppress(self, roles: Iterable[str] = ()) -> None:
        """Want no offers for these roles; none means all."""
        self._want(Suppress(tuple(roles)))

    def revive(self, roles: Iterable[str] = ()) -> None:
        """Want offers again and forget what was refused; none means all roles."""
        self._want(Revive(tuple(roles)))

    def reconcile(self, tasks: Iterable[ReconcileTask] = ()) -> None:
        """Ask for the state of these tasks until each is answered for, or once for all tasks where none are named."""
        self._want(Reconcile(tuple(tasks)))

    def send_message(self, agent_id: AgentId, executor_id: ExecutorId, data: bytes) -> None:
        """Send bytes to an executor, at most MAX_EXECUTOR_DATA_BYTES; best effort: dropped while `congested`, for one.

        Raises:
            BadInput: It is more.
        """
        if len(data) > MAX_EXECUTOR_DATA_BYTES:
            raise BadInput(f"a message of {len(data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are passed on")
        self._want(Message(agent_id, executor_id, data))

    def shutdown_executor(self, agent_id: AgentId, executor_id: ExecutorId) -> None:
        """Shut an executor down."""
        self._want(Shutdown(agent_id, executor_id))

    def acknowledge(self, statuses: Iterable[TaskStatus]) -> None:
        """Acknowledge updates that are safely kept: only needed without implicit acknowledgements."""
        self._verb_effects(self.core.apply(UpdatesKept(now_ms=self._now_ms, statuses=tuple(statuses))))

    def wake_at(self, at_ms: int) -> None:
        """Have `Scheduler.wakeup` called then. Only the earliest wish is kept."""
        self._verb_effects(self.core.apply(WakeupRequested(now_ms=self._now_ms, at_ms=at_ms)))

    def teardown(self) -> None:
        """End the framework: its tasks are killed and its id is used up. No callbacks follow.

        Said until a master confirms it, for `DriverSettings.teardown_patience_ms` at most; then the failover timeout ends it.
        """
        self._torn_down = True
        self._postponed.clear()
        self._want(Teardown())

    # Inside

    def _want(self, request: Request) -> None:
        self._verb_effects(self.core.apply(Requested(now_ms=self._now_ms, request=request)))

    def _verb_effects(self, effects: list[DriverEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Refused):
                raise BadInput(effect.reason)
            if not isinstance(effect, SendCalls):
                self._postponed.append(effect)

    def _run(self, effects: list[DriverEffect]) -> None:
        for effect in effects:
            if not isinstance(effect, Refused | SendCalls):
                self._deliver(effect)

    def _deliver(self, delivery: Delivery) -> None:
        if self._torn_down:
            return
        scheduler = self._scheduler
        match delivery:
            case DeliverUpdates():
                scheduler.status_updates(self, delivery.statuses)
                if self._settings.implicit_acknowledgements:
                    self.core.apply(UpdatesKept(now_ms=self._now_ms, statuses=delivery.statuses))
            case DeliverOffers():
                scheduler.offers(self, delivery.offers)
            case DeliverRescinded():
                scheduler.rescinded(self, delivery.offer_ids)
            case DeliverSubscribed():
                scheduler.subscribed(self)
            case DeliverDisconnected():
                scheduler.disconnected(self)
            case DeliverMessage():
                scheduler.message(self, delivery.agent_id, delivery.executor_id, delivery.data)
            case DeliverFailure():
                scheduler.failure(self, delivery.failure)
            case DeliverUnsatisfiable():
                scheduler.unsatisfiable(self, delivery.demand, delivery.largest)
            case DeliverCongestion():
                scheduler.congestion(self, delivery.congested)
            case DeliverWakeup():
                scheduler.wakeup(self)
            case DeliverError():
                scheduler.error(self, delivery.message)
            case _:
                assert_never(delivery)


#: What somebody outside of callbacks wants from a driver.
Action: TypeAlias = Callable[[SchedulerDriver], None]
