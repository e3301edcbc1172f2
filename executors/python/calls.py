"""What a call is to the Python executor, however it came: as a Mesolite task, or over the pool's stream.

Bytes are opaque here: `function` and `arguments` are pickled by the caller (cloudpickle, protocol 5) and unpickled in the worker
process that runs the call, nowhere else. Standard library only: this runs inside containers.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias


class End(enum.IntEnum):
    """How a call ended. The number travels."""

    #: The function returned; the payload is the pickled value.
    RETURNED = 0
    #: The function raised; the payload is `codec.pack_raised`: the pickled exception or None, type name, message, traceback text.
    #: (The exception is pickled apart, so that one that the caller cannot unpickle does not take its texts with it.)
    RAISED = 1
    #: The worker process ended under it: `os._exit`, a signal, a crash. The message says which.
    DIED = 2
    #: It went over its memory limit; `limit_bytes` and `peak_bytes` say by how much.
    OUT_OF_MEMORY = 3
    #: It ran longer than its time limit.
    TIMED_OUT = 4
    #: It was cancelled: before it began (`begun` False), or killed.
    CANCELLED = 5
    #: The function, an argument or the result cannot be pickled or unpickled in the worker; the message names which and where.
    UNPICKLABLE = 6
    #: The result is larger than the executor may return; the message names the setting.
    TOO_LARGE = 7
    #: A block that the call refers to cannot be had.
    BLOCK_LOST = 8
    #: The executor is shutting down, or has no worker any more, and did not begin it: it may be sent elsewhere.
    REFUSED = 9


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Bytes that lie in an agent's block store instead of travelling along."""

    block_id: str
    size_bytes: int
    #: Where it can be had over HTTP from other hosts; empty: from the executor's own agent.
    url: str = ""


Payload: TypeAlias = bytes | BlockRef


@dataclass(frozen=True, slots=True)
class Function:
    """A function that was sent. Two are the same where their digests are."""

    #: SHA-256 of the pickled bytes, the first 16.
    digest: bytes
    pickled: Payload


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one end of a call."""

    end: End
    #: See `End`; empty where it says nothing.
    payload: Payload = b""
    #: For people; empty where the payload says all.
    message: str = ""
    #: The function had begun, or may have.
    begun: bool = True
    #: How long it ran.
    ran_us: int = 0
    limit_bytes: int = 0
    peak_bytes: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """One call on its way through the executor."""

    #: What its sender knows it by; unique among the living.
    key: object
    function: Function
    #: `cloudpickle.dumps((args, kwargs))`.
    arguments: Payload
    #: Called once, from the main loop, with the end.
    done: Callable[["Call", Outcome], None]
    #: Called from the main loop when it is handed to a worker and is not known to be short.
    begun: Callable[["Call"], None] | None = None
    #: Its log in the sandbox is `calls/NAME.log` (log_names.py); empty: a number is given.
    name: str = ""
    #: Milliseconds that it may run; None: as long as it takes.
    timeout_ms: int | None = None
    #: What its worker may hold beyond a bare interpreter; None: the executor's share for each.
    mem_bytes: int | None = None
    #: Results from here on go to the block store, if there is one.
    by_reference_from: int = 65_536
    environment: dict[str, str] = field(default_factory=dict[str, str])


class CallRunner(Protocol):
    """Runs calls in worker processes. Used from the main loop's thread only."""

    @property
    def workers(self) -> int:
        """Worker processes that there are to be."""
        ...

    @property
    def waiting(self) -> int:
        """Calls taken that no worker has begun."""
        ...

    def submit(self, calls: list[Call]) -> None:
        """Take calls; each ends by its `done`, in any order. Never raises for what is in them."""
        ...

    def cancel(self, key: object, *, kill: bool) -> None:
        """End a call that has not begun; with `kill` also one that has, by ending its worker. Unknown keys are ignored."""
        ...


#: Python's pickle protocol between callers and workers.
PICKLE_PROTOCOL: Final = 5
