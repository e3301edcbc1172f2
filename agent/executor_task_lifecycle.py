"""The life of a task that an executor runs.

Its executor says how it fares; the agent says what the executor cannot: that it was killed before it was told, that its
launch got lost, that it ended with its executor. The phases are those of tasks with a container of their own
(`lifecycle.py`), used so:

    STAGING ------------> SENT ---------------> RUNNING --------------.
       |  (the executor    |   (it spoke of      |                    |  (its last word)
       |   is told)        |    the task)        | kill, time limit   |
       |                   | kill, time limit    v                    |
       | kill              '----------------> KILLING ----------.     |
       |                                                        v     v
       '------------------------------------------------------> ENDED

In STAGING the executor is not there yet and knows nothing of the task, so a kill ends it at once. Later a kill decides nothing by
itself: the executor is asked, and says the last word. RUNNING means that the executor spoke of it, be it STARTING: from then
on the executor answers for it even where it does not list it when it subscribes again, since what was ACKNOWLEDGED it need
not list.

MISSING is a task that was told, and that the executor, which has just subscribed again and lists what it has, never heard of:
the launch got lost with the connection. It is not told again: nobody can be sure, and an id is launched at most once.

An update about a task that is not here, or over, is acknowledged, so that the executor may forget it; where it says that the task
goes on, the executor is told to end it at once: its resources are somebody else's by now.
"""

import enum
from typing import Final, NamedTuple

from .lifecycle import Phase


class TaskCause(enum.Enum):
    """What happens to a task of an executor."""

    PREPARING = "PREPARING"
    TOLD = "TOLD"
    SAID = "SAID"
    SAID_LAST = "SAID_LAST"
    KILL = "KILL"
    #: Its executor is told to end, and all its tasks with it.
    SHUTDOWN = "SHUTDOWN"
    EXPIRED = "EXPIRED"
    MISSING = "MISSING"
    EXECUTOR_ENDED = "EXECUTOR_ENDED"

    #: By identity, as they are compared; see `TaskState`.
    __hash__ = object.__hash__


class TaskFollowUp(enum.Enum):
    """What the agent does about it."""

    #: Queue an update: something is fetched for its executor.
    SHOW_STARTING = "SHOW_STARTING"
    #: Begin to count the max completion time: an executor need not say RUNNING before the end.
    ARM_TIME_LIMIT = "ARM_TIME_LIMIT"
    #: Queue what the executor said.
    FORWARD = "FORWARD"
    TELL_KILL = "TELL_KILL"
    #: Give the resources back and queue the executor's word.
    CONCLUDE_AS_SAID = "CONCLUDE_AS_SAID"
    #: Give the resources back and queue a last word of the agent's own.
    CONCLUDE = "CONCLUDE"
    #: Nothing but a note.
    REFUSE = "REFUSE"


class TaskStep(NamedTuple):
    """One line of the table."""

    phase: Phase
    follow_ups: tuple[TaskFollowUp, ...] = ()


_IS_SAID: Final = TaskStep(Phase.ENDED, (TaskFollowUp.CONCLUDE_AS_SAID,))
_IS_KILLED: Final = TaskStep(Phase.KILLING, (TaskFollowUp.TELL_KILL,))
_ENDS: Final = TaskStep(Phase.ENDED, (TaskFollowUp.CONCLUDE,))

TASK_TABLE: Final[dict[Phase, dict[TaskCause, TaskStep]]] = {
    Phase.STAGING: {
        TaskCause.PREPARING: TaskStep(Phase.STAGING, (TaskFollowUp.SHOW_STARTING,)),
        TaskCause.TOLD: TaskStep(Phase.SENT, (TaskFollowUp.ARM_TIME_LIMIT,)),
        TaskCause.KILL: _ENDS,
        TaskCause.SHUTDOWN: _ENDS,
        TaskCause.EXECUTOR_ENDED: _ENDS,
    },
    Phase.SENT: {
        TaskCause.SAID: TaskStep(Phase.RUNNING, (TaskFollowUp.FORWARD,)),
        TaskCause.SAID_LAST: _IS_SAID,
        TaskCause.KILL: _IS_KILLED,
        TaskCause.SHUTDOWN: TaskStep(Phase.KILLING),
        TaskCause.EXPIRED: _IS_KILLED,
        TaskCause.MISSING: _ENDS,
        TaskCause.EXECUTOR_ENDED: _ENDS,
    },
    Phase.RUNNING: {
        TaskCause.SAID: TaskStep(Phase.RUNNING, (TaskFollowUp.FORWARD,)),
        TaskCause.SAID_LAST: _IS_SAID,
        TaskCause.KILL: _IS_KILLED,
        TaskCause.SHUTDOWN: TaskStep(Phase.KILLING),
        TaskCause.EXPIRED: _IS_KILLED,
        TaskCause.EXECUTOR_ENDED: _ENDS,
    },
    Phase.KILLING: {
        TaskCause.SAID: TaskStep(Phase.KILLING, (TaskFollowUp.FORWARD,)),
        TaskCause.SAID_LAST: _IS_SAID,
        TaskCause.KILL: _IS_KILLED,
        TaskCause.SHUTDOWN: TaskStep(Phase.KILLING),
        TaskCause.MISSING: _ENDS,
        TaskCause.EXECUTOR_ENDED: _ENDS,
    },
    Phase.ENDED: {
        TaskCause.KILL: TaskStep(Phase.ENDED),
    },
    # Phases of a container.
    Phase.STARTING: {},
    Phase.ABORTING: {},
}


def task_step(phase: Phase, cause: TaskCause) -> TaskStep:
    """Look a step up; what the table does not have is refused and leaves the phase."""
    known = TASK_TABLE[phase].get(cause)
    return known if known is not None else TaskStep(phase, (TaskFollowUp.REFUSE,))
