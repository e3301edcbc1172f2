"""The Python executor among its tasks: calls that are tasks, slots, each of which is one more worker, and questions.

    call    (launched) -- a worker begins it, and it has not ended after a while --> RUNNING -- its end --> FINISHED, FAILED,
    KILLED

    slot    (launched) -- one more worker is up --> RUNNING -- KILL: the worker ends its call, or the grace is over -->
    KILLED

How many workers there are follows from both (`wanted_workers`). A slot is no particular worker until it is killed: then the
worker that has least to lose goes, and the slot with it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..driver.executor import Executor, ExecutorDriver
from ..driver.loop import Loop, Timer
from ..driver.protocol import MAX_DATA_BYTES, Subscribed, Task, TaskId
from ..driver.states import Reason, State
from .calls import Call, End, Outcome
from .codec import BadBytes, unpack_raised
from .log_names import task_log_name
from .runner import Runner
from .settings import BadSettings, PythonSettings, settings_from
from .staffing import IMPATIENT_AFTER_MS, Impatience
from .tasks import CallTask, StoreTask, decode_task, encode_outcome, encode_store, state_of

#: A call that ends sooner is never said to run: one update for it instead of two.
RUNNING_AFTER_MS: Final = 50
#: Workers for calls that are tasks stay so long after the last one: the next wave is to find them.
CALLS_LINGER_MS: Final = 10_000
#: How often the totals are told, when they have changed.
TOTALS_EVERY_MS: Final = 1_000
#: Of the grace of a SHUTDOWN, what is left for ending workers and for the last updates.
SHUTDOWN_MARGIN_MS: Final = 1_000
#: An executor that refuses all tasks ends so long after the last of them: the agent has their updates by then.
REFUSING_ENDS_AFTER_MS: Final = 2_000
_EXIT_REFUSING: Final = 78
_MEBIBYTE: Final = 1024 * 1024

_REASONS: Final = {
    End.OUT_OF_MEMORY: Reason.CONTAINER_LIMITATION_MEMORY,
    End.TIMED_OUT: Reason.MAX_COMPLETION_TIME_REACHED,
    End.DIED: Reason.COMMAND_EXECUTOR_FAILED,
    End.REFUSED: Reason.EXECUTOR_TERMINATED,
}


class PoolEnd(Protocol):
    """The executor's end of a pool, as far as it concerns tasks."""

    def workers_changed(self, workers: int) -> None:
        """There are so many workers now."""
        ...

    def close(self) -> None:
        """Say what is to be said, and let go."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is made once the agent has said what the framework wants."""

    runner: Runner
    #: None where all calls are tasks.
    pool: PoolEnd | None
    #: Says where clients reach the agent's block store, and what they show there; empty where they do not. Takes a moment.
    store: Callable[[], tuple[str, str]]


#: Makes the parts; told whom to call when a worker is up or over.
Build = Callable[[Subscribed, PythonSettings, Callable[[], None]], Parts]


@dataclass(slots=True)
class _CallEntry:
    call: Call
    running_timer: Timer | None = None


@dataclass(slots=True)
class _Slot:
    cpus: float
    running: bool = False
    killing: bool = False
    #: The worker that goes with it, once it is killed.
    worker: int | None = None
    grace_timer: Timer | None = field(default=None)


def wanted_workers(slots: int, slot_cpus: float, container_cpus: float, *, calls: bool, extra: int = 0) -> int:
    """How many workers there are to be.

    Args:
        slots: Slots that live.
        slot_cpus: What belongs to them.
        container_cpus: What there is.
        calls: There are calls that are tasks, or were a moment ago.
        extra: See `Impatience`.
    """
    # A thousandth of a CPU, in which resources are counted, is not to cost a worker.
    beyond = max(1, int(container_cpus - slot_cpus + 0.001)) + extra if calls else 0
    return max(1, slots + beyond)


class PythonExecutor(Executor):
    """The executor, as the driver calls it.

    Args:
        loop: The driver's.
        build: Makes runner and pool.
    """

    def __init__(self, loop: Loop, build: Build) -> None:
        self._loop: Final = loop
        self._build: Final = build
        self._driver: ExecutorDriver | None = None
        self._parts: Parts | None = None
        #: Why no task can run here; empty where they can.
        self._refusal = ""
        self._refusal_timer: Timer | None = None
        self._calls: Final[dict[TaskId, _CallEntry]] = {}
        self._slots: Final[dict[TaskId, _Slot]] = {}
        self._container_cpus = 0.0
        #: When the last call that was a task ended, by the loop's clock.
        self._calls_until_ms = -float(CALLS_LINGER_MS)
        #: One for all calls: where they come one by one, each would wake the loop once more.
        self._linger_timer: Timer | None = None
        self._calls_ended = 0
        self._impatience: Final = Impatience()
        self._impatience_timer: Timer | None = None
        self._told_workers = -1
        self._told_totals = (0, 0, 0)
        self._stopping = False

    # What the driver tells

    def subscribed(self, driver: ExecutorDriver, subscribed: Subscribed) -> None:
        """Begin, at the first time."""
        self._driver = driver
        self._container_cpus = subscribed.cpus
        if self._parts is not None or self._refusal:
            self.resized(driver, subscribed.cpus, subscribed.mem_mib)
            return
        try:
            settings = settings_from(subscribed.data)
        except BadSettings as error:
            self._refuse(str(error))
            return
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if settings.python and settings.python != here:
            self._refuse(
                f"this container has Python {here}, the functions were pickled by Python {settings.python}: "
                f"use an image with Python {settings.python}, or run the program with Python {here}"
            )
            return
        self._parts = self._build(subscribed, settings, self._workers_changed)
        self.resized(driver, subscribed.cpus, subscribed.mem_mib)
        self._loop.call_later(TOTALS_EVERY_MS, self._tell_totals)

    def resized(self, driver: ExecutorDriver, cpus: float, mem_mib: int) -> None:
        """The container has other limits now."""
        self._container_cpus = cpus
        if self._parts is not None:
            self._parts.runner.container_resized(mem_mib * _MEBIBYTE)
            self._staff()

    def launch(self, driver: ExecutorDriver, tasks: Sequence[Task]) -> None:
        """Start calls and slots."""
        calls: list[Call] = []
        for task in tasks:
            if self._parts is None or self._refusal:
                driver.update(task.task_id, State.ERROR, self._refusal or "not subscribed", reason=Reason.TASK_INVALID)
                self._end_refusing()
                continue
            try:
                decoded = decode_task(task.data)
            except BadBytes as error:
                driver.update(task.task_id, State.ERROR, str(error), reason=Reason.TASK_INVALID)
                continue
            if isinstance(decoded, CallTask):
                calls.append(self._call_of(task, decoded))
            elif isinstance(decoded, StoreTask):
                driver.update(task.task_id, State.FINISHED, data=encode_store(*self._parts.store()))
            else:
                self._slots[task.task_id] = _Slot(task.resources.get("cpus", 0.0))
        if self._parts is not None:
            self._staff()
            self._parts.runner.submit(calls)
            self._workers_changed()

    def kill(self, driver: ExecutorDriver, task_id: TaskId, grace_ms: int) -> None:
        """End a call at once: a function cannot be asked to. End a slot after its worker's current call, or after the grace."""
        if self._parts is None:
            driver.update(task_id, State.KILLED)
        elif task_id in self._calls:
            self._parts.runner.cancel(_key(task_id), kill=True)
        elif task_id in self._slots:
            self._kill_slot(self._parts.runner, task_id, grace_ms)

    def shutdown(self, driver: ExecutorDriver, grace_ms: int) -> None:
        """Begin nothing more, let end what can within the grace, and report."""
        self._stopping = True
        if self._parts is None:
            for task_id in driver.living_tasks():
                driver.update(task_id, State.KILLED)
            return
        runner = self._parts.runner
        self._loop.call_later(max(0, grace_ms - SHUTDOWN_MARGIN_MS), runner.dismiss_all)
        runner.stop(self._stopped)

    def _stopped(self) -> None:
        """All workers are over, and all calls with them."""
        assert self._parts is not None, "it was made before it stopped"
        if self._parts.pool is not None:
            self._parts.pool.close()
        for task_id in list(self._slots):
            self._end_slot(task_id)

    # Refusing

    def _refuse(self, why: str) -> None:
        self._refusal = why
        # For whoever looks into the sandbox; the caller reads it in the updates of his tasks.
        sys.stderr.write(f"{why}\n")
        sys.stderr.flush()
        self._end_refusing()

    def _end_refusing(self) -> None:
        if self._refusal_timer is not None:
            self._refusal_timer.cancel()
        driver = self._driver
        assert driver is not None, "tasks come from a driver"
        self._refusal_timer = self._loop.call_later(REFUSING_ENDS_AFTER_MS, lambda: driver.stop(_EXIT_REFUSING))

    # Calls

    def _call_of(self, task: Task, decoded: CallTask) -> Call:
        call = Call(
            key=_key(task.task_id),
            function=decoded.function,
            arguments=decoded.arguments,
            done=lambda call, outcome: self._call_done(task.task_id, outcome),
            begun=lambda call: self._call_begun(task.task_id),
            name=task_log_name(task.task_id),
            timeout_ms=decoded.timeout_ms,
            mem_bytes=decoded.mem_bytes,
            by_reference_from=min(decoded.by_reference_from, MAX_DATA_BYTES // 2),
            environment=decoded.environment,
        )
        self._calls[task.task_id] = _CallEntry(call)
        if self._impatience_timer is None:
            self._impatience_timer = self._loop.call_later(IMPATIENT_AFTER_MS, self._look_at_waiting)
        return call

    def _look_at_waiting(self) -> None:
        """Give calls that wait behind others that do not end workers of their own, since they have resources of their own."""
        self._impatience_timer = None
        if not self._calls or self._parts is None:
            return
        runner = self._parts.runner
        if self._impatience.look(
            ended=self._calls_ended, waiting=runner.waiting, workers=runner.workers, calls=len(self._calls)
        ):
            self._staff()
        self._impatience_timer = self._loop.call_later(IMPATIENT_AFTER_MS, self._look_at_waiting)

    def _call_begun(self, task_id: TaskId) -> None:
        entry = self._calls[task_id]
        entry.running_timer = self._loop.call_later(RUNNING_AFTER_MS, lambda: self._update(task_id, State.RUNNING))

    def _call_done(self, task_id: TaskId, outcome: Outcome) -> None:
        entry = self._calls.pop(task_id)
        self._calls_ended += 1
        if entry.running_timer is not None:
            entry.running_timer.cancel()
        if not self._calls:
            self._calls_until_ms = self._loop.now_ms()
            if self._linger_timer is None:
                self._linger_timer = self._loop.call_later(CALLS_LINGER_MS + 1, self._calls_lingered)
        data = encode_outcome(outcome)
        if len(data) > MAX_DATA_BYTES:
            size = f"{len(data):,} bytes where an update carries {MAX_DATA_BYTES:,}, and there is no block store here"
            outcome = Outcome(End.TOO_LARGE, message=f"the result has {size}", ran_us=outcome.ran_us)
            data = encode_outcome(outcome)
        message = outcome.message or _raised_text(outcome)
        state = State.KILLED if self._stopping and outcome.end is End.REFUSED else State(state_of(outcome))
        self._update(task_id, state, message, reason=_REASONS.get(outcome.end), data=data)

    def _calls_lingered(self) -> None:
        """Let workers go that were kept for the next call; look again later where one has come meanwhile."""
        self._linger_timer = None
        left_ms = self._calls_until_ms + CALLS_LINGER_MS + 1 - self._loop.now_ms()
        if left_ms <= 0:
            self._staff()
        elif not self._calls:
            self._linger_timer = self._loop.call_later(left_ms, self._calls_lingered)

    def _update(
        self, task_id: TaskId, state: State, message: str = "", *, reason: Reason | None = None, data: bytes = b""
    ) -> None:
        assert self._driver is not None, "tasks come from a driver"
        self._driver.update(task_id, state, message, reason=reason, data=data)

    # Slots and workers

    def _kill_slot(self, runner: Runner, task_id: TaskId, grace_ms: int) -> None:
        slot = self._slots[task_id]
        if not slot.killing:
            slot.killing = True
            surplus = self._staff()
            slot.worker = surplus[0] if surplus else None
        if slot.grace_timer is not None:
            slot.grace_timer.cancel()
        slot.grace_timer = self._loop.call_later(max(0, grace_ms), lambda: self._grace_over(runner, slot))
        self._workers_changed()

    def _grace_over(self, runner: Runner, slot: _Slot) -> None:
        if slot.worker is not None:
            runner.dismiss(
                slot.worker, End.DIED, "its worker was taken away: the slot was killed, and the grace is over"
            )

    def _staff(self) -> list[int]:
        """Have as many workers as tasks ask for; return those that are to end for it."""
        if self._parts is None or self._stopping:
            return []
        living = [slot for slot in self._slots.values() if not slot.killing]
        calls = bool(self._calls) or self._loop.now_ms() - self._calls_until_ms < CALLS_LINGER_MS
        if not calls:
            self._impatience.rest()
        wanted = wanted_workers(
            len(living),
            sum(slot.cpus for slot in living),
            self._container_cpus,
            calls=calls,
            extra=self._impatience.extra,
        )
        surplus = self._parts.runner.resize(wanted)
        if self._parts.pool is not None and wanted != self._told_workers:
            self._told_workers = wanted
            self._parts.pool.workers_changed(wanted)
        return surplus

    def _workers_changed(self) -> None:
        """Report slots whose worker is up, and those whose worker is over."""
        assert self._parts is not None, "workers are its"
        runner = self._parts.runner
        free = len(runner.ready) - sum(1 for slot in self._slots.values() if slot.running and not slot.killing)
        for task_id, slot in list(self._slots.items()):
            if slot.killing:
                if slot.worker is None or not runner.lives(slot.worker):
                    self._end_slot(task_id)
            elif not slot.running and free > 0:
                free -= 1
                slot.running = True
                self._update(task_id, State.RUNNING)

    def _end_slot(self, task_id: TaskId) -> None:
        slot = self._slots.pop(task_id)
        if slot.grace_timer is not None:
            slot.grace_timer.cancel()
        self._update(task_id, State.KILLED)

    # Totals

    def _tell_totals(self) -> None:
        assert self._parts is not None, "counting began with it"
        assert self._driver is not None, "and with a driver"
        runner = self._parts.runner
        totals = (runner.succeeded, runner.failed, runner.active)
        if totals != self._told_totals and self._driver.connected:
            self._told_totals = totals
            succeeded, failed, active = totals
            self._driver.totals(succeeded=succeeded, failed=failed, active=active)
        self._loop.call_later(TOTALS_EVERY_MS, self._tell_totals)


def _key(task_id: TaskId) -> object:
    """A call's key in the runner, which no call of a pool has."""
    return ("task", task_id)


def _raised_text(outcome: Outcome) -> str:
    """For people who look at the task: what the function raised."""
    if outcome.end is not End.RAISED or not isinstance(outcome.payload, bytes):
        return ""
    try:
        _, type_name, message, _ = unpack_raised(outcome.payload)
    except BadBytes:
        return ""
    return f"{type_name}: {message}"
