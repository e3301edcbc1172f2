"""One task on its agent: where it is in its life, and its updates that are not acknowledged yet.

The updates of a task form a queue of which only the head travels; it is sent again with growing pauses until it is
acknowledged, then the next is sent (mesos `src/slave/task_status_update_manager.cpp`, reference 1.8).
"""

from collections import deque
from typing import Final, TypeAlias

from mesolite.executors.command import KillCause
from mesolite.ids import ContainerId, FrameworkId, TaskId
from mesolite.protocol import TERMINAL_STATES, RegisteredTask, StatusUpdate, TaskInfo, TaskState, TaskStatus

from .admission import SHAPELESS, Shape
from .lifecycle import SHOWN_STATES, Cause, Phase
from .records import ProgressRecord, TaskRecord
from .settings import MAX_STORY_STEPS, UPDATE_RETRY_CAP_MS, UPDATE_RETRY_MS

TaskKey: TypeAlias = tuple[FrameworkId, TaskId]


class Task:
    """A task between its launch command and the acknowledgement of its last update. Changed by `TaskBook` only."""

    __slots__ = (
        "acknowledged",
        "container_id",
        "framework_id",
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
    )

    def __init__(self, framework_id: FrameworkId, info: TaskInfo, container_id: ContainerId) -> None:
        self.framework_id: Final = framework_id
        self.info: Final = info
        self.container_id: Final = container_id
        self.key: Final[TaskKey] = (framework_id, info.task_id)
        #: What its resources mean; SHAPELESS where it was refused.
        self.shape: Shape = SHAPELESS
        self.phase = Phase.STAGING
        #: Why it is being killed; the first cause stands.
        self.kill_cause: KillCause | None = None
        self.kill_grace_ms = 0
        #: When its first process ran.
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
        #: How it got here: the newest steps, for the message of a broken invariant.
        self.story: deque[tuple[int, Cause, Phase]] = deque(maxlen=MAX_STORY_STEPS)

    @classmethod
    def restored(cls, record: TaskRecord, progress: ProgressRecord) -> "Task":
        """Make a task from what was kept on disk."""
        task = cls(record.framework_id, record.task, record.container_id)
        task.phase = progress.phase
        task.kill_cause = progress.kill_cause
        task.kill_grace_ms = progress.kill_grace_ms
        task.started_ms = progress.started_ms
        task.pending = list(progress.pending)
        task.acknowledged = progress.acknowledged
        # Whether the head had left before the end of the last life is not known, and soon it will have.
        task.sent = task.pending[0] if task.pending else task.acknowledged
        return task

    @property
    def expires_ms(self) -> int | None:
        """When it has run for too long; None where nothing limits it or it is ending anyway."""
        if self.phase is not Phase.RUNNING or self.info.max_completion_time_ms is None:
            return None
        assert self.started_ms is not None, "what runs was started"
        return self.started_ms + self.info.max_completion_time_ms

    @property
    def latest_state(self) -> TaskState:
        """The newest state, which may be ahead of what was sent."""
        if self.phase is Phase.ENDED:
            return self.pending[-1].state
        return SHOWN_STATES[self.phase]

    def record(self) -> TaskRecord:
        """What is kept of it once."""
        return TaskRecord(self.framework_id, self.container_id, self.info)

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
        )

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
            info = _without_data(info)
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
        dying = self.phase in (Phase.ABORTING, Phase.KILLING)
        assert not dying or self.kill_cause is not None, f"a kill has a cause; {story}"


def _without_data(info: TaskInfo) -> TaskInfo:
    return TaskInfo(
        task_id=info.task_id,
        agent_id=info.agent_id,
        name=info.name,
        resources=info.resources,
        command=info.command,
        executor=info.executor,
        container=info.container,
        kill_policy=info.kill_policy,
        max_completion_time_ms=info.max_completion_time_ms,
        labels=info.labels,
    )
