"""One executor as its client sees it: the link to it, what it has, and how much more it is to be given.

How much: enough that its workers never wait for the way to the client and back, a millisecond or several under load, and little
enough that long calls are spread evenly over executors, even over those that are yet to come. So an executor gets a call for each
idle worker, and beyond that calls worth `AHEAD_US` of work for each. How long a call takes is learnt for each function.
"""

from collections import OrderedDict, deque
from typing import Final

from mesolite.executors.python.calls import Function, Payload
from mesolite.executors.python.link import Link
from mesolite.executors.python.service import MAX_FUNCTIONS
from mesolite.executors.python.wire import (
    Cancel,
    ClientItem,
    Define,
    Envelope,
    Hello,
    Run,
    cut_body,
    encode_body,
    encode_envelope,
    payload_bytes,
)

from .engine_call import PoolCall, StorePlace, Upload

#: Work that is sent ahead of each worker.
AHEAD_US: Final = 20_000
#: However short calls are, not more of them are sent ahead of a worker.
MAX_AHEAD: Final = 1024
#: Arguments that wait for a link's window; beyond it nothing more is given.
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
#: Functions that an executor keeps for us, in bytes; the longest unused are forgotten.
MAX_FUNCTION_BYTES: Final = 64 * 1024 * 1024
#: An executor that refused a call gets none for so long: it is ending, or others filled it.
REST_MS: Final = 500
#: How often an executor that does not say who it is is asked.
ASK_EVERY_MS: Final = 250
MAX_ASK_EVERY_MS: Final = 5_000


class Given:
    """A call that an executor has."""

    __slots__ = ("begun", "call", "estimate_us", "held", "recalled", "said", "unwanted", "upload")

    def __init__(self, call: PoolCall, estimate_us: int) -> None:
        self.call: Final = call
        #: What it was thought to take.
        self.estimate_us: Final = estimate_us
        #: It has left for the executor.
        self.said = False
        #: The executor said that a worker has it.
        self.begun = False
        #: It was asked back, unless it has begun.
        self.recalled = False
        #: Its caller wants it no more.
        self.unwanted = False
        #: Nothing is said of it before its arguments are with the agent.
        self.held = False
        #: Its arguments go, or went, to the agent's block store.
        self.upload: Upload | None = None


class ExecutorEnd:
    """The client's end of the bond with one executor."""

    def __init__(self, executor_id: str) -> None:
        self.executor_id: Final = executor_id
        #: Whose calls it runs; set with `announced`.
        self.kind: object = None
        #: The framework knows it.
        self.announced = False
        #: What it said of itself; None before.
        self.hello: Hello | None = None
        self.workers = 0
        #: It is to get no more calls.
        self.draining = False
        #: It refused a call: it gets none before this moment, or before it says how many workers it has.
        self.rests_until_ms: float | None = None
        self._link = Link()
        #: What it has, by number.
        self.given: dict[int, Given] = {}
        #: Calls of earlier lives of the client that its workers run, beside these.
        self.earlier = 0
        #: How many it had and has no more.
        self.ended = 0
        #: The sum of their estimates.
        self.load_us = 0
        #: What is to be said to it, in order.
        self._items: deque[ClientItem] = deque()
        self._waiting_bytes = 0
        #: The functions it knows, by digest, the longest unused first: number and size.
        self._functions: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._function_bytes = 0
        self._free_ids: list[int] = list(range(MAX_FUNCTIONS - 1, -1, -1))
        #: When to ask it who it is; None where that is known.
        self._ask_due_ms: float | None = None
        self._ask_pause_ms = ASK_EVERY_MS

    @property
    def session(self) -> str:
        """Its life; empty before it said anything."""
        return "" if self.hello is None else self.hello.container_id

    @property
    def store(self) -> StorePlace | None:
        """Where the block store of its agent is, as it said."""
        return None if self.hello is None else StorePlace(self.hello.blocks_url, self.hello.blocks_token)

    @property
    def has_room(self) -> bool:
        """Whether it is to be given another call now."""
        workers, given = self.workers, self.busy
        if not self.announced or self.draining or self.rests_until_ms is not None or self.hello is None:
            return False
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            return False
        return given < workers or (self.load_us < AHEAD_US * workers and given < MAX_AHEAD * workers)

    @property
    def busy(self) -> int:
        """How many calls it has, whoever gave them."""
        return len(self.given) + self.earlier

    @property
    def fullness(self) -> float:
        """How it compares with others that have room: below 1 while workers are idle."""
        given = self.busy
        return given / self.workers if given < self.workers else 1 + self.load_us / self.workers

    @property
    def waits(self) -> bool:
        """Whether something is to be said to it that may be said now."""
        return bool(self._items) and self._link.has_room and self.hello is not None

    @property
    def waiting_items(self) -> int:
        """How much is to be said to it."""
        return len(self._items)

    @property
    def doubtful(self) -> bool | None:
        """Whether it confirms nothing, so that another connection to Redis should be tried; None where it need not."""
        return self._link.doubtful if self._link.unconfirmed else None

    @property
    def deadline_ms(self) -> float | None:
        """When `take` has something to say though nothing happened."""
        moments = (self._ask_due_ms, self._link.deadline_ms, self.rests_until_ms)
        return min((each for each in moments if each is not None), default=None)

    def ask(self, now_ms: float) -> None:
        """Ask who it is, where that is not known, until it answers."""
        if self.hello is None:
            self._ask_due_ms = now_ms

    def met(self, hello: Hello) -> None:
        """It said who it is."""
        self.hello = hello
        self.workers = hello.workers
        self.earlier = hello.earlier
        self._ask_due_ms = None

    def reconnected(self, now_ms: float) -> None:
        """Redis is another, or the same after an outage."""
        self._link.reconnected(now_ms)
        self.ask(now_ms)

    def hear(self, envelope: Envelope, now_ms: float) -> bool:
        """Take an envelope of its session; return whether the body is news."""
        return self._link.hear(envelope.number, envelope.confirmed, envelope.asks, len(envelope.body), now_ms)

    def give(self, number: int, call: PoolCall, estimate_us: int) -> None:
        """Give it a call, arguments included."""
        self.hold(number, call, estimate_us)
        self.run(number, call, call.arguments)

    def hold(self, number: int, call: PoolCall, estimate_us: int) -> Given:
        """Let a call be its, and say nothing of it yet."""
        given = self.given[number] = Given(call, estimate_us)
        call.executor_id = self.executor_id
        self.load_us += estimate_us
        return given

    def run(self, number: int, call: PoolCall, arguments: Payload) -> None:
        """Tell it to run a call that is its."""
        function = call.function
        known = self._functions.get(function.digest)
        if known is None:
            function_id = self._define(function)
        else:
            function_id = known[0]
            self._functions.move_to_end(function.digest)
        self._items.append(Run(number, function_id, arguments, call.options))
        self._waiting_bytes += payload_bytes(arguments)

    def say(self, item: ClientItem) -> None:
        """Have something said to it."""
        self._items.append(item)

    def refused(self, now_ms: float) -> None:
        """It did not take a call."""
        self.rests_until_ms = now_ms + REST_MS

    def returned(self, number: int) -> Given | None:
        """It has this call no more; None where it had not."""
        given = self.given.pop(number, None)
        if given is not None:
            self.ended += 1
            self.load_us -= given.estimate_us
        return given

    def recall(self, count: int) -> list[int]:
        """Ask back so many calls at most, the newest that may not have begun; return their numbers."""
        numbers: list[int] = []
        for number, given in reversed(self.given.items()):
            if len(numbers) == min(count, len(self.given) - self.workers):
                break
            if given.said and not (given.begun or given.recalled or given.unwanted):
                given.recalled = True
                self._items.append(Cancel(number, False))
                numbers.append(number)
        return numbers

    def take(self, session: str, now_ms: float) -> list[bytes]:
        """Return the entries to append to its calls now."""
        if self.rests_until_ms is not None and now_ms >= self.rests_until_ms:
            self.rests_until_ms = None
        entries: list[bytes] = []
        if self._ask_due_ms is not None and now_ms >= self._ask_due_ms:
            self._ask_due_ms = now_ms + self._ask_pause_ms
            self._ask_pause_ms = min(2 * self._ask_pause_ms, MAX_ASK_EVERY_MS)
            entries.append(encode_envelope(Envelope(session, "", 0, 0, False, b"")))
        if self.hello is None:
            return entries
        frames = self._link.again(now_ms)
        while self._items and self._link.has_room:
            frames.append(self._link.say(self._cut_body(), now_ms))
        confirmation = self._link.confirmation(now_ms)
        if confirmation is not None:
            frames.append(confirmation)
        receiver = self.session
        return [*entries, *(encode_envelope(Envelope(session, receiver, *frame)) for frame in frames)]

    def check(self) -> None:
        """Assert its invariants."""
        self._link.check()
        assert self.load_us == sum(each.estimate_us for each in self.given.values())
        assert self._function_bytes == sum(size for _, size in self._functions.values())
        assert len(self._functions) + len(self._free_ids) == MAX_FUNCTIONS
        unsaid = sum(payload_bytes(item.arguments) for item in self._items if isinstance(item, Run))
        assert self._waiting_bytes == unsaid

    def _cut_body(self) -> bytes:
        items = cut_body(self._items)
        for item in items:
            if type(item) is Run:
                self._waiting_bytes -= payload_bytes(item.arguments)
                given = self.given.get(item.number)
                if given is not None:
                    given.said = True
        return encode_body(items)

    def _define(self, function: Function) -> int:
        size_bytes = payload_bytes(function.pickled)
        while self._functions and (not self._free_ids or self._function_bytes + size_bytes > MAX_FUNCTION_BYTES):
            _, (old_id, old_bytes) = self._functions.popitem(last=False)
            self._function_bytes -= old_bytes
            self._free_ids.append(old_id)
            self._items.append(Define(old_id, b"", b""))
        function_id = self._free_ids.pop()
        self._functions[function.digest] = (function_id, size_bytes)
        self._function_bytes += size_bytes
        self._items.append(Define(function_id, function.digest, function.pickled))
        return function_id
