"""A client that takes over from another: what that gave away ends once, begins at most once, and is lost only with its executor.

Method: as in test_pool, but calls have names, and each new client attaches to all that the one before it had submitted, also to
what had ended there. The old client may wake up and go on.

Safety, after every step: as there; and a call that is said never to have begun has not, and does not later. What an executor ran
that is alive is not said to be lost.
"""

from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from mesolite.executors.python.calls import End, Function, Outcome
from mesolite.executors.python.session import session_name
from mesolite.executors.python.wire import Options
from mesolite.frameworks.futures.engine_call import Ending, Lost, PoolCall
from mesolite.frameworks.futures.engine_core import EngineCore
from mesolite.frameworks.futures.engine_takeover import OutlivingCore

from .test_pool import FUNCTIONS, SLOTS, PoolMachine

NOT_BEGUN: Final = frozenset({End.REFUSED, End.CANCELLED})


class TakeoverMachine(PoolMachine):
    """One framework, whose clients follow one another."""

    def __init__(self) -> None:
        #: Clients that are over and may not know it.
        self.sleepers: list[EngineCore] = []
        #: Calls that certainly never began.
        self.never: set[bytes] = set()
        #: How many executors died; and those that did while they were asked for calls.
        self.deaths = 0
        self.over_unasked: list[str] = []
        super().__init__()

    def start_client(self) -> None:
        """A new life of the client."""
        self.lives += 1
        self.core = OutlivingCore()
        self.core.named(session_name(f"{self.lives}-0", "0123456789ab"), self.now_ms)
        self.calls, self.endings = [], {}

    def named_call(self, function: Function, name: bytes) -> PoolCall:
        """A call whose name and arguments are the same."""
        return PoolCall(function, name, self.note_end, options=Options(name=name.decode()))

    def note_end(self, call: PoolCall, ending: Ending) -> None:
        """See `PoolMachine`."""
        super().note_end(call, ending)
        name = call.arguments
        assert isinstance(name, bytes)
        if isinstance(ending, Lost):
            assert self.deaths, "lost, and no executor was"
        elif ending.begun:
            assert self.begun[name], f"{name!r} has an outcome and never began"
        else:
            assert ending.end in NOT_BEGUN
            self.never.add(name)

    @rule(count=st.integers(1, 8), function=st.sampled_from(FUNCTIONS), retries=st.just(0))
    def submit(self, count: int, function: Function, retries: int) -> None:
        """The client submits calls that have names."""
        calls: list[PoolCall] = []
        for _ in range(count):
            self.submitted += 1
            name = b"call-%d" % self.submitted
            self.allowed[name] = 1
            calls.append(self.named_call(function, name))
        self.calls += calls
        self.core.submit(calls)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 1_000), kill=st.booleans())
    def cancel(self, which: int, kill: bool) -> None:
        """The caller does not want one any more; what no executor had is forgotten."""
        call = self.calls[which % len(self.calls)]
        assert isinstance(call.arguments, bytes)
        if call.arguments not in self.endings and self.core.cancel(call, kill=kill):
            self.note_end(call, Outcome(End.CANCELLED, begun=False))
        self.tell()

    @rule(slot=SLOTS)
    def replace_executor(self, slot: int) -> None:
        """See `PoolMachine`."""
        self.deaths += 1
        assert isinstance(self.core, OutlivingCore)
        if self.core.searches_in(self.executors[slot].executor_id):
            self.over_unasked.append(self.executors[slot].executor_id)
        super().replace_executor(slot)

    @rule(count=st.integers(1, 4))
    def get_going(self, count: int) -> None:
        """The client submits calls, and workers begin some of them: so that few steps suffice to take over what matters."""
        self.submit(count, FUNCTIONS[0], 0)
        self.turn()
        self.turn()
        for executor in self.executors:
            executor.runner.begin()

    @rule(slot=SLOTS, count=st.integers(1, 4))
    def pass_on(self, slot: int, count: int) -> None:
        """What one executor gives back goes to the other, which begins it."""
        self.submit(count, FUNCTIONS[0], 0)
        self.turn()
        self.executors[slot].runner.refuse()
        self.turn()
        self.turn()
        self.executors[1 - slot].runner.begin()

    @rule(acted=st.booleans())
    def replace_client(self, acted: bool = False) -> None:
        """The client dies, with or without having acted on the ends that it heard; another takes over."""
        self.sleepers.append(self.core)
        before, ended = self.calls, self.endings
        self.start_client()
        ids = [executor.executor_id for executor in self.executors]
        for executor_id in ids:
            self.core.executor_up(executor_id, None, self.now_ms)
        names = [call.arguments for call in before if isinstance(call.arguments, bytes)]
        forgotten = [name for name in names if self.is_asked_again(name, acted, ended)]
        self.calls = [self.named_call(FUNCTIONS[0], name) for name in forgotten]
        assert isinstance(self.core, OutlivingCore)
        self.core.attach(self.calls, ids + self.over_unasked)
        self.tell()

    def is_asked_again(self, name: bytes, acted: bool, ended: dict[bytes, list[Ending]]) -> bool:
        """Whether the next client does not know how it ended. A loss the one before has noted before anything else."""
        endings = ended.get(name, [])
        return not endings or (not acted and not isinstance(endings[0], Lost))

    @precondition(lambda self: self.sleepers)
    @rule(which=st.integers(0, 10), count=st.integers(0, 3))
    def wake(self, which: int, count: int) -> None:
        """A client that was replaced goes on as if nothing had happened."""
        old = self.sleepers[which % len(self.sleepers)]
        calls: list[PoolCall] = []
        for _ in range(count):
            self.submitted += 1
            name = b"old-%d" % self.submitted
            self.allowed[name] = 1
            calls.append(PoolCall(FUNCTIONS[0], name, lambda call, ending: None, options=Options(name=name.decode())))
        old.submit(calls)
        old.hear(self.results.entries, self.now_ms)
        old.tick(self.now_ms)
        old.take_endings()
        for executor_id, entry in old.take(self.now_ms):
            for executor in self.executors:
                if executor.executor_id == executor_id:
                    executor.calls.append([entry])
        old.check()

    @invariant()
    def what_never_began_does_not_begin(self) -> None:
        """Safety."""
        assert not any(self.begun[name] for name in self.never), "it began after all"


TestTakeover = TakeoverMachine.TestCase
TestTakeover.settings = settings(max_examples=100, stateful_step_count=60)
