"""One worker: a task that is a whole `celery worker`.

    LAUNCHED --answers--> UP --let go--> LEAVING --ends--> gone
        |________________________________^

A worker of any phase may be out of sight for a while, its agent being unreachable: then another takes its place, and if it
returns there is one too many for a moment. Its number is used again when it is known to be over, and with it its node name, so
that Flower does not fill up with names.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from mesolite.ids import AgentId, TaskId
from mesolite.protocol import TaskState

from .settings import NODE_HOST


class Phase(enum.Enum):
    """How far a worker is."""

    LAUNCHED = "launched"
    #: It has answered the broker's remote control.
    UP = "up"
    #: It was asked to end, finishes what runs, and takes nothing more.
    LEAVING = "leaving"


class Word(enum.Enum):
    """What an update says of a worker."""

    ALIVE = "alive"
    ENDING = "ending"
    #: It ran, or could not, and is over.
    ENDED = "ended"
    #: Somebody had it killed.
    KILLED = "killed"
    #: Over by no doing of its own.
    LOST = "lost"
    HIDDEN = "hidden"


WORD_OF_STATE: Final[Mapping[TaskState, Word]] = {
    TaskState.STAGING: Word.ALIVE,
    TaskState.STARTING: Word.ALIVE,
    TaskState.RUNNING: Word.ALIVE,
    TaskState.KILLING: Word.ENDING,
    TaskState.FINISHED: Word.ENDED,
    TaskState.FAILED: Word.ENDED,
    TaskState.ERROR: Word.ENDED,
    TaskState.KILLED: Word.KILLED,
    TaskState.DROPPED: Word.LOST,
    TaskState.GONE: Word.LOST,
    TaskState.GONE_BY_OPERATOR: Word.LOST,
    TaskState.UNKNOWN: Word.LOST,
    TaskState.UNREACHABLE: Word.HIDDEN,
}


class Worker(msgspec.Struct, kw_only=True):
    """What is known of one, and kept for the next life of the framework."""

    task_id: TaskId
    #: From 1; of no other that may live.
    number: int
    node: str
    agent_id: AgentId | None = None
    hostname: str = ""
    launched_ms: int
    #: When it was first said to run; None before.
    running_ms: int | None = None
    phase: Phase = Phase.LAUNCHED
    #: Its agent is unreachable.
    hidden: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is there to take tasks, or soon will be."""
        return self.phase is not Phase.LEAVING and not self.hidden

    def age_ms(self, now_ms: int) -> int:
        """For how long it has run."""
        return now_ms - self.running_ms if self.running_ms is not None else 0


def node_name(group: str, number: int) -> str:
    """What Celery and Flower call a worker."""
    return f"{group}-{number}@{NODE_HOST}"


def task_id(group: str, number: int, token: str) -> TaskId:
    """Name a worker's task; `token` is of no other task of the group."""
    return TaskId(f"{group}-{number}.{token}")


def number_of(group: str, named: TaskId) -> int | None:
    """Read the number out of a task's id; None where it is none of the group's workers."""
    head, _, rest = named.rpartition(".")
    name, _, number = head.rpartition("-")
    return int(number) if rest and name == group and number.isdecimal() and number.isascii() else None
