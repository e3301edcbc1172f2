"""The life of an executor on its agent, from the task that launches it to the end of its container.

The phases say what the agent waits for:

    LAUNCHING --------> REGISTERING --------> RUNNING <--------> REREGISTERING
        |  (a first          |  (it            |  (it hung up, or   |
        |   process runs)    |   subscribed)   |   the agent has a  |
        |                    |                 |   new life)        |
        |           overdue  |                 |  shut down         |  overdue
        |                    |                 v                    |
        |                    |              STOPPING                |
        |                    |                 |  its grace is over |
        |  shut down         v                 v                    |
        '---------------> ENDING <-------------'--------------------'
                             |
                             v
                           ENDED

Tasks are told to it in RUNNING alone, and wait in the phases before. In REREGISTERING its tasks run on as far as anybody
knows, and new ones wait. Whoever has not come back in time is ended, because nobody could end its tasks any more; an agent's
new life gives it less time than a broken connection, for then all of them come at once and none had anything to do but to
come.

STOPPING was asked to end, with its grace; ENDING has its container killed. Both keep their resources until the container is known
to be gone. ENDED waits for the master's acknowledgement and for the last of its tasks to be forgotten.

SUBSCRIBED may overtake STARTED: one comes from a socket, the other from a containerizer. ADOPTED and LOST are what recovery
finds: the container outlived the agent's last life, or did not. What is not in the table is REFUSED and leaves the phase.
"""

import enum
from typing import Final, NamedTuple


class ExecutorPhase(enum.Enum):
    """What the agent waits for."""

    LAUNCHING = "LAUNCHING"
    REGISTERING = "REGISTERING"
    RUNNING = "RUNNING"
    REREGISTERING = "REREGISTERING"
    STOPPING = "STOPPING"
    ENDING = "ENDING"
    ENDED = "ENDED"

    #: By identity, as they are compared; see `TaskState`.
    __hash__ = object.__hash__


class ExecutorCause(enum.Enum):
    """What happens to an executor."""

    PREPARING = "PREPARING"
    STARTED = "STARTED"
    SUBSCRIBED = "SUBSCRIBED"
    HUNG_UP = "HUNG_UP"
    SHUTDOWN = "SHUTDOWN"
    OVERDUE = "OVERDUE"
    ADOPTED = "ADOPTED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    EXITED = "EXITED"
    LOST = "LOST"

    __hash__ = object.__hash__


class ExecutorFollowUp(enum.Enum):
    """What the agent does about it."""

    #: Its tasks show as STARTING.
    SHOW_PREPARING = "SHOW_PREPARING"
    #: Give it the time to subscribe for the first time.
    AWAIT_REGISTRATION = "AWAIT_REGISTRATION"
    #: Give it the time to come back to a new life of the agent.
    AWAIT_REREGISTRATION = "AWAIT_REREGISTRATION"
    #: Give it the time to come back after its connection broke.
    AWAIT_RETURN = "AWAIT_RETURN"
    #: Tell it the tasks that wait, and the kills that it may not have heard.
    TELL_TASKS = "TELL_TASKS"
    TELL_SHUTDOWN = "TELL_SHUTDOWN"
    #: Give it its grace to end.
    AWAIT_END = "AWAIT_END"
    KILL_CONTAINER = "KILL_CONTAINER"
    #: End its tasks with it, give its resources back, and let the master know.
    CONCLUDE = "CONCLUDE"
    #: Nothing but a note.
    REFUSE = "REFUSE"


class ExecutorStep(NamedTuple):
    """One line of the table."""

    phase: ExecutorPhase
    follow_ups: tuple[ExecutorFollowUp, ...] = ()


_REGISTERS: Final = ExecutorStep(ExecutorPhase.REGISTERING, (ExecutorFollowUp.AWAIT_REGISTRATION,))
_RUNS: Final = ExecutorStep(ExecutorPhase.RUNNING, (ExecutorFollowUp.TELL_TASKS,))
_RETURNS: Final = ExecutorStep(ExecutorPhase.REREGISTERING, (ExecutorFollowUp.AWAIT_REREGISTRATION,))
_IS_KILLED: Final = ExecutorStep(ExecutorPhase.ENDING, (ExecutorFollowUp.KILL_CONTAINER,))
_ENDS: Final = ExecutorStep(ExecutorPhase.ENDED, (ExecutorFollowUp.CONCLUDE,))

EXECUTOR_TABLE: Final[dict[ExecutorPhase, dict[ExecutorCause, ExecutorStep]]] = {
    ExecutorPhase.LAUNCHING: {
        ExecutorCause.PREPARING: ExecutorStep(ExecutorPhase.LAUNCHING, (ExecutorFollowUp.SHOW_PREPARING,)),
        ExecutorCause.STARTED: _REGISTERS,
        ExecutorCause.SUBSCRIBED: _RUNS,
        # Nobody is there who could be asked.
        ExecutorCause.SHUTDOWN: _IS_KILLED,
        # It was started, and the news of it was lost with the last life.
        ExecutorCause.ADOPTED: _REGISTERS,
        ExecutorCause.LAUNCH_FAILED: _ENDS,
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.REGISTERING: {
        ExecutorCause.SUBSCRIBED: _RUNS,
        ExecutorCause.SHUTDOWN: _IS_KILLED,
        ExecutorCause.OVERDUE: _IS_KILLED,
        ExecutorCause.ADOPTED: _REGISTERS,
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.RUNNING: {
        ExecutorCause.STARTED: ExecutorStep(ExecutorPhase.RUNNING),
        # On a new connection, before the end of the old one was noticed.
        ExecutorCause.SUBSCRIBED: _RUNS,
        ExecutorCause.HUNG_UP: ExecutorStep(ExecutorPhase.REREGISTERING, (ExecutorFollowUp.AWAIT_RETURN,)),
        ExecutorCause.SHUTDOWN: ExecutorStep(
            ExecutorPhase.STOPPING, (ExecutorFollowUp.TELL_SHUTDOWN, ExecutorFollowUp.AWAIT_END)
        ),
        ExecutorCause.ADOPTED: _RETURNS,
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.REREGISTERING: {
        ExecutorCause.STARTED: ExecutorStep(ExecutorPhase.REREGISTERING),
        ExecutorCause.SUBSCRIBED: _RUNS,
        # It is told when it comes; if it does not come within its grace it is killed.
        ExecutorCause.SHUTDOWN: ExecutorStep(ExecutorPhase.STOPPING, (ExecutorFollowUp.AWAIT_END,)),
        ExecutorCause.OVERDUE: _IS_KILLED,
        ExecutorCause.ADOPTED: _RETURNS,
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.STOPPING: {
        ExecutorCause.STARTED: ExecutorStep(ExecutorPhase.STOPPING),
        ExecutorCause.SUBSCRIBED: ExecutorStep(ExecutorPhase.STOPPING, (ExecutorFollowUp.TELL_SHUTDOWN,)),
        ExecutorCause.HUNG_UP: ExecutorStep(ExecutorPhase.STOPPING),
        ExecutorCause.SHUTDOWN: ExecutorStep(ExecutorPhase.STOPPING),
        ExecutorCause.OVERDUE: _IS_KILLED,
        ExecutorCause.ADOPTED: ExecutorStep(ExecutorPhase.STOPPING, (ExecutorFollowUp.AWAIT_END,)),
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.ENDING: {
        ExecutorCause.PREPARING: ExecutorStep(ExecutorPhase.ENDING),
        # The kill and the first process crossed. The kill is said again: a containerizer may have had nothing to kill yet.
        ExecutorCause.STARTED: _IS_KILLED,
        ExecutorCause.SUBSCRIBED: ExecutorStep(ExecutorPhase.ENDING),
        ExecutorCause.HUNG_UP: ExecutorStep(ExecutorPhase.ENDING),
        ExecutorCause.SHUTDOWN: ExecutorStep(ExecutorPhase.ENDING),
        ExecutorCause.ADOPTED: _IS_KILLED,
        ExecutorCause.LAUNCH_FAILED: _ENDS,
        ExecutorCause.EXITED: _ENDS,
        ExecutorCause.LOST: _ENDS,
    },
    ExecutorPhase.ENDED: {},
}

#: Phases in which no new task is taken.
CLOSING_PHASES: Final = frozenset({ExecutorPhase.STOPPING, ExecutorPhase.ENDING, ExecutorPhase.ENDED})


def executor_step(phase: ExecutorPhase, cause: ExecutorCause) -> ExecutorStep:
    """Look a step up; what the table does not have is refused and leaves the phase."""
    known = EXECUTOR_TABLE[phase].get(cause)
    return known if known is not None else ExecutorStep(phase, (ExecutorFollowUp.REFUSE,))
