"""The life of a task on its agent.

A task's container goes through few observable moments, and may be told to end at each of them. The phases say what the
agent waits for:

    STAGING ---------> STARTING --------> RUNNING ------------------------.
       |  (something      |  (fetched,       |                             |
       |   is fetched)    |   it starts)     | kill, time limit            |
       | kill             | kill             v                             |
       '------> ABORTING <'             KILLING ----------------------.    |
                    |  started anyway      ^                          |    |
                    +----------------------'                          v    v
                    '----------------------------------------------> ENDED

A kill decides nothing by itself: the task keeps its resources until its container says that it is gone, because giving
them away earlier would over-commit the machine. So ABORTING and KILLING still wait for the container. They differ in what
an end without a single executed instruction is called (KILLED during launch), and both show as TASK_KILLING.

ENDED means that the last word is spoken and waits for its acknowledgement, after which the task is forgotten.

Whatever is not in the table cannot come from a sound containerizer or master, or comes twice: the phase stays, and the
follow-up is REFUSE. A kill of a task that ended is no such case: the framework could not know yet.

LOST is what recovery finds: the checkpoint knows the container and the containerizer does not, so it ended unseen.

SENT is for tasks of executors, whose life has a table of its own (`executor_task_lifecycle.py`).
"""

import enum
from typing import Final, NamedTuple

from mesolite.protocol import TaskState


class Phase(enum.Enum):
    """What the agent waits for."""

    STAGING = "STAGING"
    STARTING = "STARTING"
    SENT = "SENT"
    RUNNING = "RUNNING"
    ABORTING = "ABORTING"
    KILLING = "KILLING"
    ENDED = "ENDED"

    #: By identity, as they are compared; see `TaskState`.
    __hash__ = object.__hash__


class Cause(enum.Enum):
    """What happens to a task."""

    PREPARING = "PREPARING"
    STARTED = "STARTED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    EXITED = "EXITED"
    KILL = "KILL"
    EXPIRED = "EXPIRED"
    LOST = "LOST"


class FollowUp(enum.Enum):
    """What the agent does about it."""

    #: Queue an update with the new phase's state.
    REPORT = "REPORT"
    #: Begin to count the max completion time.
    ARM_TIME_LIMIT = "ARM_TIME_LIMIT"
    KILL_CONTAINER = "KILL_CONTAINER"
    #: Queue the terminal update and give the resources back.
    CONCLUDE = "CONCLUDE"
    #: Nothing but a note.
    REFUSE = "REFUSE"


class Step(NamedTuple):
    """One line of the table."""

    phase: Phase
    follow_ups: tuple[FollowUp, ...]


_STARTS: Final = Step(Phase.RUNNING, (FollowUp.REPORT, FollowUp.ARM_TIME_LIMIT))
_ENDS: Final = Step(Phase.ENDED, (FollowUp.CONCLUDE,))
_ABORTS: Final = Step(Phase.ABORTING, (FollowUp.REPORT, FollowUp.KILL_CONTAINER))
_IS_KILLED: Final = Step(Phase.KILLING, (FollowUp.REPORT, FollowUp.KILL_CONTAINER))

TABLE: Final[dict[Phase, dict[Cause, Step]]] = {
    Phase.STAGING: {
        Cause.PREPARING: Step(Phase.STARTING, (FollowUp.REPORT,)),
        Cause.STARTED: _STARTS,
        Cause.LAUNCH_FAILED: _ENDS,
        Cause.EXITED: _ENDS,
        Cause.KILL: _ABORTS,
        Cause.LOST: _ENDS,
    },
    Phase.STARTING: {
        Cause.STARTED: _STARTS,
        Cause.LAUNCH_FAILED: _ENDS,
        Cause.EXITED: _ENDS,
        Cause.KILL: _ABORTS,
        Cause.LOST: _ENDS,
    },
    Phase.RUNNING: {
        Cause.EXITED: _ENDS,
        Cause.KILL: _IS_KILLED,
        Cause.EXPIRED: _IS_KILLED,
        Cause.LOST: _ENDS,
    },
    Phase.ABORTING: {
        # The kill and the first process crossed. The kill is said again: a containerizer may have had nothing to kill yet.
        Cause.STARTED: Step(Phase.KILLING, (FollowUp.KILL_CONTAINER,)),
        Cause.PREPARING: Step(Phase.ABORTING, ()),
        Cause.LAUNCH_FAILED: _ENDS,
        Cause.EXITED: _ENDS,
        Cause.KILL: Step(Phase.ABORTING, (FollowUp.KILL_CONTAINER,)),
        Cause.LOST: _ENDS,
    },
    Phase.KILLING: {
        Cause.EXITED: _ENDS,
        Cause.KILL: Step(Phase.KILLING, (FollowUp.KILL_CONTAINER,)),
        Cause.LOST: _ENDS,
    },
    Phase.ENDED: {
        Cause.KILL: Step(Phase.ENDED, ()),
    },
    # No phase of a container.
    Phase.SENT: {},
}

#: How a phase shows to the framework. ENDED shows as whatever its terminal update says.
SHOWN_STATES: Final[dict[Phase, TaskState]] = {
    Phase.STAGING: TaskState.STAGING,
    Phase.STARTING: TaskState.STARTING,
    Phase.SENT: TaskState.STAGING,
    Phase.RUNNING: TaskState.RUNNING,
    Phase.ABORTING: TaskState.KILLING,
    Phase.KILLING: TaskState.KILLING,
}


def step(phase: Phase, cause: Cause) -> Step:
    """Look a step up; what the table does not have is refused and leaves the phase."""
    known = TABLE[phase].get(cause)
    return known if known is not None else Step(phase, (FollowUp.REFUSE,))
