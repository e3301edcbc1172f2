"""An executor as its author writes it: a class with callbacks, and the driver whose verbs it uses in them.

    class Echo(Executor):
        def launch(self, driver, tasks):
            for task in tasks:
                driver.update(task.task_id, State.FINISHED, data=task.data)

        def kill(self, driver, task_id, grace_ms):
            driver.update(task_id, State.KILLED)

    sys.exit(ExecutorDriver(Echo()).run())

All callbacks and verbs belong to the loop's thread; other threads hand in work with `ExecutorDriver.post`.
"""

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, assert_never

from .core import ExecutorCore, Phase
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
from .errors import TooLarge
from .events import EndAsked, Event, MessageGiven, Started, TaskReported, TimePassed, TotalsCounted
from .loop import Loop, Timer
from .patience import RECOVERY_TIMEOUT_MS
from .protocol import MAX_DATA_BYTES, MAX_MESSAGE_LENGTH, Subscribed, Task, TaskId, Totals
from .shell import AgentConnection
from .sockets import SocketDirectory, agent_socket
from .states import Reason, State

_log: Final = logging.getLogger("mesolite.executor")


class Executor:
    """Callbacks of an executor; `launch` and `kill` must be there, override the others where they matter.

    They are called one at a time on the loop's thread, in the order in which things happened, and must not block: run tasks in
    processes or threads. An exception ends the executor, and with it all its tasks, which the agent then reports FAILED.
    """

    def subscribed(self, driver: "ExecutorDriver", subscribed: Subscribed) -> None:
        """The agent listens, for the first time or again after it was away. It says how large the container is."""

    def launch(self, driver: "ExecutorDriver", tasks: Sequence[Task]) -> None:
        """Start these. Each comes once. Report RUNNING when it does, and its end."""
        raise NotImplementedError("an executor says how it launches tasks")

    def launch_group(self, driver: "ExecutorDriver", tasks: Sequence[Task]) -> None:
        """Start these, all or none. The default hands them to `launch`."""
        self.launch(driver, tasks)

    def kill(self, driver: "ExecutorDriver", task_id: TaskId, grace_ms: int) -> None:
        """End a task: ask it to, and end it after the grace; report KILLED. Comes again where the grace became shorter."""
        raise NotImplementedError("an executor says how it kills a task")

    def message(self, driver: "ExecutorDriver", data: bytes) -> None:
        """The scheduler sent bytes; best effort."""

    def resized(self, driver: "ExecutorDriver", cpus: float, mem_mib: int) -> None:
        """The container has other limits now."""

    def shutdown(self, driver: "ExecutorDriver", grace_ms: int) -> None:
        """End all tasks and report them; the driver exits when all is reported, at the latest after the grace.

        Comes once: when the agent says so, when the container is told to end, or when no agent was there for too long. The
        default kills all tasks.
        """
        for task_id in driver.living_tasks():
            self.kill(driver, task_id, grace_ms)

    def disconnected(self, driver: "ExecutorDriver") -> None:
        """The agent is away; tasks go on, and what is reported meanwhile is kept. The driver reconnects by itself."""

    def error(self, driver: "ExecutorDriver", message: str) -> None:
        """The agent took offence, or cannot be understood. The driver tries again, a few times, and then ends."""
        _log.error("%s", message)


class ExecutorDriver:
    """Runs one executor.

    Args:
        executor: Whose callbacks to call.
        loop: Its own where none is given.
        socket_path: The agent's socket; `MESOS_DOMAIN_SOCKET` names it where none is given.
        recovery_timeout_ms: How long tasks run on without an agent.

    Raises:
        NoAgent: No socket is named, or there is no directory for it.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        loop: Loop | None = None,
        socket_path: Path | None = None,
        recovery_timeout_ms: int = RECOVERY_TIMEOUT_MS,
    ) -> None:
        path = socket_path or agent_socket(os.environ)
        self._executor = executor
        self._owns_loop = loop is None
        self.loop: Final = loop or Loop()
        #: Where the agent's sockets are, for executors that need the others too.
        self.sockets: Final = SocketDirectory(path.parent)
        self._core = ExecutorCore(recovery_timeout_ms)
        self._connection = AgentConnection(self.loop, self.sockets, path.name, self._on_event, wall_ms)
        #: Effects that wait for those before them. A callback's verbs apply events while effects are carried out.
        self._effects: deque[Effect] = deque()
        self._performing = False
        self._timer: Timer | None = None
        #: What `run` returns; None while it runs.
        self._exit_code: int | None = None

    # Running

    def run(self) -> int:
        """Subscribe and serve until it is over; return the code to exit with.

        Returns:
            0 after SHUTDOWN, or once the container was told to end; 1 where no agent could be found or understood.

        Raises:
            Exception: Whatever a callback raised.
        """
        if threading.current_thread() is threading.main_thread():
            # The first process of a container is not ended by a SIGTERM that it does not handle.
            self.loop.on_signal(signal.SIGTERM, self._end_asked)
        try:
            self._apply(Started(now_ms=self._now_ms()))
            if self._exit_code is None:
                self.loop.run()
            return self._exit_code or 0
        finally:
            self._connection.hang_up()
            self.sockets.close()
            if self._owns_loop:
                self.loop.close()

    def post(self, callback: Callable[[], object]) -> None:
        """Have something done on the loop's thread; from any thread, at any time."""
        self.loop.call_soon_threadsafe(callback)

    def stop(self, code: int = 0) -> None:
        """Leave at once: the container ends with this program, and the agent reports what was not."""
        if self._exit_code is None:
            self._exit_code = code
            self._connection.flush()
            self._connection.hang_up()
            self.loop.stop()

    # Verbs

    @property
    def connected(self) -> bool:
        """The subscription stands."""
        return self._core.phase is Phase.SUBSCRIBED

    @property
    def info(self) -> Subscribed | None:
        """What the agent said of itself and the executor last; None before the first subscription."""
        return self._core.subscribed

    def living_tasks(self) -> list[TaskId]:
        """Return the tasks that were launched and whose end is not reported, in order."""
        return list(self._core.tasks.living_ids())

    def update(
        self,
        task_id: TaskId,
        state: State,
        message: str = "",
        *,
        reason: Reason | None = None,
        data: bytes = b"",
        healthy: bool | None = None,
    ) -> bool:
        """Report what became of a task. It is kept, and said on every connection, until the agent has it on disk.

        Args:
            task_id: One that was launched.
            state: See `states.FOLLOWS` for what may follow what.
            message: For people; cut after `MAX_MESSAGE_LENGTH`.
            reason: Mesos's word for why.
            data: For the scheduler.
            healthy: What a health check says.

        Returns:
            Whether it stands. False where the task has ended, goes backward, or is unknown; the log says which.

        Raises:
            TooLarge: More data than `MAX_DATA_BYTES`.
        """
        event = TaskReported(
            now_ms=self._now_ms(),
            timestamp_ms=wall_ms(),
            task_id=task_id,
            state=State(state),
            message=presentable(message) if message else "",
            reason=None if reason is None else Reason(reason),
            data=bounded(data),
            healthy=healthy,
        )
        return not any(isinstance(effect, Refused) for effect in self._apply(event))

    def send_message(self, data: bytes) -> bool:
        """Send bytes to the scheduler, best effort.

        Returns:
            Whether they were sent: False where the agent is away or does not keep up.

        Raises:
            TooLarge: More than `MAX_DATA_BYTES`.
        """
        bounded(data)
        if not self.connected or self._connection.congested:
            return False
        self._apply(MessageGiven(now_ms=self._now_ms(), data=data))
        return True

    def totals(self, *, succeeded: int, failed: int, active: int) -> None:
        """Tell of work that is no task of its own: sums since the executor started. Said again on each connection."""
        if not self._connection.congested:
            self._apply(TotalsCounted(now_ms=self._now_ms(), totals=Totals(succeeded, failed, active)))

    # Between core, shell and callbacks

    def _on_event(self, event: Event) -> None:
        self._apply(event)

    def _apply(self, event: Event) -> list[Effect]:
        effects = self._core.apply(event)
        self._effects.extend(effects)
        if not self._performing:
            self._performing = True
            try:
                while self._effects:
                    self._perform(self._effects.popleft())
            finally:
                self._performing = False
            self._set_timer()
        return effects

    def _perform(self, effect: Effect) -> None:
        executor = self._executor
        match effect:
            case Say():
                self._connection.say(effect.messages)
            case TellLaunch():
                executor.launch(self, effect.tasks)
            case TellLaunchGroup():
                executor.launch_group(self, effect.tasks)
            case TellKill():
                executor.kill(self, effect.task_id, effect.grace_ms)
            case TellMessage():
                executor.message(self, effect.data)
            case TellResized():
                executor.resized(self, effect.cpus, effect.mem_mib)
            case Connect():
                self._connection.connect()
            case HangUp():
                self._connection.hang_up()
            case TellSubscribed():
                executor.subscribed(self, effect.subscribed)
            case TellDisconnected():
                _log.warning("disconnected: %s", effect.why)
                executor.disconnected(self)
            case TellShutdown():
                _log.info("shutting down: %s", effect.why)
                executor.shutdown(self, effect.grace_ms)
            case TellError():
                executor.error(self, effect.message)
            case Refused():
                _log.warning("update of %s not taken: %s", effect.task_id, effect.why)
            case Exit():
                if effect.code:
                    _log.error("exiting: %s", effect.why)
                self.stop(effect.code)
            case _:
                assert_never(effect)

    def _set_timer(self) -> None:
        deadline_ms = self._core.deadline_ms
        if self._timer is not None and self._timer.pending:
            if self._timer.when_ms == deadline_ms:
                return
            self._timer.cancel()
        self._timer = None if deadline_ms is None else self.loop.call_at(deadline_ms, self._time_passed)

    def _time_passed(self) -> None:
        self._apply(TimePassed(now_ms=self._now_ms()))

    def _end_asked(self) -> None:
        self._apply(EndAsked(now_ms=self._now_ms()))

    def _now_ms(self) -> int:
        return int(self.loop.now_ms())


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def bounded(data: bytes) -> bytes:
    """Return data that one update or message can carry.

    Raises:
        TooLarge: It cannot.
    """
    if len(data) > MAX_DATA_BYTES:
        raise TooLarge(
            f"{len(data)} bytes of data where one update or message carries {MAX_DATA_BYTES}:"
            " put it where the scheduler can fetch it, and send its name"
        )
    return data


def presentable(message: str) -> str:
    """Return a message that fits an update and can be written as UTF-8: what was read from a program's output may not be."""
    if len(message) > MAX_MESSAGE_LENGTH:
        message = message[: MAX_MESSAGE_LENGTH - 1] + "…"
    return message if message.isascii() else message.encode("utf-8", "replace").decode()
