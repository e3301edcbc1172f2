"""The states that an executor may report of a task, as a table, and why a task is in one.

                 +-------------------------------- an end ------------------------------+
                 |                                                                      v
    (launched) --+--> STARTING ----> RUNNING ----> KILLING ---- an end -------------> ended
                 |       |              |             ^
                 +-------+--------------+-------------+

A task goes forward only, over as many steps as it likes; it may repeat where it is, to say that it is healthy or how far it came.
FINISHED, FAILED, KILLED, ERROR and DROPPED are ends, and nothing follows an end: who reports twice, like a worker that finished
while it was being killed, has the first report stand.

STAGING, GONE, UNREACHABLE and the like are the agent's and the master's to say (reference 1.7 and X1).
"""

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.StrEnum):
    """What an executor may report of a task. It travels as it is written; `mesolite.TaskState` holds these and more."""

    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    DROPPED = "TASK_DROPPED"


#: Nothing follows one of these.
ENDS: Final = frozenset({State.FINISHED, State.FAILED, State.KILLED, State.ERROR, State.DROPPED})

#: What may be reported of a task whose last report was the key; None: that it was launched is all that is known.
FOLLOWS: Final[Mapping[State | None, frozenset[State]]] = {
    None: frozenset(State),
    State.STARTING: frozenset(State),
    State.RUNNING: frozenset(State) - {State.STARTING},
    State.KILLING: frozenset(State) - {State.STARTING, State.RUNNING},
    **{end: frozenset[State]() for end in ENDS},
}


class Reason(enum.StrEnum):
    """Why a task is in its state: Mesos's words (reference 1.7). An agent takes no others."""

    COMMAND_EXECUTOR_FAILED = "REASON_COMMAND_EXECUTOR_FAILED"
    CONTAINER_LAUNCH_FAILED = "REASON_CONTAINER_LAUNCH_FAILED"
    CONTAINER_LIMITATION = "REASON_CONTAINER_LIMITATION"
    CONTAINER_LIMITATION_DISK = "REASON_CONTAINER_LIMITATION_DISK"
    CONTAINER_LIMITATION_MEMORY = "REASON_CONTAINER_LIMITATION_MEMORY"
    CONTAINER_PREEMPTED = "REASON_CONTAINER_PREEMPTED"
    MAX_COMPLETION_TIME_REACHED = "REASON_MAX_COMPLETION_TIME_REACHED"
    EXECUTOR_REGISTRATION_TIMEOUT = "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
    EXECUTOR_REREGISTRATION_TIMEOUT = "REASON_EXECUTOR_REREGISTRATION_TIMEOUT"
    EXECUTOR_TERMINATED = "REASON_EXECUTOR_TERMINATED"
    FRAMEWORK_REMOVED = "REASON_FRAMEWORK_REMOVED"
    INVALID_OFFERS = "REASON_INVALID_OFFERS"
    RECONCILIATION = "REASON_RECONCILIATION"
    AGENT_DISCONNECTED = "REASON_AGENT_DISCONNECTED"
    AGENT_REMOVED = "REASON_AGENT_REMOVED"
    AGENT_REMOVED_BY_OPERATOR = "REASON_AGENT_REMOVED_BY_OPERATOR"
    AGENT_REREGISTERED = "REASON_AGENT_REREGISTERED"
    AGENT_RESTARTED = "REASON_AGENT_RESTARTED"
    AGENT_UNKNOWN = "REASON_AGENT_UNKNOWN"
    TASK_KILLED_DURING_LAUNCH = "REASON_TASK_KILLED_DURING_LAUNCH"
    TASK_GROUP_INVALID = "REASON_TASK_GROUP_INVALID"
    TASK_INVALID = "REASON_TASK_INVALID"
    TASK_UNAUTHORIZED = "REASON_TASK_UNAUTHORIZED"
    TASK_UNKNOWN = "REASON_TASK_UNKNOWN"
