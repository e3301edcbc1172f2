"""A client and its executors over streams that lose, repeat and forget: each call ends once, and begins at most once.

Method: the client's core and the services of two executors, with runners that do what the test says, over streams of a Redis
that hypothesis fails over (entries vanish from the end, or come again). Executors die and are replaced, the client dies and is
replaced. Begun calls are counted where they begin.

Safety, after every step: the invariants of both ends; no call begins more often than it may.
Liveness, at the end: when executors run what they have and the streams work, every call of the living client has had one end.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesolite.executors.python.calls import Call, End, Function, Outcome
from mesolite.executors.python.service import Service
from mesolite.executors.python.session import session_name
from mesolite.executors.python.wire import Hello
from mesolite.frameworks.futures.engine_call import Ending, Lost, PoolCall
from mesolite.frameworks.futures.engine_core import EngineCore

SLOTS: Final = st.integers(0, 1)
FUNCTIONS: Final = [Function(bytes([number]) * 16, b"pickled") for number in range(3)]
PEACE_MS: Final = 120_000


class StepRunner:
    """Runs calls when it is told to."""

    def __init__(self, began: Callable[[Call], None]) -> None:
        self.workers = 2
        self._began = began
        self.queue: list[Call] = []
        self.running: list[Call] = []

    @property
    def waiting(self) -> int:
        """Calls that no worker has begun."""
        return len(self.queue)

    def submit(self, calls: list[Call]) -> None:
        """Take calls."""
        self.queue.extend(calls)

    def cancel(self, key: object, *, kill: bool) -> None:
        """End a call."""
        for held, begun in ((self.queue, False), (self.running, True)):
            for call in held:
                if call.key == key and (kill or not begun):
                    held.remove(call)
                    call.done(call, Outcome(End.CANCELLED, begun=begun))
                    return

    def begin(self) -> None:
        """Let a free worker begin the next."""
        if self.queue and len(self.running) < self.workers:
            call = self.queue.pop(0)
            self._began(call)
            self.running.append(call)
            if call.begun is not None:
                call.begun(call)

    def finish(self, end: End) -> None:
        """Let the oldest running call end."""
        if self.running:
            call = self.running.pop(0)
            call.done(call, Outcome(end, b"x" if end is End.RETURNED else b"", ran_us=100))

    def refuse(self) -> None:
        """Give back what was not begun."""
        queue, self.queue = self.queue, []
        for call in queue:
            call.done(call, Outcome(End.REFUSED, begun=False))


class Stream:
    """One stream and its one reader."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.position = 0

    def append(self, entries: list[bytes]) -> None:
        """Append."""
        self.entries.extend(entries)

    def read(self) -> list[bytes]:
        """Read what is new."""
        found = self.entries[self.position :]
        self.position = len(self.entries)
        return found

    def forget(self, count: int) -> None:
        """Lose the newest entries, which may have been read."""
        del self.entries[max(0, len(self.entries) - count) :]
        self.position = min(self.position, len(self.entries))

    def reread(self) -> None:
        """Let the reader begin from the beginning."""
        self.position = 0


class Executor:
    """One life of an executor."""

    def __init__(self, slot: int, life: int, began: Callable[[Call], None]) -> None:
        self.executor_id = f"e{slot}-{life}"
        self.runner = StepRunner(began)
        self.calls = Stream()
        hello = Hello(self.executor_id, "agent", f"c{slot}-{life}", "3.11", 2)
        self.service = Service(hello, self.runner, lambda: None)


class PoolMachine(RuleBasedStateMachine):
    """One framework."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0.0
        self.lives = 0
        self.results = Stream()
        #: By arguments, which name the call.
        self.begun: Counter[bytes] = Counter()
        self.allowed: dict[bytes, int] = {}
        self.endings: dict[bytes, list[Ending]] = {}
        self.calls: list[PoolCall] = []
        self.unwanted: set[bytes] = set()
        self.submitted = 0
        self.start_client()
        self.executors = [self.start_executor(slot) for slot in (0, 1)]
        # They know each other, so that few steps suffice to lose something that matters.
        for _ in range(3):
            self.turn()

    def start_client(self) -> None:
        """A new life of the client; what the old one waited for is nobody's."""
        self.lives += 1
        self.core = EngineCore()
        self.core.named(session_name(f"{self.lives}-0", "0123456789ab"), self.now_ms)
        self.calls, self.endings = [], {}

    def start_executor(self, slot: int) -> Executor:
        """A new executor, of which the framework tells the engine."""
        self.lives += 1
        executor = Executor(slot, self.lives, self.note_begun)
        self.core.executor_up(executor.executor_id, None, self.now_ms)
        return executor

    def note_begun(self, call: Call) -> None:
        """A worker has this call."""
        assert isinstance(call.arguments, bytes)
        self.begun[call.arguments] += 1

    def note_end(self, call: PoolCall, ending: Ending) -> None:
        """A call ended."""
        assert isinstance(call.arguments, bytes)
        self.endings.setdefault(call.arguments, []).append(ending)

    def is_wanted(self, name: bytes) -> bool:
        """Nobody has cancelled it."""
        return name not in self.unwanted

    def turn(self) -> None:
        """Let everybody write and read once."""
        self.client_writes()
        for executor in self.executors:
            self.executor_reads(executor)
            self.executor_writes(executor)
        self.client_reads()

    def client_writes(self) -> None:
        """What the client has to say is appended."""
        self.core.tick(self.now_ms)
        for executor_id, entry in self.core.take(self.now_ms):
            for executor in self.executors:
                if executor.executor_id == executor_id:
                    executor.calls.append([entry])

    def client_reads(self) -> None:
        """The client reads what is new."""
        self.core.hear(self.results.read(), self.now_ms)
        self.tell()

    def executor_reads(self, executor: Executor) -> None:
        """An executor reads what is new."""
        executor.service.hear(executor.calls.read(), self.now_ms)

    def executor_writes(self, executor: Executor) -> None:
        """What an executor has to say is appended."""
        self.results.append(executor.service.take(self.now_ms))

    def tell(self) -> None:
        """Tell ends."""
        for call, ending in self.core.take_endings():
            call.end(call, ending)

    @rule(count=st.integers(1, 8), function=st.sampled_from(FUNCTIONS), retries=st.integers(0, 1))
    def submit(self, count: int, function: Function, retries: int) -> None:
        """The client submits calls."""
        calls: list[PoolCall] = []
        for _ in range(count):
            self.submitted += 1
            name = b"%d" % self.submitted
            self.allowed[name] = 1 + retries
            claim = partial(self.is_wanted, name)
            calls.append(PoolCall(function, name, self.note_end, claim=claim, retries=retries))
        self.calls += calls
        self.core.submit(calls)

    @rule()
    def exchange(self) -> None:
        """Everybody writes and reads."""
        self.turn()

    @rule(slot=SLOTS, what=st.sampled_from(["client writes", "client reads", "executor reads", "executor writes"]))
    def exchange_a_part(self, slot: int, what: str) -> None:
        """Somebody writes or reads, and then anything may happen."""
        match what:
            case "client writes":
                self.client_writes()
            case "client reads":
                self.client_reads()
            case "executor reads":
                self.executor_reads(self.executors[slot])
            case _:
                self.executor_writes(self.executors[slot])

    @rule(slot=SLOTS)
    def begin(self, slot: int) -> None:
        """A worker begins a call."""
        self.executors[slot].runner.begin()

    @rule(slot=SLOTS, end=st.sampled_from([End.RETURNED, End.RETURNED, End.RAISED, End.DIED]))
    def finish(self, slot: int, end: End) -> None:
        """A worker ends a call."""
        self.executors[slot].runner.finish(end)

    @rule(slot=SLOTS)
    def refuse(self, slot: int) -> None:
        """An executor gives back what it did not begin."""
        self.executors[slot].runner.refuse()

    @rule(slot=SLOTS, workers=st.integers(0, 3))
    def change_workers(self, slot: int, workers: int) -> None:
        """Slots come and go."""
        self.executors[slot].runner.workers = workers
        self.executors[slot].service.workers_changed(workers)

    @rule(slot=SLOTS, draining=st.booleans())
    def drain(self, slot: int, draining: bool) -> None:
        """The framework wants to give one back, or not any more."""
        self.core.drain(self.executors[slot].executor_id, draining=draining)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 1_000), kill=st.booleans())
    def cancel(self, which: int, kill: bool) -> None:
        """The caller does not want one any more."""
        call = self.calls[which % len(self.calls)]
        assert isinstance(call.arguments, bytes)
        if call.arguments not in self.endings and self.core.cancel(call, kill=kill):
            self.unwanted.add(call.arguments)
        self.tell()

    @rule(slot=SLOTS)
    def replace_executor(self, slot: int) -> None:
        """An executor dies with what it has; the framework learns of it, and launches another."""
        dead = self.executors[slot]
        self.core.executor_over(dead.executor_id, "killed")
        self.executors[slot] = self.start_executor(slot)
        self.tell()

    @rule()
    def replace_client(self) -> None:
        """The client dies; another takes over its executors."""
        self.start_client()
        for executor in self.executors:
            self.core.executor_up(executor.executor_id, None, self.now_ms)

    @rule(count=st.integers(1, 6), slot=st.integers(-1, 1))
    def fail_over(self, count: int, slot: int) -> None:
        """Another Redis, which lacks the newest entries of some streams."""
        streams = [self.results, *(executor.calls for executor in self.executors)]
        for number, stream in enumerate(streams):
            if slot in (-1, number):
                stream.forget(count)
                stream.reread()
        self.core.reconnected(self.now_ms)
        for executor in self.executors:
            executor.service.reconnected(self.now_ms)

    @rule(count=st.integers(1, 6))
    def lose(self, count: int) -> None:
        """Entries vanish, and no connection breaks."""
        for stream in (self.results, *(executor.calls for executor in self.executors)):
            stream.forget(count)

    @rule(ms=st.integers(1, 5_000))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.now_ms += ms

    @rule(garbage=st.binary(max_size=40), slot=SLOTS)
    def write_garbage(self, garbage: bytes, slot: int) -> None:
        """Somebody else writes into the streams."""
        self.results.append([garbage])
        self.executors[slot].calls.append([garbage])

    @invariant()
    def nothing_is_broken(self) -> None:
        """Safety."""
        self.core.check()
        for executor in self.executors:
            executor.service.check()
        assert all(times <= self.allowed[name] for name, times in self.begun.items()), self.begun
        assert all(len(endings) == 1 for endings in self.endings.values())

    def teardown(self) -> None:
        """Liveness."""
        for executor in self.executors:
            executor.runner.workers = 2
            executor.service.workers_changed(2)
            self.core.drain(executor.executor_id, draining=False)
        self.lose_both_ways()
        until_ms = self.now_ms + PEACE_MS
        while self.now_ms < until_ms and len(self.endings) < self.wanted():
            self.now_ms += 50
            self.turn()
            for executor in self.executors:
                for _ in range(4):
                    executor.runner.finish(End.RETURNED)
                    executor.runner.begin()
            self.nothing_is_broken()
        assert len(self.endings) == self.wanted()
        assert all(isinstance(ending, Outcome | Lost) for endings in self.endings.values() for ending in endings)

    def lose_both_ways(self) -> None:
        """Lose entries in either direction that nobody has read, with others behind them.

        In every run and at its end: what is lost earlier is mostly forgiven, because its client or executor is replaced.
        """
        self.submit(4, FUNCTIONS[0], 0)
        self.client_writes()
        self.lose(1)
        self.submit(4, FUNCTIONS[1], 0)
        self.turn()
        for executor in self.executors:
            executor.runner.begin()
            executor.runner.finish(End.RETURNED)
            self.executor_writes(executor)
        self.lose(1)

    def wanted(self) -> int:
        """How many calls of the living client have to end."""
        return sum(call.arguments not in self.unwanted for call in self.calls)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=60)
