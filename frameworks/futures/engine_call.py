"""A call as the engine takes it, how it ends, and what the engine counts."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from mesolite.executors.python.calls import Function, Outcome, Payload
from mesolite.executors.python.wire import Options


@dataclass(frozen=True, slots=True)
class Lost:
    """The executor that had the call is over, and nobody knows how far the call came."""

    executor_id: str
    #: The executor said that it had begun; False: it may have begun nevertheless.
    begun: bool
    #: Why the executor is over, for people.
    reason: str


Ending: TypeAlias = Outcome | Lost


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a block store is; empty where its agent serves none to clients."""

    url: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Arguments that an agent is to keep."""

    #: Of the call.
    number: int
    #: Where the agent's store is, and what proves whose client asks.
    url: str
    token: str
    data: bytes
    #: What the block is called.
    block_id: str


class PoolCall:
    """One call. Made by the caller, then the engine's until it has ended.

    Args:
        function: What to call.
        arguments: `cloudpickle.dumps((args, kwargs))`.
        end: Told how it ended, exactly once, without any lock of the engine, from the engine's thread or from one that called the
            engine. Must not raise.
        claim: Asked once, before the call leaves for its first executor: whether it is still wanted. False forgets it without an
            end. Called under the engine's lock: must return at once and not call the engine.
        kind: Executors of the same kind may run it (`executor_up`).
        options: What is special about it.
        retries: How often it may be run again after it was lost or its worker died. One that certainly has not begun is
            always sent elsewhere.
    """

    #: Whether `begun` is to be told of calls of this class.
    hears_begun: ClassVar[bool] = False

    __slots__ = (
        "arguments",
        "claim",
        "claimed",
        "dropped",
        "end",
        "executor_id",
        "function",
        "kind",
        "number",
        "options",
        "retries",
    )

    def __init__(
        self,
        function: Function,
        arguments: Payload,
        end: Callable[["PoolCall", Ending], None],
        *,
        claim: Callable[[], bool] | None = None,
        kind: Hashable = None,
        options: Options | None = None,
        retries: int = 0,
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.end = end
        self.claim = claim
        self.kind = kind
        self.options = options
        #: How often it may still be run again.
        self.retries = retries
        #: Of its current try, in the engine's session; 0 while it waits.
        self.number = 0
        #: Who has it, or had it last; empty before anybody.
        self.executor_id = ""
        #: It was wanted when it left; from then on it has an end.
        self.claimed = claim is None
        #: It was cancelled while it waited; it is forgotten when its turn comes.
        self.dropped = False

    def begun(self) -> None:
        """A worker has it, and it is not known to be short: told where `hears_begun`, as `end` is, and before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """How a pool is doing."""

    #: Calls that no executor has yet.
    waiting: int
    #: Calls that executors have.
    given: int
    #: Of these, known to run; short ones are not reported.
    begun: int
    #: Executors that said who they are.
    executors: int
    #: Their workers.
    workers: int
    #: Calls that ended since the beginning, by `returned`, anything else, and lost.
    returned: int
    failed: int
    lost: int
