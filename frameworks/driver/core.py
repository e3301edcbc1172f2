"""The driver's core: what it takes to be a framework, as events in and effects out.

It keeps the subscription standing (`subscription.py`), remembers tasks so that lost launches and lost words about them come to
light (`tasks.py`, `reconciliation.py`), holds offers (`offers.py`), remembers wishes (`wishes.py`) and gathers calls
(`outbox.py`). What it does not know: what the framework launches and why, and how bytes travel.

Rules that hold here and nowhere else:
- A task is remembered from the moment its launch is asked for, so a lost ACCEPT is found by reconciliation.
- A launch that certainly never left is answered at once with DROPPED, as the master would answer it.
- A kill is remembered until the task has ended, and said again whenever it may have been lost.
- Batches of an older epoch, and numbers seen before, change nothing.
"""

from collections.abc import Iterable
from typing import assert_never

from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    Accept,
    Acknowledgement,
    Call,
    CallBatch,
    Decline,
    ErrorEvent,
    Event,
    EventBatch,
    Failure,
    Filters,
    FrameworkInfo,
    FrameworkMessage,
    Heartbeat,
    HeartbeatEvent,
    Kill,
    Message,
    Offers,
    Reason,
    Reconcile,
    ReconcileTask,
    Rescind,
    Resubscribe,
    Revive,
    SetDemand,
    Shutdown,
    Source,
    Subscribe,
    Subscribed,
    Suppress,
    TaskState,
    TaskStatus,
    Teardown,
    UnsatisfiableDemand,
    Update,
)

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
    DriverEffect,
    Refused,
    SendCalls,
)
from .events import (
    BatchArrived,
    CallsImpossible,
    DriverEvent,
    Flushed,
    Request,
    Requested,
    Started,
    StoreReturned,
    Ticked,
    UpdatesKept,
    WakeupRequested,
)
from .flow import Flow
from .offers import OfferBook
from .outbox import Outbox, weight
from .reconciliation import Reconciliation
from .settings import FAILED_OVER, DriverSettings
from .subscription import TRANSITIONS, Cause, FollowUp, Phase
from .tasks import TaskLedger, Verdict
from .timers import Timers
from .wishes import Wishes

#: What is left of offers that a launch came too late for goes back without being refused for a while.
_NO_FILTER = Filters(refuse_ms=0)
#: Phases in which the scheduler is neither heard nor told anything.
_OVER = frozenset({Phase.LEAVING, Phase.ENDED})


class DriverCore:
    """One session of one framework.

    Args:
        framework_info: Who it is. The id may be one that an earlier session used: then this one takes over.
        session: Drawn afresh for each start.
        settings: See `DriverSettings`.
        known_tasks: Tasks of earlier sessions that have not ended, with their agents where known: they are reconciled.
    """

    def __init__(
        self,
        framework_info: FrameworkInfo,
        session: SessionId,
        settings: DriverSettings | None = None,
        known_tasks: Iterable[tuple[TaskId, AgentId | None]] = (),
    ) -> None:
        self.framework_info = framework_info
        self.session = session
        self.phase = Phase.IDLE
        #: Of the newest batch seen, 0 before the first; only grows.
        self.epoch = 0
        #: Number of the newest batch of that epoch.
        self.number = 0
        self.offers = OfferBook()
        self.tasks = TaskLedger()
        self.reconciliation = Reconciliation()
        self.flow = Flow()
        #: Of the newest batch sent (protocol.CallBatch.number).
        self._sent_number = 0
        settings = settings or DriverSettings()
        self._timers = Timers(settings)
        self._wishes = Wishes(framework_info.roles)
        self._outbox = Outbox(settings.acknowledgement_delay_ms)
        #: Batches that leave behind everything else.
        self._last_words: list[tuple[Call, ...]] = []
        #: Effects of the event being applied.
        self._effects: list[DriverEffect] = []
        for task_id, agent_id in known_tasks:
            self.tasks.launched(task_id, agent_id)

    @property
    def framework_id(self) -> FrameworkId:
        """The framework's id."""
        return self.framework_info.framework_id

    def apply(self, event: DriverEvent) -> list[DriverEffect]:
        """Take one event in. Never raises for what a master or a scheduler may send."""
        effects: list[DriverEffect] = []
        self._effects = effects
        match event:
            case BatchArrived():
                self._take_batch(event.batch, event.now_ms)
            case UpdatesKept():
                self._acknowledge(event.statuses)
            case Flushed():
                self._flush(event.now_ms)
            case Ticked():
                self._tick(event)
            case Requested():
                self._request(event.request, event.now_ms)
            case Started():
                self._happen(Cause.STARTED, event.now_ms)
            case WakeupRequested():
                self._timers.wake_at(event.at_ms)
            case StoreReturned():
                self._subscribe_anew(event.now_ms)
                self._restate_all(event.now_ms)
            case CallsImpossible():
                self._give_up(event.calls, TaskState.ERROR, event.reason, event.now_ms)
            case _:
                assert_never(event)
        self._effects = []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest; None if only an event from outside can change anything."""
        due_ms = self._timers.next_ms(self.phase, self.reconciliation.due_ms)
        said_ms = self._outbox.due_ms if self.phase is Phase.SUBSCRIBED else None
        return min((each for each in (due_ms, said_ms) if each is not None), default=None)

    def check(self) -> None:
        """Assert every invariant."""
        self.tasks.check()
        self.reconciliation.check(self.tasks)
        self.flow.check()
        if self.phase is not Phase.SUBSCRIBED:
            assert len(self.offers) == 0, f"offers are held while {self.phase.value}"

    # Batches from the master

    def _take_batch(self, batch: EventBatch, now_ms: int) -> None:
        if self.phase is Phase.ENDED or batch.epoch < self.epoch:
            return
        if batch.epoch > self.epoch:
            first_ever = self.epoch == 0
            self.epoch, self.number = batch.epoch, batch.number
            if not first_ever:
                self._happen(Cause.NEW_EPOCH, now_ms)
        elif batch.number == 0:
            pass  # outside the numbering: the master does not know the framework, and says so
        elif batch.number <= self.number:
            return
        else:
            if batch.number > self.number + 1 and self.phase is Phase.SUBSCRIBED:
                self._reconcile_unfinished(now_ms)
            self.number = batch.number
        if batch.session == self.session:
            self._timers.heard(now_ms)
            self.flow.heard(batch.heard)
            self._take_events(batch.events, now_ms)
        elif any(isinstance(event, Subscribed) for event in batch.events):
            self._happen(
                Cause.SUPERSEDED, now_ms, f"{FAILED_OVER}: another scheduler subscribed with the same framework id"
            )

    def _take_events(self, events: Iterable[Event], now_ms: int) -> None:
        statuses: list[TaskStatus] = []
        for event in events:
            if isinstance(event, Update):
                self._take_update(event.status, statuses)
                continue
            self._deliver_updates(statuses)
            statuses = []
            self._take_event(event, now_ms)
        self._deliver_updates(statuses)

    def _take_update(self, status: TaskStatus, statuses: list[TaskStatus]) -> None:
        """Sort an update in: to be delivered, or merely acknowledged again."""
        if self.phase in _OVER:
            return
        verdict = self.tasks.heard(status)
        if status.state in TERMINAL_STATES or (status.state is TaskState.UNKNOWN and status.task_id not in self.tasks):
            self._wishes.ended(status.task_id)
        if verdict is Verdict.DELIVER:
            statuses.append(status)
        elif verdict is Verdict.ACKNOWLEDGE_AGAIN:
            self._acknowledge((status,))
        # What was delivered before is an answer too: the master repeats it as it was while its agent waits for it.
        self.reconciliation.answered(status.task_id)

    def _take_event(self, event: Event, now_ms: int) -> None:
        if self.phase is Phase.ENDED:
            return
        if self.phase is Phase.LEAVING and not isinstance(event, Subscribed | Resubscribe | ErrorEvent):
            return
        match event:
            case Subscribed():
                self._timers.set_interval(event.heartbeat_interval_ms)
                self._happen(Cause.CONFIRMED, now_ms)
            case Offers():
                self._take_offers(event)
            case Rescind():
                if released := self.offers.release(event.offer_ids):
                    self._effects.append(DeliverRescinded(offer_ids=released))
            case Failure():
                self._effects.append(DeliverFailure(failure=event))
            case FrameworkMessage():
                self._effects.append(
                    DeliverMessage(agent_id=event.agent_id, executor_id=event.executor_id, data=event.data)
                )
            case UnsatisfiableDemand():
                self._effects.append(DeliverUnsatisfiable(demand=event.demand, largest=event.largest))
            case Resubscribe():
                self._happen(Cause.ASKED_AGAIN, now_ms)
            case ErrorEvent():
                self._happen(Cause.REFUSED, now_ms, event.message)
            case HeartbeatEvent() | Update():
                pass
            case _:
                assert_never(event)

    def _take_offers(self, event: Offers) -> None:
        if self.phase is not Phase.SUBSCRIBED:
            return  # made before the subscription was broken; the master takes them back
        excess = self.offers.receive(event.offers)
        self._effects.append(DeliverOffers(offers=event.offers))
        if excess:
            self._outbox.add(Decline(excess))
            self._effects.append(DeliverRescinded(offer_ids=excess))

    # The subscription

    def _happen(self, cause: Cause, now_ms: int, message: str = "") -> None:
        before = self.phase
        self.phase, follow_ups = TRANSITIONS[before, cause]
        for follow_up in follow_ups:
            self._follow_up(follow_up, before, now_ms, message)

    def _follow_up(self, follow_up: FollowUp, before: Phase, now_ms: int, message: str) -> None:
        match follow_up:
            case FollowUp.SUBSCRIBE:
                self._timers.subscribe_now(now_ms)
            case FollowUp.FORGET_OFFERS:
                self.flow.forget()
                if void := self.offers.release_all():
                    self._effects.append(DeliverRescinded(offer_ids=void))
                self._give_up(self._outbox.remove_all(), TaskState.DROPPED, "the subscription was broken", now_ms)
            case FollowUp.TELL_DISCONNECTED:
                self._effects.append(DeliverDisconnected())
            case FollowUp.TELL_SUBSCRIBED:
                self._timers.subscribed(now_ms)
                self._effects.append(DeliverSubscribed())
            case FollowUp.RESTATE:
                for call in self._wishes.restate():
                    self._outbox.add(call)
            case FollowUp.RECONCILE:
                self._reconcile_unfinished(now_ms)
            case FollowUp.TELL_ERROR:
                self._effects.append(DeliverError(message=message))
            case FollowUp.VOID:
                self.offers.release_all()
                self._outbox.remove_all()
            case FollowUp.SEND_TEARDOWN:
                self._say_teardown(now_ms, subscribed=before is Phase.SUBSCRIBED)
            case _:
                assert_never(follow_up)

    def _say_teardown(self, now_ms: int, *, subscribed: bool) -> None:
        """End the framework, and ask whether it has ended: only then is a SUBSCRIBE refused."""
        asking = (self._subscribe_call(), Teardown())
        self._last_words += [(Teardown(),) if subscribed else asking, asking]
        self._timers.teardown_said(now_ms)

    def _subscribe_anew(self, now_ms: int) -> None:
        """Have the master take back all offers: of some it may wait for an answer that Redis forgot, until their timeout."""
        if self.phase is Phase.SUBSCRIBED and self._timers.may_subscribe_anew(now_ms):
            self._outbox.add(self._subscribe_call())

    def _restate_all(self, now_ms: int) -> None:
        if self.phase is Phase.SUBSCRIBED:
            self._follow_up(FollowUp.RESTATE, self.phase, now_ms, "")
            self._reconcile_unfinished(now_ms)
        elif self.phase is Phase.SUBSCRIBING:
            self._timers.subscribe_now(now_ms)
        elif self.phase is Phase.LEAVING:
            self._say_teardown(now_ms, subscribed=False)

    def _reconcile_unfinished(self, now_ms: int) -> None:
        self.reconciliation.begin(self.tasks.unfinished(), now_ms)

    def _subscribe_call(self) -> Subscribe:
        return Subscribe(framework_info=self.framework_info, suppressed_roles=self._wishes.suppressed_roles)

    # What the scheduler wants

    def _request(self, request: Request, now_ms: int) -> None:
        if self.phase in _OVER:
            # Not an error of the scheduler's: callbacks for what came before the end run after it is known here.
            return
        subscribed = self.phase is Phase.SUBSCRIBED
        match request:
            case Accept():
                self._accept(request, now_ms)
                return
            case Decline():
                if not self.offers.release(request.offer_ids):
                    return
            case Kill():
                if request.agent_id is None:
                    request = Kill(request.task_id, self.tasks.agent_of(request.task_id), request.kill_policy)
                self._wishes.kill(request)
            case SetDemand():
                self._wishes.demand(request.demands)
                return
            case Suppress():
                self._wishes.suppress(request.roles)
            case Revive():
                self._wishes.revive(request.roles, later=not subscribed)
            case Reconcile():
                if request.tasks:
                    self._reconcile(request.tasks, now_ms)
                    return
                if not subscribed:
                    self._wishes.reconcile_all()
            case Teardown():
                self._happen(Cause.TORN_DOWN, now_ms)
                return
            case Message():
                if self.flow.congested:
                    return
            case Shutdown():
                pass
            case _:
                assert_never(request)
        if subscribed:
            self._outbox.add(request)

    def _accept(self, accept: Accept, now_ms: int) -> None:
        if error := self.offers.accept_error(accept, self.tasks):
            self._effects.append(Refused(reason=error))
            return
        whole = self.offers.all_held(accept.offer_ids)
        held = self.offers.release(accept.offer_ids)
        if not whole:
            if held:
                self._outbox.add(Decline(held, _NO_FILTER))
            self._give_up((accept,), TaskState.DROPPED, "an offer was rescinded before it was accepted", now_ms)
            return
        for operation in accept.operations:
            for task in operation.task_infos:
                self.tasks.launched(task.task_id, task.agent_id)
        self._wishes.accepted()
        self._outbox.add(accept)

    def _give_up(self, calls: Iterable[Call], state: TaskState, message: str, now_ms: int) -> None:
        """Answer for launches that will never reach the master."""
        statuses: list[TaskStatus] = []
        for call in calls:
            if not isinstance(call, Accept):
                continue
            for operation in call.operations:
                for task in operation.task_infos:
                    status = TaskStatus(
                        task_id=task.task_id,
                        state=state,
                        source=Source.MASTER,
                        timestamp_ms=now_ms,
                        agent_id=task.agent_id,
                        reason=Reason.INVALID_OFFERS if state is TaskState.DROPPED else Reason.TASK_INVALID,
                        message=message,
                    )
                    self._take_update(status, statuses)
        self._deliver_updates(statuses)

    def _reconcile(self, tasks: Iterable[ReconcileTask], now_ms: int) -> None:
        asked = list(tasks)
        for task in asked:
            if task.task_id not in self.tasks:
                self.tasks.launched(task.task_id, task.agent_id)
        unfinished = set(self.tasks.unfinished())
        self.reconciliation.begin((task.task_id for task in asked if task.task_id in unfinished), now_ms)

    # Updates

    def _deliver_updates(self, statuses: list[TaskStatus]) -> None:
        if statuses:
            self._effects.append(DeliverUpdates(statuses=tuple(statuses)))

    def _acknowledge(self, statuses: Iterable[TaskStatus]) -> None:
        for status in statuses:
            if self.tasks.kept(status):
                assert status.agent_id is not None
                assert status.uuid is not None
                self._outbox.acknowledge(Acknowledgement(status.agent_id, status.task_id, status.uuid))

    # Time

    def _tick(self, event: Ticked) -> None:
        now_ms = event.now_ms
        timers = self._timers
        if self.phase not in _OVER and timers.wakeup_is_due(now_ms):
            self._effects.append(DeliverWakeup())
        if self.phase not in _OVER and (congested := self.flow.take_news()) is not None:
            self._effects.append(DeliverCongestion(congested=congested))
        if self.phase is Phase.SUBSCRIBED and timers.silent_for_too_long(now_ms):
            self._happen(Cause.SILENCE, now_ms)
        if self.phase is Phase.SUBSCRIBED:
            if timers.heartbeat_is_due(now_ms):
                self._outbox.add(Heartbeat())
            if timers.reconciliation_is_due(now_ms):
                self._restate_all(now_ms)  # calls may have been lost without a trace
            if batch := self.reconciliation.take(now_ms):
                asked = tuple(ReconcileTask(task_id, self.tasks.agent_of(task_id)) for task_id in batch)
                self._outbox.add(Reconcile(asked))
        elif self.phase is Phase.SUBSCRIBING:
            timers.prepare_subscribe(now_ms, event.jitter)
        elif self.phase is Phase.LEAVING:
            if timers.teardown_is_given_up(now_ms):
                self._happen(Cause.GIVEN_UP, now_ms)
            elif timers.teardown_is_due(now_ms):
                self._say_teardown(now_ms, subscribed=False)

    def _flush(self, now_ms: int) -> None:
        if self.phase is Phase.SUBSCRIBING:
            if self._timers.take_subscribe():
                self._send((self._subscribe_call(),))
            return
        if self.phase is Phase.SUBSCRIBED and (demand := self._wishes.take_demand()):
            self._outbox.add(demand)
        if self.phase is not Phase.IDLE and not (self.phase is Phase.SUBSCRIBED and self._outbox.can_wait(now_ms)):
            for calls in (*self._outbox.take(), *self._last_words):
                self._send(calls)
            self._last_words.clear()

    def _send(self, calls: tuple[Call, ...]) -> None:
        # A batch takes as many numbers as it has calls, so that it can be split if it is too large to travel (`packing.py`).
        self._sent_number += len(calls)
        self.flow.sent(self._sent_number, sum(map(weight, calls)))
        self._effects.append(
            SendCalls(
                batch=CallBatch(
                    framework_id=self.framework_id,
                    session=self.session,
                    epoch=self.epoch,
                    number=self._sent_number,
                    calls=calls,
                )
            )
        )
