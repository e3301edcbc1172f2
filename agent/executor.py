"""One life of an executor on its agent: its container, its connection, its tasks that have not ended, and the limits they need.

The container's limits are the executor's own resources plus those of its tasks. They grow at once, before a task that needs
it is told, and shrink to the most that was needed within SHRINK_DELAY_MS: so a stream of small tasks, of which some end while
others come, changes nothing.
"""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

from mesolite.executors.command import MAX_GRACE_MS, Limits, Outcome, limits_of_amounts
from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import ContainerStatus, ExecutorExited, ExecutorInfo, RegisteredExecutor

from .admission import SHAPELESS, Shape
from .executor_endings import ExecutorEnding, Loss
from .executor_lifecycle import ExecutorCause, ExecutorPhase
from .records import ExecutorRecord
from .settings import MAX_STORY_STEPS, RESIZE_RETRY_MS, SHRINK_DELAY_MS, UPDATE_RETRY_CAP_MS, UPDATE_RETRY_MS
from .task import Task, TaskKey

#: What an executor's container may use of CPUs beyond what is booked, so that one whose tasks need next to nothing is not slowed
#: to a crawl itself: with the quota of one small task an interpreter takes a quarter of a minute to start. Nobody is charged for
#: it; Mesos gives its command executors as much (reference 1.3, LAUNCH).
SLACK_CPUS_MILLI: Final = 100
#: Of a container that was not launched.
NO_LIMITS: Final = Limits(cpus_milli=0, mem_mib=0)

ExecutorKey: TypeAlias = tuple[FrameworkId, ExecutorId]


class Launch(NamedTuple):
    """What an executor is told in one piece: a task, or the tasks of a group."""

    tasks: tuple[Task, ...]
    grouped: bool


class Executor:
    """An executor between the task that launches it and the last word about it. Changed by `ExecutorBook` only."""

    __slots__ = (
        "acknowledged",
        "connected",
        "connection",
        "container",
        "container_id",
        "cpus_milli",
        "due_ms",
        "exit_code",
        "framework_id",
        "info",
        "kept",
        "key",
        "launched_by",
        "limits",
        "loss",
        "mem_milli",
        "message",
        "peak_cpus_milli",
        "peak_mem_milli",
        "phase",
        "resize_due_ms",
        "resize_failed",
        "retry_due_ms",
        "retry_ms",
        "shape",
        "story",
        "tasks",
        "waiting",
    )

    def __init__(
        self, framework_id: FrameworkId, info: ExecutorInfo, container_id: ContainerId, launched_by: TaskId
    ) -> None:
        self.framework_id: Final = framework_id
        self.info: Final = info
        self.container_id: Final = container_id
        #: See `RegisteredExecutor`.
        self.launched_by: Final = launched_by
        self.key: Final[ExecutorKey] = (framework_id, info.executor_id)
        #: What its own resources mean; SHAPELESS where it was never launched.
        self.shape: Shape = SHAPELESS
        self.phase = ExecutorPhase.LAUNCHING
        self.loss: Loss | None = None
        #: Its newest connection; 0 before the first of this life of the agent.
        self.connection = 0
        #: It has subscribed on that connection, which is open as far as is known.
        self.connected = False
        #: Its tasks that have not ended, in order of arrival.
        self.tasks: Final[dict[TaskKey, Task]] = {}
        #: What it was not told yet, in order of arrival, by `waiting_key` of its tasks.
        self.waiting: Final[dict[TaskKey, Launch]] = {}
        #: Tasks that are not forgotten, ended ones included: their records lean on its own.
        self.kept = 0
        #: What it and its tasks hold, in thousandths.
        self.cpus_milli = 0
        self.mem_milli = 0
        #: The most since limits were last thought of shrinking.
        self.peak_cpus_milli = 0
        self.peak_mem_milli = 0
        #: What its container was last told to have.
        self.limits: Limits = NO_LIMITS
        #: What a status says of its container.
        self.container = ContainerStatus(container_id=container_id)
        #: When limits are looked at again; None while they fit.
        self.resize_due_ms: int | None = None
        #: Setting them failed, so they are set again even if they should be right.
        self.resize_failed = False
        #: When it must have subscribed, come back or ended; None where nothing is waited for.
        self.due_ms: int | None = None
        #: How it ended; see `ExecutorExited`.
        self.exit_code: int | None = None
        self.message = ""
        #: The master has entered its end.
        self.acknowledged = False
        self.retry_ms = UPDATE_RETRY_MS
        #: When its end is said again.
        self.retry_due_ms: int | None = None
        #: How it got here: the newest steps, for the message of a broken invariant.
        self.story: deque[tuple[int, ExecutorCause, ExecutorPhase]] = deque(maxlen=MAX_STORY_STEPS)

    @classmethod
    def restored(cls, record: ExecutorRecord) -> "Executor":
        """Make an executor from what was kept on disk; its tasks are added after it."""
        executor = cls(record.framework_id, record.executor, record.container_id, record.launched_by)
        executor.phase = record.phase
        executor.loss = record.loss
        executor.exit_code = record.exit_code
        executor.message = record.message
        executor.acknowledged = record.acknowledged
        return executor

    @property
    def living(self) -> bool:
        """Its container is not known to be gone."""
        return self.phase is not ExecutorPhase.ENDED

    @property
    def grace_ms(self) -> int:
        """How long it has to end when it is asked to."""
        return min(max(self.info.shutdown_grace_period_ms, 0), MAX_GRACE_MS)

    @property
    def listening(self) -> bool:
        """It can be told tasks now."""
        return self.connected and self.phase is ExecutorPhase.RUNNING

    @staticmethod
    def waiting_key(task: Task) -> TaskKey:
        """Say under which key a task waits: that of the first of its group, or its own."""
        return task.key if task.group is None else (task.framework_id, task.group)

    # Limits.

    def book(self, shape: Shape) -> None:
        """Count what it or one of its tasks holds from now on."""
        self.cpus_milli += shape.cpus_milli
        self.mem_milli += shape.mem_milli
        self.peak_cpus_milli = max(self.peak_cpus_milli, self.cpus_milli)
        self.peak_mem_milli = max(self.peak_mem_milli, self.mem_milli)

    def unbook(self, shape: Shape) -> None:
        """Count what is held no more."""
        self.cpus_milli -= shape.cpus_milli
        self.mem_milli -= shape.mem_milli

    def grow(self) -> bool:
        """Set the limits up to what is held now; say whether that changed them."""
        needed = limits_of_amounts(self.cpus_milli, self.mem_milli)
        if needed.cpus_milli <= self.limits.cpus_milli and needed.mem_mib <= self.limits.mem_mib:
            return False
        self._set_limits(
            Limits(
                cpus_milli=max(needed.cpus_milli, self.limits.cpus_milli),
                mem_mib=max(needed.mem_mib, self.limits.mem_mib),
            )
        )
        return True

    def settle(self) -> bool:
        """Set the limits to the most that was held of late, and begin to count anew; say whether the container must be told."""
        before = self.limits
        self._set_limits(limits_of_amounts(self.peak_cpus_milli, self.peak_mem_milli))
        self.peak_cpus_milli, self.peak_mem_milli = self.cpus_milli, self.mem_milli
        must_tell = self.resize_failed or self.limits != before
        self.resize_failed = False
        return must_tell

    def resize_after(self, now_ms: int) -> int | None:
        """Plan when limits are looked at next, where they do not fit and nothing is planned; return the time of a new plan."""
        if self.resize_due_ms is not None:
            return None
        if self.resize_failed:
            self.resize_due_ms = now_ms + RESIZE_RETRY_MS
        elif limits_of_amounts(self.cpus_milli, self.mem_milli) != self.limits:
            self.resize_due_ms = now_ms + SHRINK_DELAY_MS
        return self.resize_due_ms

    @property
    def quota_cpus_milli(self) -> int:
        """What its container may use of CPUs; `limits` is what was booked."""
        return self.limits.cpus_milli + SLACK_CPUS_MILLI

    def _set_limits(self, limits: Limits) -> None:
        self.limits = limits
        self.container = ContainerStatus(container_id=self.container_id, mem_limit_mib=limits.mem_mib)

    # What is said and kept of it.

    def ending(self, cause: ExecutorCause, outcome: Outcome, was_shut_down: bool) -> ExecutorEnding:
        """Describe its end."""
        return ExecutorEnding(
            executor_id=self.info.executor_id,
            cause=cause,
            loss=self.loss,
            was_shut_down=was_shut_down,
            outcome=outcome,
            limits=self.limits,
        )

    def send_exit(self, now_ms: int) -> int:
        """Note that its end is said now, and return when it is said again."""
        self.retry_due_ms = now_ms + self.retry_ms
        self.retry_ms = min(self.retry_ms * 2, UPDATE_RETRY_CAP_MS)
        return self.retry_due_ms

    def exited(self) -> ExecutorExited:
        """Its end as it travels."""
        return ExecutorExited(
            framework_id=self.framework_id,
            executor_id=self.info.executor_id,
            container_id=self.container_id,
            launched_by=self.launched_by,
            exit_code=self.exit_code,
            message=self.message,
        )

    def registered(self) -> RegisteredExecutor:
        """The executor as a master that knows nothing is told."""
        return RegisteredExecutor(
            framework_id=self.framework_id,
            executor=self.info,
            container_id=self.container_id,
            launched_by=self.launched_by,
        )

    def record(self) -> ExecutorRecord:
        """What is kept of it."""
        return ExecutorRecord(
            framework_id=self.framework_id,
            container_id=self.container_id,
            executor=self.info,
            launched_by=self.launched_by,
            phase=self.phase,
            loss=self.loss,
            exit_code=self.exit_code,
            message=self.message,
            acknowledged=self.acknowledged,
        )

    def check(self) -> None:
        """Assert its invariants."""
        story = f"{self.key}: {list(self.story)}"
        assert self.living or not self.tasks, f"no task outlives its executor; {story}"
        assert self.kept >= len(self.tasks), f"whoever has not ended is not forgotten; {story}"
        assert self.living or (self.kept or not self.acknowledged), f"whatever is of no use is forgotten; {story}"
        assert not self.acknowledged or not self.living, f"only an end is acknowledged; {story}"
        assert self.living or not self.connected, f"nobody speaks to the dead; {story}"
        waiting = [task.key for each in self.waiting.values() for task in each.tasks]
        staging = [key for key, task in self.tasks.items() if not task.told]
        assert sorted(waiting) == sorted(staging), f"what it was not told waits; {story}"
        assert not (self.listening and self.waiting), f"nothing waits for an executor that listens; {story}"
        if self.living:
            shapes = [self.shape, *(task.shape for task in self.tasks.values())]
            assert self.cpus_milli == sum(shape.cpus_milli for shape in shapes), f"it holds the sum; {story}"
            assert self.mem_milli == sum(shape.mem_milli for shape in shapes), f"it holds the sum; {story}"
            needed = limits_of_amounts(self.cpus_milli, self.mem_milli)
            assert needed.cpus_milli <= self.limits.cpus_milli, f"its limits are not below what it holds; {story}"
            assert needed.mem_mib <= self.limits.mem_mib, f"its limits are not below what it holds; {story}"
            fits = needed == self.limits and not self.resize_failed
            assert fits or self.resize_due_ms is not None, f"limits that do not fit are looked at again; {story}"
