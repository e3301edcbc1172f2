"""What it is to be an executor, decided: subscribing, reporting until acknowledged, launching once, ending in time.

          Connected             SUBSCRIBED
  CALLING ---------> SUBSCRIBING ---------> SUBSCRIBED
    ^  |                 |                      |
    |  | ConnectFailed   | Disconnected, a fault|
    |  v                 v                      |
  WAITING <-------------------------------------+        every phase -- patience or time is out --> OVER

Rules that hold here:

- Every connection begins with SUBSCRIBE, and in it stands whatever the agent may not know of.
- An update is said, in order, on each connection until it is acknowledged.
- A task id is launched once. What the agent says about one that is not here is answered with the task's end.
- Once it is told to shut down an executor waits for its last words to be acknowledged, but not beyond the grace.

A core: no clock, no socket. It raises nothing for anything that an agent can say.
"""

import enum
from typing import Final, assert_never

from .effects import (
    Connect,
    Effect,
    Exit,
    HangUp,
    Refused,
    Say,
    TellDisconnected,
    TellError,
    TellKill,
    TellLaunch,
    TellLaunchGroup,
    TellMessage,
    TellResized,
    TellShutdown,
    TellSubscribed,
)
from .events import (
    AgentBabbled,
    AgentSpoke,
    Connected,
    ConnectFailed,
    Disconnected,
    EndAsked,
    Event,
    MessageGiven,
    Started,
    TaskReported,
    TimePassed,
    TotalsCounted,
)
from .outbox import MAX_SUBSCRIBE_UPDATES_BYTES, Outbox
from .patience import RECOVERY_TIMEOUT_MS, Patience
from .protocol import (
    PROTOCOL_VERSION,
    Acknowledged,
    AgentMessage,
    Error,
    Heard,
    Kill,
    Launch,
    LaunchGroup,
    Resized,
    Said,
    Shutdown,
    Subscribe,
    Subscribed,
    Task,
    TaskId,
    Totals,
    Update,
)
from .states import ENDS, Reason, State
from .tasks import Tasks

#: The end that an executor gives its tasks where nobody says how long they have: Mesos's `executor_shutdown_grace_period`.
DEFAULT_GRACE_MS: Final = 5000
#: An executor leaves by itself so long before its grace is over, or a fifth of it: last words need a moment to leave.
MARGIN_MS: Final = 500
#: Nobody waits longer for an end, whatever an agent asks: a day.
MAX_GRACE_MS: Final = 86_400_000


class Phase(enum.Enum):
    """Where the executor stands with its agent."""

    #: Not started.
    IDLE = "idle"
    #: The socket was asked for a connection.
    CALLING = "calling"
    #: SUBSCRIBE was said.
    SUBSCRIBING = "subscribing"
    SUBSCRIBED = "subscribed"
    #: Until the next attempt.
    WAITING = "waiting"
    #: It will not talk to the agent any more; tasks may have a grace left.
    OVER = "over"
    #: `Exit` was said.
    ENDED = "ended"


class ExecutorCore:
    """Decides for one executor.

    Args:
        recovery_timeout_ms: How long its tasks run on without an agent.
    """

    def __init__(self, recovery_timeout_ms: int = RECOVERY_TIMEOUT_MS) -> None:
        self.phase = Phase.IDLE
        self.tasks = Tasks()
        self.outbox = Outbox()
        #: As the agent said last; None before the first subscription.
        self.subscribed: Subscribed | None = None
        self._patience = Patience(recovery_timeout_ms)
        self._totals: Totals | None = None
        #: Numbers updates.
        self._updates = 0
        #: Of the event that is being applied.
        self._timestamp_ms = 0
        #: The next attempt; None unless WAITING.
        self._retry_ms: int | None = None
        #: When it exits at the latest; None until it is to end.
        self._exit_ms: int | None = None
        self._exit_code = 0
        self._exit_why = ""

    @property
    def deadline_ms(self) -> int | None:
        """When `TimePassed` is wanted next, at the latest; None where nothing is waited for."""
        if self.phase is Phase.ENDED:
            return None
        deadlines = (self._retry_ms, self._exit_ms, self._give_up_ms())
        return min((each for each in deadlines if each is not None), default=None)

    @property
    def ending(self) -> bool:
        """It was told to end, or has given up: no task is launched any more."""
        return self._exit_ms is not None or self.phase is Phase.ENDED

    def apply(self, event: Event) -> list[Effect]:
        """Take note of what happened; return what is to be done about it, in order."""
        if self.phase is Phase.ENDED:
            return []
        effects: list[Effect] = []
        self._take_note(event, effects)
        self._say_updates(effects)
        self._leave_when_done(event.now_ms, effects)
        return effects

    def check(self) -> None:
        """Assert what always holds."""
        self.tasks.check()
        self.outbox.check()
        assert (self._retry_ms is not None) == (self.phase is Phase.WAITING)
        for update in self.outbox:
            life = self.tasks.get(update.task_id)
            assert update.state not in ENDS or life is None or life.ended, "an end is told of a task that lives"

    def _take_note(self, event: Event, effects: list[Effect]) -> None:
        match event:
            case AgentSpoke():
                self._on_spoke(event, effects)
            case TaskReported():
                self._on_reported(event, effects)
            case MessageGiven():
                self._say(Said(event.data), effects)
            case TotalsCounted():
                self._totals = event.totals
                self._say(event.totals, effects)
            case Started():
                self._on_started(event, effects)
            case Connected():
                self._on_connected(effects)
            case ConnectFailed():
                if self.phase is Phase.CALLING:
                    self._lost(event.now_ms, event.why, effects)
            case Disconnected():
                if self.phase in _CONNECTED:
                    self._lost(event.now_ms, event.why, effects)
            case AgentBabbled():
                if self.phase in _CONNECTED:
                    self._fault(event.now_ms, f"the agent cannot be understood: {event.why}", effects)
            case EndAsked():
                self._end(event.now_ms, DEFAULT_GRACE_MS, 0, "the container is told to end", effects)
            case TimePassed():
                self._on_time(event.now_ms, effects)
            case _:
                assert_never(event)

    # The connection

    def _on_started(self, event: Started, effects: list[Effect]) -> None:
        if self.phase is Phase.IDLE:
            self._patience.started(event.now_ms)
            self._try_again(event.now_ms, effects)

    def _on_connected(self, effects: list[Effect]) -> None:
        if self.phase is not Phase.CALLING:
            return
        self.phase = Phase.SUBSCRIBING
        self.outbox.start_over()
        updates = self.outbox.take(MAX_SUBSCRIBE_UPDATES_BYTES)
        effects.append(Say((Subscribe(PROTOCOL_VERSION, self.tasks.unheard(), updates),)))

    def _on_time(self, now_ms: int, effects: list[Effect]) -> None:
        give_up_ms = self._give_up_ms()
        if give_up_ms is not None and now_ms >= give_up_ms:
            self._end_without_agent(now_ms, "no agent was there for too long", effects)
        elif self._retry_ms is not None and now_ms >= self._retry_ms:
            self._call(effects)

    def _fault(self, now_ms: int, why: str, effects: list[Effect]) -> None:
        """Hang up on an agent with which there is no talking, and try again: a few times."""
        effects += [TellError(why), HangUp(why)]
        if self._patience.fault(now_ms):
            if self.phase is Phase.SUBSCRIBED:
                effects.append(TellDisconnected(why))
            self._end_without_agent(now_ms, why, effects)
        else:
            self._lost(now_ms, why, effects)

    def _lost(self, now_ms: int, why: str, effects: list[Effect]) -> None:
        if self.phase is Phase.SUBSCRIBED:
            effects.append(TellDisconnected(why))
        self._patience.lost(now_ms)
        self._try_again(now_ms, effects)

    def _try_again(self, now_ms: int, effects: list[Effect]) -> None:
        wait_ms = self._patience.take_wait_ms()
        if wait_ms:
            self.phase, self._retry_ms = Phase.WAITING, now_ms + wait_ms
        else:
            self._call(effects)

    def _call(self, effects: list[Effect]) -> None:
        self.phase, self._retry_ms = Phase.CALLING, None
        effects.append(Connect())

    def _give_up_ms(self) -> int | None:
        return self._patience.give_up_ms if self.phase in _TRYING else None

    # What the agent says

    def _on_spoke(self, event: AgentSpoke, effects: list[Effect]) -> None:
        launched: list[Task] = []
        self._timestamp_ms = event.timestamp_ms
        for message in event.messages:
            if isinstance(message, Launch) and self.phase is Phase.SUBSCRIBED:
                self._launch(message.task, launched)
                continue
            self._tell_launch(launched, effects)
            if self.phase not in _CONNECTED:
                return  # after a fault the rest is not listened to
            self._obey(event.now_ms, message, effects)
        self._tell_launch(launched, effects)

    def _tell_launch(self, launched: list[Task], effects: list[Effect]) -> None:
        if launched:
            effects.append(TellLaunch(tuple(launched)))
            launched.clear()

    def _obey(self, now_ms: int, message: AgentMessage, effects: list[Effect]) -> None:
        match message:
            case Subscribed():
                self._subscribe(now_ms, message, effects)
            case Error(why):
                self._fault(now_ms, f"the agent does not take what this executor says: {why}", effects)
            case _ if self.phase is Phase.SUBSCRIBING:
                self._fault(now_ms, f"the agent says {type(message).__name__} before SUBSCRIBED", effects)
            case Launch():
                raise AssertionError("launches are gathered by the caller")
            case LaunchGroup(tasks):
                self._launch_group(tasks, effects)
            case Kill(task_id, grace_ms):
                self._kill(now_ms, task_id, within(grace_ms), effects)
            case Acknowledged(task_id, update_id):
                if (update := self.outbox.acknowledge(task_id, update_id)) is not None:
                    self.tasks.acknowledge(task_id, update.state)
            case Resized(cpus, mem_mib):
                effects.append(TellResized(cpus, mem_mib))
            case Heard(data):
                effects.append(TellMessage(data))
            case Shutdown(grace_ms):
                self._end(now_ms, within(grace_ms), 0, "the agent says SHUTDOWN", effects)
            case _:
                assert_never(message)

    def _subscribe(self, now_ms: int, message: Subscribed, effects: list[Effect]) -> None:
        if self.phase is Phase.SUBSCRIBED:
            self._fault(now_ms, "the agent says SUBSCRIBED where nobody subscribed", effects)
        elif why := self._why_not_ours(message):
            effects += [TellError(why), HangUp(why)]
            self._end_without_agent(now_ms, why, effects)
        else:
            self.phase = Phase.SUBSCRIBED
            self._patience.subscribed(now_ms)
            self.subscribed = message
            if self._totals is not None:
                self._say(self._totals, effects)
            effects.append(TellSubscribed(message))

    def _why_not_ours(self, message: Subscribed) -> str:
        if message.version != PROTOCOL_VERSION:
            return (
                f"the agent speaks version {message.version} of the executor protocol and this executor"
                f" {PROTOCOL_VERSION}: install the same version of mesolite on both sides"
            )
        if self.subscribed is not None and self.subscribed.container_id != message.container_id:
            return f"the socket is now that of another container: {message.container_id!r}"
        return ""

    def _launch(self, task: Task, launched: list[Task]) -> None:
        if self.tasks.is_known(task.task_id):
            self._say_end_again(task.task_id)
        elif not self._refuse(task.task_id, self._why_not(task.task_id)):
            self.tasks.add(task.task_id, launched=True)
            launched.append(task)

    def _launch_group(self, tasks: tuple[Task, ...], effects: list[Effect]) -> None:
        """Launch all or none: where one cannot be, the others that are new are refused with it."""
        new = [task for task in tasks if not self.tasks.is_known(task.task_id)]
        for task in tasks:
            self._say_end_again(task.task_id)
        why = next((why for task in new if (why := self._why_not(task.task_id))), "")
        if 0 < len(new) < len(tasks) or len({task.task_id for task in new}) < len(new):
            why = "a task of its group was launched before"
        if why:
            for task_id in dict.fromkeys(task.task_id for task in new):
                self._refuse(task_id, why)
            return
        for task in new:
            self.tasks.add(task.task_id, launched=True)
        if new:
            effects.append(TellLaunchGroup(tasks))

    def _why_not(self, task_id: TaskId) -> str:
        """Say why a new task cannot be launched; empty where it can."""
        if self.ending:
            return "the executor is ending"
        return "" if self.tasks.has_room(task_id) else "the executor has more tasks than it can keep account of"

    def _refuse(self, task_id: TaskId, why: str) -> bool:
        """Answer a launch with its end where there is a reason; return whether there is."""
        if why:
            reason = Reason.EXECUTOR_TERMINATED if self.ending else None
            self._answer(task_id, State.DROPPED, reason, why)
        return bool(why)

    def _kill(self, now_ms: int, task_id: TaskId, grace_ms: int, effects: list[Effect]) -> None:
        life = self.tasks.get(task_id)
        if life is None and self.tasks.end_of(task_id) is None:
            # Its launch got lost. Should it come all the same it is not obeyed: the task has an end now.
            self._answer(task_id, State.KILLED, Reason.TASK_KILLED_DURING_LAUNCH, "this executor had not begun it")
        elif life is None:
            self._say_end_again(task_id)
        elif not life.ended and (life.kill_by_ms is None or now_ms + grace_ms < life.kill_by_ms):
            life.kill_by_ms = now_ms + grace_ms
            effects.append(TellKill(task_id, grace_ms))

    def _answer(self, task_id: TaskId, state: State, reason: Reason | None, why: str) -> None:
        """Report the end of a task that is not here.

        An agent that lets so much lie that there is no room for it is not told. It finds out when the executor next subscribes,
        because the task is not among those that the executor has.
        """
        update = self._update(task_id, state, reason=reason, message=why)
        if self.outbox.has_room(update):
            self.tasks.report(self.tasks.add(task_id, launched=False), state)
            self.outbox.add(update)

    def _say_end_again(self, task_id: TaskId) -> None:
        """Repeat the end of a task whose end was acknowledged: an agent that asks has lost it. Others are told anyway."""
        state = self.tasks.end_of(task_id)
        if state is not None:
            update = self._update(task_id, state, message="it ended before; only its state is remembered")
            if self.outbox.has_room(update):
                self.outbox.add(update)

    # What the executor says

    def _on_reported(self, event: TaskReported, effects: list[Effect]) -> None:
        self._timestamp_ms = event.timestamp_ms
        update = self._update(
            event.task_id,
            event.state,
            message=event.message,
            reason=event.reason,
            data=event.data,
            healthy=event.healthy,
        )
        if why := self._why_not_reported(event, update):
            effects.append(Refused(event.task_id, why))
        elif self.outbox.has_room(update):
            self.outbox.add(update)
        else:
            self.outbox.add(without_data(update))

    def _why_not_reported(self, event: TaskReported, update: Update) -> str:
        """Enter the state; say why it cannot be, empty where it can."""
        life = self.tasks.get(event.task_id)
        if life is None:
            end = self.tasks.end_of(event.task_id)
            return "this executor has no such task" if end is None else f"{event.state} cannot follow {end}"
        if event.state not in ENDS and not self.outbox.has_room(update):
            return "the agent leaves too many updates unacknowledged; only ends are taken until it does"
        return self.tasks.report(life, event.state)

    def _update(
        self,
        task_id: TaskId,
        state: State,
        *,
        message: str = "",
        reason: Reason | None = None,
        data: bytes = b"",
        healthy: bool | None = None,
    ) -> Update:
        self._updates += 1
        return Update(task_id, state, str(self._updates), self._timestamp_ms, message, reason, data, healthy)

    def _say(self, message: Said | Totals, effects: list[Effect]) -> None:
        """Say what is said once, or not at all where nobody listens."""
        if self.phase is Phase.SUBSCRIBED:
            effects.append(Say((message,)))

    def _say_updates(self, effects: list[Effect]) -> None:
        if self.phase in _CONNECTED and (updates := self.outbox.take()):
            effects.append(Say(updates))

    # The end

    def _end(self, now_ms: int, grace_ms: int, code: int, why: str, effects: list[Effect]) -> None:
        """Have the tasks ended; exit when they are, at the latest when the grace is almost over."""
        exit_ms = now_ms + grace_ms - min(MARGIN_MS, grace_ms // 5)
        if self._exit_ms is None:
            self._exit_code, self._exit_why = code, why
            effects.append(TellShutdown(exit_ms - now_ms, why))
            self._exit_ms = exit_ms
        else:
            self._exit_ms = min(self._exit_ms, exit_ms)

    def _end_without_agent(self, now_ms: int, why: str, effects: list[Effect]) -> None:
        self.phase, self._retry_ms = Phase.OVER, None
        self._end(now_ms, DEFAULT_GRACE_MS, 1, why, effects)

    def _leave_when_done(self, now_ms: int, effects: list[Effect]) -> None:
        if self._exit_ms is None:
            return
        heard = not self.outbox or self.phase is Phase.OVER
        if now_ms >= self._exit_ms or (heard and not self.tasks.living):
            self.phase, self._retry_ms = Phase.ENDED, None
            effects.append(Exit(self._exit_code, self._exit_why))


def within(grace_ms: int) -> int:
    """Return a grace that can be: no less than none, no longer than `MAX_GRACE_MS`."""
    return min(max(grace_ms, 0), MAX_GRACE_MS)


def without_data(update: Update) -> Update:
    """Return an end as it is told where there is no room for all of it: what was to come with it is lost, which is a failure."""
    if update.state is State.FINISHED and update.data:
        message = (
            "it finished, and its data is lost: the agent has not acknowledged what came before, and there is no room"
        )
        return update._replace(state=State.FAILED, data=b"", message=message)
    return update._replace(data=b"", message="")


#: A connection is there.
_CONNECTED: Final = frozenset({Phase.SUBSCRIBING, Phase.SUBSCRIBED})
#: The agent is sought, and may be sought too long.
_TRYING: Final = frozenset({Phase.CALLING, Phase.SUBSCRIBING, Phase.WAITING})
