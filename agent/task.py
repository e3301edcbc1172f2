"""One task on its agent: where it is in its life, and its updates that are not acknowledged yet.

The updates of a task form a queue of which only the head travels; it is sent again with growing pauses until it is
acknowledged, then the next is sent (mesos `src/slave/task_status_update_manager.cpp`, reference 1.8).
"""

from collections import deque
from typing import Final, TypeAlias

from msgspec.structs import replace

from mesolite.executors.command import KillCause, grace_of
from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    ExecutorInfo,
    RegisteredTask,
    StatusUpdate,
    TaskInfo,
    TaskState,
    TaskStatus,
)

from .admission import SHAPELESS, Shape
from .executor_task_lifecycle import TaskCause
from .lifecycle import SHOWN_STATES, Cause, Phase
from .records import ProgressRecord, TaskRecord
from .settings import MAX_PENDING_UPDATES, MAX_STORY_STEPS, MAX_UPDATE_IDS, UPDATE_RETRY_CAP_MS, UPDATE_RETRY_MS

TaskKey: TypeAlias = tuple[FrameworkId, TaskId]

#: A task with a container of its own goes through some of the phases, one of an executor through others.
_PHASES: Final = frozenset(Phase) - {Phase.SENT}
_EXECUTORS_PHASES: Final = frozenset(Phase) - {Phase.STARTING, Phase.ABORTING}


class Task:
    """A task between its launch command and the acknowledgement of its last update. Changed by `TaskBook` only."""

    __slots__ = (
        "acknowledged",
        "container_id",
        "executor_id",
        "framework_id",
        "group",
        "info",
        "key",
        "kill_cause",
        "kill_grace_ms",
        "outstanding",
        "pending",
        "phase",
        "retry_due_ms",
        "retry_ms",
        "sent",
        "shape",
        "started_ms",
        "story",
        "update_ids",
    )

    def __init__(
        self,
        framework_id: FrameworkId,
        info: TaskInfo,
        container_id: ContainerId,
        executor_id: ExecutorId | None = None,
        group: TaskId | None = None,
    ) -> None:
        self.framework_id: Final = framework_id
        self.info: Final = info
        #: Its own, or its executor's.
        self.container_id: Final = container_id
        #: Whose task it is, where an executor runs it: the one in its container. None of one that was refused.
        self.executor_id: Final = executor_id
        #: See `TaskRecord`.
        self.group: Final = group
        self.key: Final[TaskKey] = (framework_id, info.task_id)
        #: What its resources mean; SHAPELESS where it was refused.
        self.shape: Shape = SHAPELESS
        self.phase = Phase.STAGING
        #: Why it is being killed; the first cause stands.
        self.kill_cause: KillCause | None = None
        self.kill_grace_ms = 0
        #: When its first process ran, or its executor was told of it.
        self.started_ms: int | None = None
        #: Updates without acknowledgement, oldest first.
        self.pending: list[TaskStatus] = []
        #: The head of `pending` was sent and nothing has answered it yet.
        self.outstanding = False
        self.retry_ms = UPDATE_RETRY_MS
        #: When the outstanding head is sent again.
        self.retry_due_ms: int | None = None
        #: The newest update that was sent, acknowledged or not: what reconciliation answers with.
        self.sent: TaskStatus | None = None
        self.acknowledged: TaskStatus | None = None
        #: Ids of its executor's newest updates, oldest first, until it ends.
        self.update_ids: list[str] = []
        #: How it got here: the newest steps, for the message of a broken invariant.
        self.story: deque[tuple[int, Cause | TaskCause, Phase]] = deque(maxlen=MAX_STORY_STEPS)

    @classmethod
    def restored(cls, record: TaskRecord, progress: ProgressRecord, executor: ExecutorInfo | None) -> "Task":
        """Make a task from what was kept on disk.

        Args:
            executor: Of a task that an executor runs.
        """
        if executor is None:
            task = cls(record.framework_id, record.task, record.container_id)
        else:
            info = replace(record.task, executor=executor)
            task = cls(record.framework_id, info, record.container_id, executor.executor_id, record.group)
        task.phase = progress.phase
        task.kill_cause = progress.kill_cause
        task.kill_grace_ms = progress.kill_grace_ms
        task.started_ms = progress.started_ms
        task.pending = list(progress.pending)
        task.acknowledged = progress.acknowledged
        task.update_ids = list(progress.update_ids)
        # Whether the head had left before the end of the last life is not known, and soon it will have.
        task.sent = task.pending[0] if task.pending else task.acknowledged
        return task

    @property
    def expires_ms(self) -> int | None:
        """When it has run for too long; None where nothing limits it or it is ending anyway."""
        if self.info.max_completion_time_ms is None or self.phase not in (Phase.SENT, Phase.RUNNING):
            return None
        assert self.started_ms is not None, "what runs was started"
        return self.started_ms + self.info.max_completion_time_ms

    @property
    def latest_state(self) -> TaskState:
        """The newest state, which may be ahead of what was sent."""
        if self.phase is Phase.ENDED:
            return self.pending[-1].state
        if self.executor_id is None:
            return SHOWN_STATES[self.phase]
        # What its executor said, and nothing before that: whether a kill has reached the task, the executor knows.
        newest = self.pending[-1] if self.pending else self.acknowledged
        return newest.state if newest is not None else TaskState.STAGING

    @property
    def living(self) -> bool:
        """Its last word is not spoken."""
        return self.phase is not Phase.ENDED

    @property
    def told(self) -> bool:
        """Its executor was told of it."""
        return self.phase is not Phase.STAGING

    def record(self) -> TaskRecord:
        """What is kept of it once."""
        info = self.info if self.executor_id is None else replace(self.info, executor=None)
        return TaskRecord(self.framework_id, self.container_id, info, self.group)

    def progress(self) -> ProgressRecord:
        """What is kept of it at each change."""
        return ProgressRecord(
            self.framework_id,
            self.info.task_id,
            self.phase,
            self.kill_cause,
            self.kill_grace_ms,
            self.started_ms,
            tuple(self.pending),
            self.acknowledged,
            tuple(self.update_ids),
        )

    def add(self, status: TaskStatus) -> None:
        """Put an update behind those that wait. One that they grew too many for replaces the last that is not on its way."""
        if len(self.pending) >= MAX_PENDING_UPDATES and status.state not in TERMINAL_STATES:
            self.pending.pop()
        self.pending.append(status)

    def remember(self, update_id: str) -> None:
        """Know an update of its executor's when it comes again."""
        self.update_ids.append(update_id)
        if len(self.update_ids) > MAX_UPDATE_IDS:
            self.update_ids.pop(0)

    def note_kill(self, cause: KillCause, asked_ms: int | None) -> None:
        """Note why it is to end, and how fast. The first cause stands; a later kill may hasten the end, not put it off."""
        if self.kill_cause is None:
            self.kill_cause = cause
            self.kill_grace_ms = grace_of(self.info, asked_ms)
        elif asked_ms is not None:
            self.kill_grace_ms = min(self.kill_grace_ms, grace_of(self.info, asked_ms))

    def send(self, now_ms: int) -> int:
        """Note that the head leaves now, and return when it has to leave again."""
        self.outstanding = True
        self.sent = self.pending[0]
        self.retry_due_ms = now_ms + self.retry_ms
        self.retry_ms = min(self.retry_ms * 2, UPDATE_RETRY_CAP_MS)
        return self.retry_due_ms

    def acknowledge(self) -> None:
        """Take the head out of the queue."""
        self.acknowledged = self.pending.pop(0)
        self.outstanding = False
        self.retry_ms = UPDATE_RETRY_MS
        self.retry_due_ms = None

    def update(self) -> StatusUpdate:
        """The head of the queue as it travels."""
        return StatusUpdate(self.framework_id, self.pending[0], self.latest_state)

    def registered(self) -> RegisteredTask:
        """The task as a master that knows nothing is told; without its payload, which no master needs."""
        info = self.info
        if info.data:
            info = replace(info, data=b"")
        return RegisteredTask(
            framework_id=self.framework_id, task=info, latest_state=self.latest_state, sent_status=self.sent
        )

    def check(self) -> None:
        """Assert its invariants."""
        story = f"{self.key}: {list(self.story)}"
        ended = self.phase is Phase.ENDED
        terminal = [status.state in TERMINAL_STATES for status in self.pending]
        assert terminal.count(True) == ended, f"a terminal update waits exactly where the task ended; {story}"
        assert not ended or terminal[-1], f"nothing follows a terminal update; {story}"
        assert not self.outstanding or (self.pending and self.sent is self.pending[0]), (
            f"only the head travels; {story}"
        )
        assert self.outstanding == (self.retry_due_ms is not None), f"what travels is timed; {story}"
        assert self.phase in (_PHASES if self.executor_id is None else _EXECUTORS_PHASES), (
            f"a phase of its kind; {story}"
        )
        assert len(self.pending) <= MAX_PENDING_UPDATES + 1, f"not too many wait; {story}"
        dying = self.phase in (Phase.ABORTING, Phase.KILLING)
        assert not dying or self.kill_cause is not None, f"a kill has a cause; {story}"
