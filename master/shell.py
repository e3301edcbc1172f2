"""The leading master's shell: read, apply, commit, publish (DESIGN 4). It decides nothing.

What a commit could not be told about for certain (the connection broke before the answer) is settled by looking: the
cursor says whether it happened. Commands go out only after the commit; one that kombu loses is sent again by the core.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mesolite.clock import Clock
from mesolite.errors import CommitRefused, ProtocolError, Unavailable
from mesolite.logs import get_logger
from mesolite.protocol import DeadLetter, decode_calls, decode_reports, encode, encode_dead_letter
from mesolite.protocol.codec import Malformed, malformed
from mesolite.transport.contract import BEGINNING, Append, CommandBus, Commit, Entry, Store
from mesolite.transport.keys import (
    DEAD_LETTERS,
    DEFAULT_CLUSTER,
    DEFAULT_PRINCIPAL,
    MAX_DEAD_LETTERS_LENGTH,
    MAX_FRAMEWORK_LENGTH,
    agent_queue,
    calls_stream,
    framework_stream,
    reports_stream,
)

from .allocator import Allocator
from .core import MasterCore
from .effects import CommandAgent, ForgetAgent, MasterEffect, SaveRegistry, SetAside, TellFramework
from .events import CallsArrived, GarbageArrived, ListeningResumed, MasterEvent, ReportsArrived, Tick
from .settings import MasterSettings

#: Entries of one stream taken in one batch: at 1,000 a commit takes some milliseconds, and nobody waits longer for the next.
READ_LIMIT: Final = 1000
#: Longest wait for input, so that the process notices when it is to stop.
MAX_WAIT_MS: Final = 1000
#: Pause between attempts while Redis is away.
RETRY_SECONDS: Final = 0.5

_log = get_logger("mesolite.master")
_Answer = TypeVar("_Answer")


class MasterShell:
    """Runs one core on a store and a bus.

    Args:
        store: Used only from the thread that calls `step`.
        bus: Likewise.
        settings: Handed to each core.
        new_allocator: Makes a fresh allocator for each core.
        clock: The time.
        principals: Whose streams are read (DESIGN 6).
        cluster: Its name, which stands in the names of its queues.
        check_every: Assert all invariants after every so many steps; 0 never.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: CommandBus,
        settings: MasterSettings,
        new_allocator: Callable[[], Allocator],
        clock: Clock,
        principals: Sequence[str] = (DEFAULT_PRINCIPAL,),
        cluster: str = DEFAULT_CLUSTER,
        check_every: int = 0,
    ) -> None:
        self._store = store
        self._bus = bus
        self._settings = settings
        self._new_allocator = new_allocator
        self._clock = clock
        self._streams = [stream(principal) for principal in principals for stream in (calls_stream, reports_stream)]
        self._cluster = cluster
        self._check_every = check_every
        self._steps = 0
        self._core: MasterCore | None = None
        self._cursor: dict[str, str] = {}
        self._epoch = 0
        #: A commit whose outcome is not known, and what is to be published after it.
        self._uncertain: tuple[Commit, list[CommandAgent | ForgetAgent]] | None = None
        self._silenced = False
        #: Held while the core changes, so that views see whole batches.
        self._lock = threading.Lock()
        #: What operators asked for, to be applied with the next batch.
        self._asked: list[MasterEvent] = []

    @property
    def epoch(self) -> int:
        """The epoch it leads in, 0 before it leads."""
        return self._epoch

    def lead(self) -> None:
        """Take a new epoch and take over what is stored.

        Raises:
            RedisUnavailable: The store does not answer; nothing but perhaps the epoch changed.
        """
        # The time, so that a store that lost everything, or only the newest epoch, gives one that nobody has followed before. In
        # milliseconds: within a second a master can be elected, be forgotten by a failover, and be elected again.
        epoch = self._store.take_epoch(at_least=self._clock.now_ms())
        cursor = self._store.cursor()
        core = MasterCore(epoch=epoch, settings=self._settings, allocator=self._new_allocator())
        core.recover(self._store.registry(), self._clock.now_ms())
        with self._lock:
            self._core, self._epoch, self._uncertain = core, epoch, None
            self._cursor = {stream: cursor.get(stream, BEGINNING) for stream in self._streams}
        _log.info("master.leads", epoch=epoch)

    def step(self, wait_ms: int) -> int:
        """Take one batch through the core.

        Args:
            wait_ms: Longest wait for input; less where the core has something to do earlier.

        Returns:
            How many entries were read.

        Raises:
            RedisUnavailable: The store does not answer. Nothing is lost: call again.
            CommitRefused: Another master took over, or the store forgot a tail: `lead` again or step down.
        """
        core = self._core
        assert core is not None, "lead first"
        if self._uncertain is not None:
            self._settle()
        now_ms = self._clock.now_ms()
        wait_ms = 0 if self._asked else max(0, min(wait_ms, core.next_deadline_ms() - now_ms))
        entries = self._store.read(self._cursor, limit=READ_LIMIT, wait_ms=wait_ms)
        now_ms = self._clock.now_ms()
        with self._lock:
            if self._silenced:
                core.apply(ListeningResumed(now_ms=now_ms))
                self._silenced = False
            asked, self._asked = self._asked, []
            for event in asked:
                core.apply(event)
            for entry in entries:
                for event in events_of(entry, now_ms):
                    core.apply(event)
            effects = core.apply(Tick(now_ms=now_ms))
            self._check(core)
        self._carry_out(entries, effects)
        return len(entries)

    def run(self, stop: threading.Event) -> None:
        """Lead until told to stop. Waits for a store that is away, and goes on when it is back."""
        while not stop.is_set():
            if not self.turn(MAX_WAIT_MS):
                stop.wait(RETRY_SECONDS)

    def turn(self, wait_ms: int) -> bool:
        """Lead, where it does not yet or no longer, and take one batch; as `step`, but nothing is left to the caller.

        Returns:
            False where the store is away: try again after RETRY_SECONDS.
        """
        try:
            if self._core is None:
                self.lead()
            away = self._silenced
            self.step(wait_ms)
            if away:
                _log.info("master.store_returned")
        except CommitRefused as refused:
            _log.warning("master.commit_refused", reason=str(refused))
            self._core = None
        except Unavailable as unavailable:
            if not self._silenced:
                _log.warning("master.store_away", reason=str(unavailable), retry_seconds=RETRY_SECONDS)
            self._silenced = True
            return False
        return True

    def ask(self, event: MasterEvent) -> None:
        """Hand in what an operator wants, from any thread."""
        with self._lock:
            self._asked.append(event)

    def view(self, look: Callable[[MasterCore], _Answer]) -> _Answer:
        """Look at the core between two batches, from any thread; `look` must not change it nor keep parts of it.

        Raises:
            Unavailable: This master does not lead.
        """
        with self._lock:
            if self._core is None:
                raise Unavailable("this master does not lead yet")
            return look(self._core)

    def _check(self, core: MasterCore) -> None:
        self._steps += 1
        if self._check_every and self._steps % self._check_every == 0:
            core.check()

    def _carry_out(self, entries: list[Entry], effects: list[MasterEffect]) -> None:
        cursor_to = dict(self._cursor)
        for entry in entries:
            cursor_to[entry.stream] = entry.entry_id
        registry: dict[str, bytes | None] = {}
        appends: list[Append] = []
        after: list[CommandAgent | ForgetAgent] = []
        for effect in effects:
            match effect:
                case SaveRegistry():
                    registry[effect.key] = effect.value
                case TellFramework() | SetAside():
                    appends.append(_append(effect))
                case CommandAgent() | ForgetAgent():
                    after.append(effect)
        if entries or registry or appends:
            commit = Commit(
                epoch=self._epoch,
                cursor_from=self._cursor,
                cursor_to=cursor_to,
                registry=registry,
                appends=appends,
            )
            self._uncertain = (commit, after)
            self._store.commit(commit)
            self._uncertain = None
            self._cursor = cursor_to
        self._publish(after)

    def _settle(self) -> None:
        """Find out whether the last commit happened, and make it happen if not. Events are numbered: twice does no harm."""
        assert self._uncertain is not None
        commit, after = self._uncertain
        try:
            self._store.commit(commit)
        except CommitRefused:
            stored = self._store.cursor()
            happened = self._store.epoch() == commit.epoch and all(
                stored.get(stream, BEGINNING) == entry_id for stream, entry_id in commit.cursor_to.items()
            )
            if not happened:
                raise
        self._uncertain = None
        self._cursor = dict(commit.cursor_to)
        self._publish(after)

    def _publish(self, effects: list[CommandAgent | ForgetAgent]) -> None:
        for effect in effects:
            try:
                if isinstance(effect, CommandAgent):
                    self._bus.send(agent_queue(effect.agent_id, self._cluster), encode(effect.batch))
                else:
                    self._bus.delete(agent_queue(effect.agent_id, self._cluster))
            except Unavailable as unavailable:
                _log.warning("master.publish_failed", agent_id=effect.agent_id, reason=str(unavailable))


def events_of(entry: Entry, now_ms: int) -> list[MasterEvent]:
    """Turn an entry of an input stream into events; what cannot be read becomes `GarbageArrived`."""
    kind, _, principal = entry.stream.partition(":")

    def garbage(refused: Malformed) -> MasterEvent:
        return GarbageArrived(now_ms=now_ms, principal=principal, stream=entry.stream, malformed=refused)

    try:
        if kind == "calls":
            calls, bad = decode_calls(entry.payload)
            event: MasterEvent = CallsArrived(now_ms=now_ms, principal=principal, batch=calls)
        else:
            reports, bad = decode_reports(entry.payload)
            event = ReportsArrived(now_ms=now_ms, principal=principal, batch=reports)
    except ProtocolError as error:
        return [garbage(malformed(str(error), entry.payload))]
    return [event, *map(garbage, bad)]


def _append(effect: TellFramework | SetAside) -> Append:
    if isinstance(effect, TellFramework):
        return Append(
            stream=framework_stream(effect.framework_id),
            payload=encode(effect.batch),
            max_length=MAX_FRAMEWORK_LENGTH,
        )
    letter = DeadLetter(timestamp_ms=effect.now_ms, source=effect.source, reason=effect.reason, payload=effect.payload)
    return Append(stream=DEAD_LETTERS, payload=encode_dead_letter(letter), max_length=MAX_DEAD_LETTERS_LENGTH)
