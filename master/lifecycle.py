"""The life of a task as the master sees it.

    STAGING --> STARTING --> RUNNING --> KILLING --> a terminal state
       |            |           |           |            ^
       +------------+-----------+-----------+------------+
       |   (each may be skipped: an agent reports its newest state)
       v
    UNREACHABLE: from any non-terminal state when its agent is lost, and back to what the agent says when it returns

A report never moves a task backwards, because an agent resends what was not acknowledged while the task goes on. A task
holds resources in every state but the terminal ones and UNREACHABLE (reference 1.7, I5); so the master changes its books
exactly when `Step.releases` or `Step.reclaims` says so.
"""

from dataclasses import dataclass
from typing import Final

from mesolite.protocol import TERMINAL_STATES, TaskState

#: How far along a state is. A report moves a task only to a higher number.
_PROGRESS: Final = {
    TaskState.STAGING: 0,
    TaskState.STARTING: 1,
    TaskState.RUNNING: 2,
    TaskState.KILLING: 3,
    **dict.fromkeys(TERMINAL_STATES, 4),
}
_HOLDS: Final = frozenset({TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING})


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a task and of the resources it holds."""

    state: TaskState
    #: The task gives its resources back now.
    releases: bool = False
    #: The task, which held none, needs its resources charged again.
    reclaims: bool = False


def holds_resources(state: TaskState) -> bool:
    """Say whether a task in this state is charged for its resources."""
    return state in _HOLDS


def reported(current: TaskState, latest: TaskState) -> Step:
    """Move a task by its agent's report of its newest state.

    Args:
        current: The state in the master's books.
        latest: The newest state on the agent. UNREACHABLE and UNKNOWN are not an agent's to say and change nothing.
    """
    if current in TERMINAL_STATES or latest not in _PROGRESS:
        return Step(current)
    if current is TaskState.UNREACHABLE:
        return Step(latest, reclaims=latest in _HOLDS)
    if _PROGRESS[latest] <= _PROGRESS[current]:
        return Step(current)
    return Step(latest, releases=latest in TERMINAL_STATES)


def lost_sight(current: TaskState) -> Step:
    """Move a task whose agent became unreachable."""
    if current in TERMINAL_STATES or current is TaskState.UNREACHABLE:
        return Step(current)
    return Step(TaskState.UNREACHABLE, releases=True)


def ended_by_master(current: TaskState, final: TaskState) -> Step:
    """Move a task that the master knows to have ended, or never to have begun."""
    assert final in TERMINAL_STATES, f"{final} is not an end"
    if current in TERMINAL_STATES:
        return Step(current)
    return Step(final, releases=current in _HOLDS)
