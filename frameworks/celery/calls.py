"""What the dispatcher's pool asks of those who run tasks, and what it hears."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from mesolite.executors.celery.protocol import TaskRun
from mesolite.executors.python.calls import Outcome

from ..futures.engine_call import Lost
from ..futures.errors import CallError
from ..futures.options import Kind

#: Of a tag, which is a random UUID: enough to tell the messages of one task's id apart.
_TAG_LETTERS: Final = 8
#: Names of runs are ids of tasks and executors, and names of logs, which are short (executors/python/log_names.py); returns are
#: added.
_MAX_NAME_LENGTH: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*")
#: Of SHA-256, in hexadecimal: 128 bits, so that no two runs share a name.
_DIGEST_LETTERS: Final = 32

#: How a task's run ended: an outcome (RETURNED carries a pickled `TaskReport`), lost with its executor, or refused.
Ending: TypeAlias = Outcome | Lost | CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What a task is given (options.py says where it comes from)."""

    kind: Kind
    #: Hard limit of its run; None: none.
    max_time_s: float | None = None
    #: "worker": a warm worker of its shape. "task": a container of its own.
    isolation: str = "worker"


class Place(Protocol):
    """Where a run is or was."""

    @property
    def agent_id(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def executor_id(self) -> str: ...


class TaskCall(Protocol):
    """One run of one message's task. Its methods are called from any thread, and return at once."""

    @property
    def name(self) -> str:
        """Its Mesolite id: unique for each message and each time it is given to be run (`call_name`)."""
        ...

    @property
    def options(self) -> TaskOptions: ...

    @property
    def run(self) -> TaskRun: ...

    def begun(self, place: Place | None) -> None:
        """A worker has it. Not told of each that ends within milliseconds."""
        ...

    def ended(self, ending: Ending, place: Place | None) -> None:
        """It is over; told once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorView:
    """One executor, for `celery inspect stats` and people."""

    executor_id: str
    agent_id: str
    hostname: str
    #: Of its workers, or the one task.
    kind: Kind
    workers: int
    #: Calls that it has.
    calls: int
    cpus_milli: int
    mem_mib: int
    image: str | None


class Runner(Protocol):
    """Runs tasks: `warm.WarmRunner` in warm workers, `single.SingleRunner` each in a container of its own."""

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """Run these; each has its end told once."""
        ...

    def attach(self, calls: Sequence[TaskCall]) -> None:
        """Await the end of calls that an earlier life of this dispatcher gave away, by their names; nothing is started.

        What no living executor knows ends as `Lost` once all that may know it have spoken or are over.
        """
        ...

    def kill(self, name: str) -> None:
        """End a call, begun or not: its end comes as an outcome `CANCELLED`. Unknown names are ignored."""
        ...

    def withdraw(self, name: str) -> None:
        """End a call only if no worker has begun it: then its end comes as `CANCELLED`, not begun. Unknown names are ignored."""
        ...

    def executors(self) -> Sequence[ExecutorView]:
        """What there is now."""
        ...

    def close(self, *, leave_running: bool) -> None:
        """Let go of the cluster; with `leave_running` what runs goes on, for the next life to attach to."""
        ...


def call_name(task_id: str, delivery_tag: str, returns: int) -> str:
    """Name one run: `TASK_ID.TAG`, and `.N` after N returns to its queue; a retry is another message.

    Celery takes any text for a task's id and for a tag. What cannot be an id here or the name of a log is named by a digest.
    """
    name = f"{task_id}.{delivery_tag[:_TAG_LETTERS]}"
    if len(name) > _MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        text = f"{task_id}.{delivery_tag}".encode(errors="surrogatepass")
        name = f"celery-{hashlib.sha256(text).hexdigest()[:_DIGEST_LETTERS]}"
    return f"{name}.{returns}" if returns else name
