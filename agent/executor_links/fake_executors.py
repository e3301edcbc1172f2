"""Executors by script, in virtual time: what runs in the containers of a `FakeHost`, and speaks through `FakeDoors`.

For the simulator and for tests of the agent. A container of an executor is one that has a `socket_dir`; its own command must
last (`sleep 1000000`). What a task does is read from its data:

    (nothing), true         FINISHED at once
    sleep SECONDS           RUNNING, and FINISHED after that time, or KILLED when asked
    fail                    FAILED at once
    hang                    RUNNING until it is killed
    stubborn                RUNNING, and when asked to end, only after the grace
    echo WORDS              says the words to the framework, FINISHED with them as its data
    hang-up                 the executor's connection breaks; it comes back
    leave                   the same, and it never comes back
    garbage                 says what no executor may say, once
    exit N, crash, oom      the executor exits, is killed by SIGKILL, or exceeds its memory limit, and all its tasks with it

Executors keep to the protocol: each update is kept until it is acknowledged, and said again with the next SUBSCRIBE.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesolite.ids import ContainerId, TaskId
from mesolite.protocol import (
    ExecutorAcknowledged,
    ExecutorCall,
    ExecutorEvent,
    ExecutorHeard,
    ExecutorKill,
    ExecutorLaunch,
    ExecutorLaunchGroup,
    ExecutorSaid,
    ExecutorShutdown,
    ExecutorSubscribe,
    ExecutorTask,
    ExecutorUpdate,
    TaskState,
)

from ..containerizer.fake import FakeContainer, FakeHost, Fate
from .fake import FakeConnection, FakeDoors

_SIGKILL_CODE: Final = 137
#: Events that one executor takes up in one step, so that a loop between it and its agent ends up as a failing test.
MAX_ROUNDS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How executors behave, apart from their tasks."""

    #: From the container's start to the first connection.
    subscribe_ms: int = 100
    #: From the end of a connection, or from an attempt that failed, to the next attempt.
    return_ms: int = 200


@dataclass(slots=True, eq=False)
class RunningTask:
    """A task that has not ended."""

    task: ExecutorTask
    #: None: it does not end by itself.
    ends_ms: int | None
    end: TaskState = TaskState.FINISHED
    stubborn: bool = False


class FakeExecutor:
    """What runs in one container."""

    def __init__(self, container_id: ContainerId, doors: FakeDoors, manners: Manners, now_ms: int) -> None:
        self.container_id: Final = container_id
        self._doors: Final = doors
        self._manners: Final = manners
        self.connection: FakeConnection | None = None
        #: When it connects; None while it is connected, or for good.
        self._connects_ms: int | None = now_ms + manners.subscribe_ms
        #: Every task that it was told to start, in order: each once, if all is well.
        self.started: Final[list[TaskId]] = []
        self.tasks: Final[dict[TaskId, RunningTask]] = {}
        #: What the agent may not know of: tasks without an acknowledged update, and updates, in their order.
        self.unacknowledged_tasks: Final[dict[TaskId, None]] = {}
        self.unacknowledged: Final[dict[str, ExecutorUpdate]] = {}
        #: All that it was told, for tests.
        self.heard: Final[list[ExecutorEvent]] = []
        self._count = 0
        #: How its container ends, once that is decided: the code, and whether by the memory limit.
        self.exits: tuple[int, bool] | None = None

    def next_due_ms(self, now_ms: int) -> int | None:
        """When it does something next; now, where something waits for it."""
        connection = self.connection
        if connection is not None and (connection.heard or connection.over):
            return now_ms
        dues = [running.ends_ms for running in self.tasks.values()]
        return min((due for due in (*dues, self._connects_ms) if due is not None), default=None)

    def step(self, now_ms: int) -> None:
        """Do what is due, and take up what was said."""
        connection = self.connection
        if connection is not None:
            for event in connection.take():
                self._hear(event, now_ms)
            if connection.over and connection is self.connection:
                self.connection = None
                self._connects_ms = now_ms + self._manners.return_ms
        if self._connects_ms is not None and self._connects_ms <= now_ms:
            self._connect(now_ms)
        for running in sorted(self.tasks.values(), key=lambda each: (each.ends_ms or 0, each.task.task_id)):
            if running.ends_ms is not None and running.ends_ms <= now_ms:
                self._end(running.task.task_id, running.end, running.ends_ms)

    def say(self, *calls: ExecutorCall) -> None:
        """Say something, where it is connected."""
        if self.connection is not None:
            self.connection.say(*calls)

    def hang_up(self, returns_ms: int | None) -> None:
        """Close the connection, to come back then, or never."""
        if self.connection is not None:
            self.connection.hang_up()
        self.connection = None
        self._connects_ms = returns_ms

    def _connect(self, now_ms: int) -> None:
        try:
            self.connection = self._doors.connect(self.container_id)
        except OSError:
            self._connects_ms = now_ms + self._manners.return_ms
            return
        self._connects_ms = None
        self.say(
            ExecutorSubscribe(
                unacknowledged_tasks=tuple(self.unacknowledged_tasks),
                unacknowledged_updates=tuple(self.unacknowledged.values()),
            )
        )

    def _hear(self, event: ExecutorEvent, now_ms: int) -> None:
        self.heard.append(event)
        match event:
            case ExecutorLaunch():
                self._launch(event.task, now_ms)
            case ExecutorLaunchGroup():
                for task in event.tasks:
                    self._launch(task, now_ms)
            case ExecutorKill():
                self._kill(event.task_id, event.grace_ms, now_ms)
            case ExecutorAcknowledged():
                self.unacknowledged.pop(event.update_id, None)
                self.unacknowledged_tasks.pop(event.task_id, None)
            case ExecutorHeard():
                self.say(ExecutorSaid(event.data))
            case ExecutorShutdown():
                for task_id in list(self.tasks):
                    self._kill(task_id, event.grace_ms, now_ms)
                if not self.tasks:
                    self.exits = (0, False)
            case _:
                # SUBSCRIBED, RESIZED and ERROR ask for nothing.
                pass

    def _launch(self, task: ExecutorTask, now_ms: int) -> None:
        self.started.append(task.task_id)
        self.unacknowledged_tasks[task.task_id] = None
        running = self.tasks[task.task_id] = RunningTask(task, now_ms)
        words = task.data.decode("ascii", "replace").split(maxsplit=1)
        match words:
            case ["sleep", seconds]:
                running.ends_ms = now_ms + int(float(seconds) * 1000)
                self._say_state(task.task_id, TaskState.RUNNING, now_ms)
            case ["fail"]:
                self._end(task.task_id, TaskState.FAILED, now_ms)
            case ["hang" | "stubborn" as word]:
                running.ends_ms, running.stubborn = None, word == "stubborn"
                self._say_state(task.task_id, TaskState.RUNNING, now_ms)
            case ["echo", text]:
                self.say(ExecutorSaid(text.encode()))
                self._end(task.task_id, TaskState.FINISHED, now_ms, text.encode())
            case ["exit" | "crash" | "oom" | "hang-up" | "leave" | "garbage" as word, *rest]:
                running.ends_ms = None
                self._misbehave(word, rest, now_ms)
            case _:
                self._end(task.task_id, TaskState.FINISHED, now_ms)

    def _misbehave(self, word: str, rest: list[str], now_ms: int) -> None:
        match word:
            case "exit":
                self.exits = (int(rest[0]) if rest else 0, False)
            case "crash":
                self.exits = (_SIGKILL_CODE, False)
            case "oom":
                self.exits = (_SIGKILL_CODE, True)
            case "garbage":
                task_id = next(reversed(self.tasks))
                self.say(ExecutorUpdate(task_id=task_id, state=TaskState.STAGING, update_id="garbage"))
            case _:
                self.hang_up(None if word == "leave" else now_ms + self._manners.return_ms)

    def _kill(self, task_id: TaskId, grace_ms: int, now_ms: int) -> None:
        running = self.tasks.get(task_id)
        if running is None:
            return
        if not running.stubborn:
            self._end(task_id, TaskState.KILLED, now_ms)
        elif running.end is not TaskState.KILLED or running.ends_ms is None or now_ms + grace_ms < running.ends_ms:
            running.end, running.ends_ms = TaskState.KILLED, now_ms + grace_ms

    def _end(self, task_id: TaskId, state: TaskState, at_ms: int, data: bytes = b"") -> None:
        del self.tasks[task_id]
        self._say_state(task_id, state, at_ms, data)

    def _say_state(self, task_id: TaskId, state: TaskState, at_ms: int, data: bytes = b"") -> None:
        self._count += 1
        update = ExecutorUpdate(
            task_id=task_id, state=state, update_id=f"u{self._count}", timestamp_ms=at_ms, data=data
        )
        self.unacknowledged[update.update_id] = update
        self.say(update)


class FakeExecutors:
    """All executors of a machine."""

    def __init__(
        self,
        host: FakeHost,
        doors: FakeDoors,
        *,
        manners: Manners | None = None,
        on_started: Callable[[ContainerId, TaskId], None] | None = None,
    ) -> None:
        """None yet.

        Args:
            host: Its containers are looked at, and ended where their executor exits.
            doors: Where executors connect.
            manners: How those behave that start from now on; can be changed.
            on_started: Told of each task that an executor starts.
        """
        self.manners = manners if manners is not None else Manners()
        self._host: Final = host
        self._doors: Final = doors
        self._on_started: Final = on_started
        #: Those whose containers run.
        self.running: Final[dict[ContainerId, FakeExecutor]] = {}

    def next_due_ms(self) -> int | None:
        """When something happens next; None where nothing will."""
        now_ms = self._host.clock.now_ms()
        if self._containers().keys() != self.running.keys():
            return now_ms
        dues = [executor.next_due_ms(now_ms) for executor in self.running.values()]
        return min((due for due in dues if due is not None), default=None)

    def poll(self, now_ms: int) -> None:
        """Do all that is due by a time: executors in the order of their containers' ids."""
        for _ in range(MAX_ROUNDS):
            self._follow_containers(now_ms)
            due = [
                executor
                for _, executor in sorted(self.running.items())
                if (due_ms := executor.next_due_ms(now_ms)) is not None and due_ms <= now_ms
            ]
            if not due:
                return
            for executor in due:
                self._step(executor, now_ms)
        raise AssertionError("an executor and its agent never come to an end")

    def _step(self, executor: FakeExecutor, now_ms: int) -> None:
        before = len(executor.started)
        executor.step(now_ms)
        for task_id in executor.started[before:]:
            if self._on_started is not None:
                self._on_started(executor.container_id, task_id)
        if executor.exits is not None:
            code, by_memory = executor.exits
            container = self._host.containers[executor.container_id]
            if now_ms < container.ends_ms:
                container.ends_ms, container.signal_code = now_ms, None
                container.fate = Fate(wanted_mib=None) if by_memory else Fate(exit_code=code)
            executor.hang_up(None)
            # Nothing of it is done any more; its container's end is reported when its time has come.
            executor.tasks.clear()

    def _follow_containers(self, now_ms: int) -> None:
        containers = self._containers()
        for container_id in self.running.keys() - containers.keys():
            self.running.pop(container_id).hang_up(None)
        for container_id in sorted(containers.keys() - self.running.keys()):
            self.running[container_id] = FakeExecutor(container_id, self._doors, self.manners, now_ms)

    def _containers(self) -> dict[ContainerId, FakeContainer]:
        return {
            container_id: container
            for container_id, container in self._host.containers.items()
            if container.spec.socket_dir is not None
        }
