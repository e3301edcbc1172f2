"""What an executor does for its client: takes calls off the link, hands them to the runner, says how they ended.

One client at a time: the newest session of the framework (`session`). When a newer one speaks, calls of the old that have not
begun are cancelled. Those that have run on, and the newer session may attach to them by the names that the old one gave them; how
those ended that have a name is remembered for it, too (`ended_calls`).

A call is begun at most once: numbers on the link are taken once (`link`), and each number is one call. What becomes of what this
executor has taken, if the executor ends, is for the client to say.

This is a core: entries and time come in, entries go out. It never raises for what is in an entry.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from .calls import Call, CallRunner, End, Function, Outcome
from .ended_calls import EndedCalls
from .link import Frame, Link
from .session import session_order
from .wire import (
    Attach,
    BadEntry,
    Begun,
    Cancel,
    Define,
    Earlier,
    Ended,
    Envelope,
    ExecutorItem,
    Hello,
    Options,
    Returned,
    Run,
    Unknown,
    Workers,
    cut_body,
    decode_client_body,
    decode_envelope,
    encode_body,
    encode_envelope,
)

#: Functions that a client may have defined at once; it numbers them from 0 and uses numbers again.
MAX_FUNCTIONS: Final = 1024
#: Calls held, begun or not. A client sends a few thousand ahead (`frameworks/futures/engine_core`).
MAX_CALLS: Final = 100_000
#: How often an executor that no client has spoken to says who it is: at first, and at most.
HELLO_EVERY_MS: Final = 500
MAX_HELLO_EVERY_MS: Final = 15_000
#: Answers to clients that ask who is there, and ask again.
HELLO_AGAIN_MS: Final = 50
#: Complaints about entries that cannot be read: the first so many, for the log.
MAX_COMPLAINTS: Final = 20


class Service:
    """The state of the bond with the client.

    Args:
        hello: Who this executor is, and how many workers it has at first.
        runner: Runs calls.
        news: Called when there may be something to say that was not there before; asks for `take` soon.
    """

    def __init__(self, hello: Hello, runner: CallRunner, news: Callable[[], None]) -> None:
        self._hello: Final = hello
        self._session: Final = hello.container_id
        self._runner: Final = runner
        self._news: Final = news
        self._workers = hello.workers
        #: The newest session that spoke; empty before any.
        self._client = ""
        #: Counts sessions: part of each call's key, because numbers of two sessions may be the same.
        self._generation = 0
        self._link = Link()
        self._functions: dict[int, Function] = {}
        #: Calls of this session that have not ended, by number.
        self._calls: dict[int, Call] = {}
        #: Calls of earlier sessions that run on, by key.
        self._earlier: dict[object, Call] = {}
        #: Numbers in this session of those that it attached to, by key.
        self._attached: dict[object, int] = {}
        self._ends: Final = EndedCalls()
        #: When the client was last heard; and, for one that took over, the one before it.
        self._heard_ms = self._heard_before_ms = float("-inf")
        #: The time, as of the last word.
        self._now_ms = float("-inf")
        #: What is to be said, in order, for as long as the link's window is full.
        self._items: deque[ExecutorItem] = deque()
        #: When to say who this is; None where everybody knows.
        self._hello_due_ms: float | None = 0.0
        self._hello_pause_ms = HELLO_EVERY_MS
        self._last_hello_ms = float("-inf")
        #: Sums, for those who watch.
        self.succeeded = 0
        self.failed = 0
        self._complaints: list[str] = []

    @property
    def active(self) -> int:
        """Calls of clients that have not ended."""
        return len(self._calls) + len(self._earlier)

    @property
    def doubtful(self) -> bool:
        """Whether another connection to Redis should be tried: the client confirms nothing."""
        return self._link.doubtful

    @property
    def deadline_ms(self) -> float | None:
        """When `take` has something to say though nothing happened."""
        moments = (self._hello_due_ms, self._link.deadline_ms)
        return min((each for each in moments if each is not None), default=None)

    def workers_changed(self, workers: int) -> None:
        """There are so many workers now."""
        if workers != self._workers:
            self._workers = workers
            self._say(Workers(workers))

    def reconnected(self, now_ms: float) -> None:
        """Redis is another, or the same after an outage."""
        self._link.reconnected(now_ms)
        if not self._client:
            self._hello_due_ms = now_ms
        self._news()

    def take_complaints(self) -> list[str]:
        """Return what was wrong with entries since the last time, for the log."""
        complaints, self._complaints = self._complaints, []
        return complaints

    # In

    def hear(self, payloads: list[bytes], now_ms: float) -> None:
        """Take entries as they stand in the stream."""
        self._now_ms = now_ms
        calls: list[Call] = []
        for payload in payloads:
            try:
                self._hear_one(payload, calls, now_ms)
            except BadEntry as error:
                if len(self._complaints) < MAX_COMPLAINTS:
                    self._complaints.append(str(error))
        if calls:
            self._runner.submit(calls)
        self._news()

    def _hear_one(self, payload: bytes, calls: list[Call], now_ms: float) -> None:
        envelope = decode_envelope(payload)
        if envelope.receiver not in ("", self._session):
            return  # for an earlier life of an executor of this name
        if envelope.sender != self._client and not self._adopt(envelope.sender, calls):
            return
        self._heard_ms = now_ms
        if not envelope.receiver:
            self._asked_who(now_ms)
            return
        self._hello_due_ms = None
        if self._link.hear(envelope.number, envelope.confirmed, envelope.asks, len(envelope.body), now_ms):
            for item in decode_client_body(envelope.body):
                if type(item) is Run:
                    self._run(item, calls)
                elif type(item) is Define:
                    self._define(item)
                elif type(item) is Cancel:
                    self._cancel(item, calls)
                elif type(item) is Attach:
                    self._attach(item)

    def _adopt(self, session: str, calls: list[Call]) -> bool:
        """Follow a session, if it is newer than the one followed so far."""
        order = session_order(session)
        if order is None:
            raise BadEntry("a sender that is no client's session")
        known = session_order(self._client)
        if known is not None and order < known:
            return False
        for call in calls:
            # Taken in this very batch from the old one, and not handed on yet: they begin nowhere.
            self._calls.pop(_first_number_of(call), None)
        calls.clear()
        old, self._calls = self._calls, {}
        self._attached.clear()
        self._earlier.update((call.key, call) for call in old.values())
        for call in old.values():
            self._runner.cancel(call.key, kill=False)
        self._heard_before_ms = self._heard_ms
        self._client = session
        self._generation += 1
        self._link = Link()
        self._functions.clear()
        self._items.clear()
        self._items += [Workers(self._workers), Earlier(len(self._earlier))]
        return True

    def _attach(self, item: Attach) -> None:
        number, name = item
        if number in self._calls:
            return
        call = next((each for each in self._earlier.values() if each.name == name), None)
        if call is not None:
            del self._earlier[call.key]
            self._attached[call.key] = number
            self._calls[number] = call
            self._say(Begun(number))
            self._say(Earlier(len(self._earlier)))
        elif (outcome := self._ends.get(name)) is not None:
            self._say(Ended(number, outcome))
        else:
            self._say(Unknown(number, self._ends.settled(self._heard_before_ms)))

    def _asked_who(self, now_ms: float) -> None:
        self._hello_due_ms = max(now_ms, self._last_hello_ms + HELLO_AGAIN_MS)
        self._hello_pause_ms = HELLO_EVERY_MS

    def _define(self, item: Define) -> None:
        if not 0 <= item.function_id < MAX_FUNCTIONS:
            return  # calls of it are answered
        if item.digest:
            self._functions[item.function_id] = Function(item.digest, item.pickled)
        else:
            self._functions.pop(item.function_id, None)

    def _run(self, item: Run, calls: list[Call]) -> None:
        number, function_id, arguments, options = item
        function = self._functions.get(function_id)
        if function is None:
            message = f"the client never said what its function {function_id} is; this is a fault of Mesolite"
            self._say(Ended(number, Outcome(End.UNPICKLABLE, message=message, begun=False)))
            return
        if len(self._calls) >= MAX_CALLS or number in self._calls:
            self._say(Ended(number, Outcome(End.REFUSED, message="too many calls wait here", begun=False)))
            return
        key = (self._generation, number)
        call = Call(key, function, arguments, self._ended, self._begun, str(number))
        if options is not None:
            _set_options(call, options)
        self._calls[number] = call
        calls.append(call)

    def _cancel(self, item: Cancel, calls: list[Call]) -> None:
        call = self._calls.get(item.number)
        if call is None:
            return
        if call in calls:
            # It came in this very batch; the runner cancels only what it has.
            self._runner.submit(calls)
            calls.clear()
        self._runner.cancel(call.key, kill=item.kill)

    # From the runner

    def _begun(self, call: Call) -> None:
        number = self._number_of(call)
        if number is not None:
            self._say(Begun(number))

    def _ended(self, call: Call, outcome: Outcome) -> None:
        if outcome.end is End.RETURNED:
            self.succeeded += 1
        elif outcome.begun:
            self.failed += 1
        number = self._number_of(call)
        self._keep_end(call, outcome)
        if number is None:
            if self._earlier.pop(call.key, None) is not None:
                self._say(Earlier(len(self._earlier)))
            return
        del self._calls[number]
        self._attached.pop(call.key, None)
        if outcome.end is End.RETURNED and not outcome.message and not outcome.peak_bytes:
            self._say(Returned(number, outcome.payload, outcome.ran_us))
        else:
            self._say(Ended(number, outcome))

    def _keep_end(self, call: Call, outcome: Outcome) -> None:
        """Remember how a call ended that has a name; one that did not begin here may have begun elsewhere since."""
        if outcome.begun and call.name != str(_first_number_of(call)):
            self._ends.keep(call.name, outcome, self._now_ms)

    def _number_of(self, call: Call) -> int | None:
        """What the client that is followed knows this call by; None where it is none of its."""
        number = self._attached.get(call.key, _first_number_of(call))
        return number if self._calls.get(number) is call else None

    def _say(self, item: ExecutorItem) -> None:
        if self._client:
            self._items.append(item)
            self._news()

    # Out

    def take(self, now_ms: float) -> list[bytes]:
        """Return the entries to append to the results now."""
        self._now_ms = now_ms
        entries: list[bytes] = []
        if self._hello_due_ms is not None and now_ms >= self._hello_due_ms:
            entries.append(self._say_hello(now_ms))
        if not self._client:
            return entries
        frames = self._link.again(now_ms)
        while self._items and self._link.has_room:
            items = cut_body(self._items)
            frames.append(self._link.say(encode_body(items), now_ms))
        confirmation = self._link.confirmation(now_ms)
        if confirmation is not None:
            frames.append(confirmation)
        return [*entries, *(self._entry(frame) for frame in frames)]

    def check(self) -> None:
        """Assert its invariants."""
        self._link.check()
        self._ends.check()
        assert self._attached.keys() <= {call.key for call in self._calls.values()}
        assert not self._earlier.keys() & {call.key for call in self._calls.values()}
        assert self._client or not (self._calls or self._items or self._functions), "without a client there is nothing"
        assert len(self._calls) <= MAX_CALLS
        assert len(self._functions) <= MAX_FUNCTIONS

    def _say_hello(self, now_ms: float) -> bytes:
        if self._client:
            self._hello_due_ms = None
        else:
            self._hello_due_ms = now_ms + self._hello_pause_ms
            self._hello_pause_ms = min(2 * self._hello_pause_ms, MAX_HELLO_EVERY_MS)
        self._last_hello_ms = now_ms
        body = encode_body([self._hello._replace(workers=self._workers, earlier=len(self._earlier))])
        return encode_envelope(Envelope(self._session, self._client, 0, 0, False, body))

    def _entry(self, frame: Frame) -> bytes:
        return encode_envelope(Envelope(self._session, self._client, *frame))


def _first_number_of(call: Call) -> int:
    """The number of a call in the session that sent it: keys are made here."""
    key = call.key
    assert isinstance(key, tuple)
    number: int = key[1]
    return number


def _set_options(call: Call, options: Options) -> None:
    call.name = options.name or call.name
    call.timeout_ms = options.timeout_ms
    call.mem_bytes = options.mem_bytes
    if options.by_reference_from is not None:
        call.by_reference_from = options.by_reference_from
    call.environment = dict(options.environment)
