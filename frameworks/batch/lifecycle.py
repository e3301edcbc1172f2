"""The life of one task of a job, as a table.

    BLOCKED --UNBLOCKED--> QUEUED --PLACED--> LAUNCHED --SUCCEEDED, KILLED, REFUSED--> DONE
                             ^                 |    ^
                             |     FAILED, LOST|    | OUT_OF_SIGHT and back
                     TIMED_OUT                 v    v
                          WAITING <--------- (retry?)  UNREACHABLE --TIMED_OUT--> (retry?)

An attempt is one task id on the cluster. A task of a job may need several, one after the other: when an attempt is given up its
id is struck out here, so whatever is still said about it finds nobody and an attempt that comes back from the dead is killed.
`(retry?)` asks the policy: WAITING or DONE. What an attempt's own words cannot mean in a phase has no line and changes nothing:
a QUEUED or WAITING task has no attempt that could speak.
"""

import enum
from collections.abc import Mapping
from typing import Final

from mesolite.protocol import TaskState


class TaskPhase(enum.Enum):
    """Where a task of a job stands."""

    #: Another job has to succeed first.
    BLOCKED = "blocked"
    #: Waits for an offer.
    QUEUED = "queued"
    #: Waits for its next attempt's time.
    WAITING = "waiting"
    #: An attempt is under way.
    LAUNCHED = "launched"
    #: The attempt's agent is out of sight; it may still run.
    UNREACHABLE = "unreachable"
    #: It has its result.
    DONE = "done"


class TaskCause(enum.Enum):
    """What may happen to it."""

    UNBLOCKED = "unblocked"
    PLACED = "placed"
    #: Staging, starting, running, being killed.
    ALIVE = "alive"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"
    #: ERROR: the master or agent would not have it, and never will.
    REFUSED = "refused"
    #: DROPPED, GONE, GONE_BY_OPERATOR, UNKNOWN.
    LOST = "lost"
    OUT_OF_SIGHT = "out of sight"
    TIMED_OUT = "timed out"
    #: The user kills its job.
    CANCELLED = "cancelled"
    #: No agent is large enough for it.
    UNSATISFIABLE = "unsatisfiable"


class TaskStep(enum.Enum):
    """What to do about it."""

    ENQUEUE = "wait for an offer"
    LAUNCH = "launch an attempt"
    NOTE = "note what it says"
    WATCH = "wait for its agent to come back, not for ever"
    RETRY_OR_FINISH = "ask the policy"
    FINISH = "this is the result"
    FINISH_UNLAUNCHED = "there is no attempt to wait for: this is the result"
    KILL = "have the attempt killed and wait for its end"
    IGNORE = "nothing"


TRANSITIONS: Final[Mapping[tuple[TaskPhase, TaskCause], TaskStep]] = {
    (TaskPhase.BLOCKED, TaskCause.UNBLOCKED): TaskStep.ENQUEUE,
    (TaskPhase.BLOCKED, TaskCause.CANCELLED): TaskStep.FINISH_UNLAUNCHED,
    (TaskPhase.QUEUED, TaskCause.PLACED): TaskStep.LAUNCH,
    (TaskPhase.QUEUED, TaskCause.CANCELLED): TaskStep.FINISH_UNLAUNCHED,
    (TaskPhase.QUEUED, TaskCause.UNSATISFIABLE): TaskStep.FINISH_UNLAUNCHED,
    (TaskPhase.WAITING, TaskCause.TIMED_OUT): TaskStep.ENQUEUE,
    (TaskPhase.WAITING, TaskCause.CANCELLED): TaskStep.FINISH_UNLAUNCHED,
    (TaskPhase.LAUNCHED, TaskCause.ALIVE): TaskStep.NOTE,
    (TaskPhase.LAUNCHED, TaskCause.SUCCEEDED): TaskStep.FINISH,
    (TaskPhase.LAUNCHED, TaskCause.FAILED): TaskStep.RETRY_OR_FINISH,
    (TaskPhase.LAUNCHED, TaskCause.KILLED): TaskStep.FINISH,
    (TaskPhase.LAUNCHED, TaskCause.REFUSED): TaskStep.FINISH,
    (TaskPhase.LAUNCHED, TaskCause.LOST): TaskStep.RETRY_OR_FINISH,
    (TaskPhase.LAUNCHED, TaskCause.OUT_OF_SIGHT): TaskStep.WATCH,
    (TaskPhase.LAUNCHED, TaskCause.CANCELLED): TaskStep.KILL,
    (TaskPhase.UNREACHABLE, TaskCause.ALIVE): TaskStep.NOTE,
    (TaskPhase.UNREACHABLE, TaskCause.SUCCEEDED): TaskStep.FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.FAILED): TaskStep.RETRY_OR_FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.KILLED): TaskStep.FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.REFUSED): TaskStep.FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.LOST): TaskStep.RETRY_OR_FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.TIMED_OUT): TaskStep.RETRY_OR_FINISH,
    (TaskPhase.UNREACHABLE, TaskCause.CANCELLED): TaskStep.KILL,
}

#: What a state, said of an attempt, is to the task.
CAUSE_OF_STATE: Final[Mapping[TaskState, TaskCause]] = {
    TaskState.STAGING: TaskCause.ALIVE,
    TaskState.STARTING: TaskCause.ALIVE,
    TaskState.RUNNING: TaskCause.ALIVE,
    TaskState.KILLING: TaskCause.ALIVE,
    TaskState.FINISHED: TaskCause.SUCCEEDED,
    TaskState.FAILED: TaskCause.FAILED,
    TaskState.KILLED: TaskCause.KILLED,
    TaskState.ERROR: TaskCause.REFUSED,
    TaskState.DROPPED: TaskCause.LOST,
    TaskState.GONE: TaskCause.LOST,
    TaskState.GONE_BY_OPERATOR: TaskCause.LOST,
    TaskState.UNKNOWN: TaskCause.LOST,
    TaskState.UNREACHABLE: TaskCause.OUT_OF_SIGHT,
}


def step_for(phase: TaskPhase, cause: TaskCause) -> TaskStep:
    """Look the table up; what has no line changes nothing."""
    return TRANSITIONS.get((phase, cause), TaskStep.IGNORE)
