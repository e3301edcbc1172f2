"""What the driver remembers of each task: enough to reconcile it, and to tell a new update from a resent one.

Agents send one update per task at a time and repeat it until it is acknowledged (reference 1.8), so the uuid of the last
one delivered is all that is needed to recognise a repetition. Of an ended task only that is kept, for a while: questions
about it may have been on their way when it ended, and the master, which has forgotten it, answers that it is gone.
"""

import enum
from collections.abc import Iterator
from typing import Final

from mesolite.ids import AgentId, TaskId
from mesolite.protocol import TERMINAL_STATES, TaskState, TaskStatus

from .settings import MAX_REMEMBERED_UPDATES

#: Words of the master about a task that this session knows nothing of, and need not remember.
_NOTHING_TO_KEEP: Final = TERMINAL_STATES | {TaskState.UNKNOWN}


class Verdict(enum.Enum):
    """What to do with an update."""

    DELIVER = "deliver"
    #: Delivered and acknowledged before: the acknowledgement got lost, so say it again.
    ACKNOWLEDGE_AGAIN = "acknowledge again"
    #: Delivered before; the scheduler has not acknowledged it yet.
    WAIT = "wait"


class TaskRecord:
    """One task of the framework that has not ended, or whose end is not acknowledged."""

    __slots__ = ("acknowledged", "agent_id", "state", "uuid")

    def __init__(self, agent_id: AgentId | None, state: TaskState) -> None:
        #: Where it runs; None where the scheduler that took over did not know.
        self.agent_id = agent_id
        #: The last state delivered; STAGING before any.
        self.state = state
        #: Of the last update delivered that has one.
        self.uuid: bytes | None = None
        #: Whether that update was acknowledged.
        self.acknowledged = False


class TaskLedger:
    """The framework's tasks."""

    def __init__(self) -> None:
        self._records: dict[TaskId, TaskRecord] = {}
        #: Tasks whose end was delivered and is settled, oldest first, with the uuid of that update; None if it had none.
        self._ended: dict[TaskId, bytes | None] = {}

    def __contains__(self, task_id: TaskId) -> bool:
        return task_id in self._records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[TaskId]:
        return iter(self._records)

    def launched(self, task_id: TaskId, agent_id: AgentId | None) -> None:
        """Remember a task from the moment that its launch is asked for: if that gets lost, reconciliation finds out."""
        self._ended.pop(task_id, None)
        self._records[task_id] = TaskRecord(agent_id, TaskState.STAGING)

    def agent_of(self, task_id: TaskId) -> AgentId | None:
        """Return where a task runs, if known."""
        record = self._records.get(task_id)
        return record.agent_id if record is not None else None

    def unfinished(self) -> list[TaskId]:
        """Return the tasks that have not ended, oldest first."""
        return [task_id for task_id, record in self._records.items() if record.state not in TERMINAL_STATES]

    def heard(self, status: TaskStatus) -> Verdict:
        """Take an update in and say what to do with it."""
        uuid = status.uuid
        record = self._records.get(status.task_id)
        if record is None:
            if uuid is None and status.task_id in self._ended:
                return Verdict.WAIT
            if uuid is not None and uuid == self._ended.get(status.task_id):
                return Verdict.ACKNOWLEDGE_AGAIN
            if uuid is None and status.state in _NOTHING_TO_KEEP:
                self._settle(status)
                return Verdict.DELIVER
            # Not launched by this session: a scheduler that took over hears of its predecessor's tasks so.
            self._ended.pop(status.task_id, None)
            record = self._records[status.task_id] = TaskRecord(status.agent_id, status.state)
        elif uuid is not None and uuid == record.uuid:
            return Verdict.ACKNOWLEDGE_AGAIN if record.acknowledged else Verdict.WAIT
        elif uuid is None and record.state in TERMINAL_STATES:
            # The master repeats what it knows; the task's own last word is with the scheduler already.
            return Verdict.WAIT
        record.state = status.state
        if status.agent_id is not None:
            record.agent_id = status.agent_id
        if uuid is not None:
            record.uuid = uuid
            record.acknowledged = False
        elif status.state in TERMINAL_STATES:
            # UNKNOWN is not among them: its agent may come back with the task and then speaks first, or without it, and then only
            # who asks again hears that it is gone.
            del self._records[status.task_id]
            self._settle(status)
        return Verdict.DELIVER

    def kept(self, status: TaskStatus) -> bool:
        """The scheduler has this update safe. Returns whether it is to be acknowledged."""
        if status.uuid is None or status.agent_id is None:
            return False
        record = self._records.get(status.task_id)
        if record is not None and record.uuid == status.uuid:
            record.acknowledged = True
            if record.state in TERMINAL_STATES:
                del self._records[status.task_id]
                self._settle(status)
        return True

    def check(self) -> None:
        """Assert what always holds."""
        for task_id, record in self._records.items():
            ended = record.state in TERMINAL_STATES
            assert not (ended and record.acknowledged), f"{task_id} ended, was acknowledged, and is still kept"
            assert not (ended and record.uuid is None), f"{task_id} ended by a word that needs no acknowledgement"
        assert len(self._ended) <= MAX_REMEMBERED_UPDATES
        assert not self._ended.keys() & self._records.keys(), "a task has both ended and not"

    def _settle(self, status: TaskStatus) -> None:
        """Keep of an ended task what tells later words about it from news."""
        if status.state not in TERMINAL_STATES:
            return
        self._ended[status.task_id] = status.uuid
        if len(self._ended) > MAX_REMEMBERED_UPDATES:
            del self._ended[next(iter(self._ended))]
