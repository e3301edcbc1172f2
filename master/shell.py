"""A master's shell: while it holds the lease, read, apply, commit, publish (DESIGN 4). It decides nothing.

What a commit could not be told about for certain (the connection broke before the answer) is settled by looking: the
cursor says whether it happened. Commands go out only after the commit; one that kombu loses is sent again by the core.

The lease may lapse without another master taking over, because the store is away: the core then waits, and goes on where it
was if the lease is renewed in the same epoch. The first commit shows whether the store has forgotten anything meanwhile.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, Protocol, TypeVar, assert_never

from mesolite.clock import Clock
from mesolite.errors import CommitRefused, MasterUnavailable, ProtocolError, Unavailable
from mesolite.lease import Grant
from mesolite.logs import get_logger
from mesolite.protocol import DeadLetter, decode_calls, decode_reports, encode, encode_dead_letter
from mesolite.protocol.codec import Malformed, malformed
from mesolite.transport.contract import BEGINNING, Append, CommandBus, Commit, Entry, Lease, Store
from mesolite.transport.keys import (
    COMMITS,
    DEAD_LETTERS,
    DEFAULT_CLUSTER,
    DEFAULT_PRINCIPAL,
    MAX_DEAD_LETTERS_LENGTH,
    agent_queue,
    calls_stream,
    framework_state,
    framework_stream,
    reports_stream,
)

from .allocator import Allocator
from .backlog import Backlogs
from .core import MasterCore
from .effects import (
    CommandAgent,
    DropState,
    DropStream,
    ForgetAgent,
    MasterEffect,
    NewerEpochHeard,
    SaveRegistry,
    SetAside,
    TellFramework,
)
from .events import CallsArrived, GarbageArrived, ListeningResumed, MasterEvent, ReportsArrived, Tick
from .packing import pack
from .settings import MasterSettings

#: Entries of one stream taken in one batch: at 1,000 a commit takes some milliseconds, and nobody waits longer for the next.
READ_LIMIT: Final = 1000
#: A batch that took longer to apply than this is followed by one of half as many entries, a shorter one by twice as many again.
#: An ordinary batch takes some milliseconds, 1,000 agents with ten tasks each a fifth of a second; with a thousand tasks each
#: they would take half a minute, in which nobody else gets an answer.
LONG_BATCH_MS: Final = 250
#: Longest wait for input, so that the process notices when it is to stop.
MAX_WAIT_MS: Final = 1000
#: Pause between attempts while Redis is away. Short: after a failover the whole cluster waits for this master.
RETRY_SECONDS: Final = 0.1

_log = get_logger("mesolite.master")
_Answer = TypeVar("_Answer")


class Leadership(Protocol):
    """Says whether this master leads: a `LeaseKeeper`."""

    def grant(self) -> Grant | None:
        """Return the right to lead, if there is one at this moment."""
        ...

    def leader(self) -> Lease | None:
        """Return who else leads, where that is known."""
        ...

    def spoil(self, epoch: int, at_least: int) -> None:
        """Ask for a new epoch, at least `at_least`, because this one cannot be used any more."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a grant, or the time is over."""
        ...


class MasterShell:
    """Runs one core on a store and a bus.

    Args:
        leadership: Says when to work, and in which epoch.
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
        leadership: Leadership,
        store: Store,
        bus: CommandBus,
        settings: MasterSettings,
        new_allocator: Callable[[], Allocator],
        clock: Clock,
        principals: Sequence[str] = (DEFAULT_PRINCIPAL,),
        cluster: str = DEFAULT_CLUSTER,
        check_every: int = 0,
    ) -> None:
        self._leadership = leadership
        self._store = store
        self._bus = bus
        self._settings = settings
        self._new_allocator = new_allocator
        self._clock = clock
        self._streams = [stream(principal) for principal in principals for stream in (calls_stream, reports_stream)]
        self._cluster = cluster
        self._check_every = check_every
        self._steps = 0
        #: As many entries of a stream as the next batch may have.
        self._read_limit = READ_LIMIT
        self._backlogs = Backlogs()
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
        """The epoch it leads in or led in last, 0 before any."""
        return self._epoch

    @property
    def leads(self) -> bool:
        """Whether it leads at this moment; from any thread."""
        grant = self._leadership.grant()
        return grant is not None and self._core is not None and grant.epoch == self._epoch

    def step(self, wait_ms: int) -> int:
        """Take one batch through the core.

        Args:
            wait_ms: Longest wait for input; less where the core has something to do earlier.

        Returns:
            How many entries were read.

        Raises:
            RedisUnavailable: The store does not answer. Nothing is lost: call again.
            CommitRefused: Another master took over, or the store forgot a tail: this core is of no use any more.
        """
        core = self._core
        assert core is not None, "it does not lead"
        if self._uncertain is not None:
            self._settle()
        now_ms = self._clock.now_ms()
        wait_ms = 0 if self._asked else max(0, min(wait_ms, core.next_deadline_ms() - now_ms))
        entries = self._store.read(
            {name: self._cursor[name] for name in self._streams}, limit=self._read_limit, wait_ms=wait_ms
        )
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
        is_long = self._clock.now_ms() - now_ms > LONG_BATCH_MS
        self._read_limit = max(1, self._read_limit // 2) if is_long else min(self._read_limit * 2, READ_LIMIT)
        self._carry_out(entries, effects)
        return len(entries)

    def run(self, stop: threading.Event) -> None:
        """Lead whenever there is the right to, until told to stop. Waits for a store that is away."""
        while not stop.is_set():
            if not self.turn(MAX_WAIT_MS):
                stop.wait(RETRY_SECONDS)

    def turn(self, wait_ms: int) -> bool:
        """Take one batch, beginning to lead or ceasing to where that is due; as `step`, but nothing is left to the caller.

        Without the right to lead it waits for it, at most `wait_ms`.

        Returns:
            False where the store is away: try again after RETRY_SECONDS.
        """
        grant = self._leadership.grant()
        if grant is None:
            self._stand_by(wait_ms)
            return True
        try:
            if self._core is None or grant.epoch != self._epoch:
                self._lead(grant.epoch)
            away = self._silenced
            self.step(wait_ms)
            if away:
                _log.info("master.store_returned")
        except CommitRefused as refused:
            _log.warning("master.commit_refused", epoch=grant.epoch, reason=str(refused))
            self._drop()
            self._leadership.spoil(grant.epoch, grant.epoch + 1)
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
            MasterUnavailable: This master does not lead.
        """
        with self._lock:
            if self._core is None or not self.leads:
                raise MasterUnavailable("this master does not lead; try again in a moment")
            return look(self._core)

    def _lead(self, epoch: int) -> None:
        """Take over what is stored, as the master of a new epoch."""
        stored = self._store.cursor()
        core = MasterCore(epoch=epoch, settings=self._settings, allocator=self._new_allocator())
        core.recover(self._store.registry(), self._clock.now_ms())
        with self._lock:
            self._core, self._epoch, self._uncertain, self._silenced = core, epoch, None, False
            self._asked.clear()
            self._cursor = {name: stored.get(name, BEGINNING) for name in (*self._streams, COMMITS)}
        _log.info("master.leads", epoch=epoch)

    def _drop(self) -> None:
        """Forget everything: another leads, or this epoch is spoilt."""
        with self._lock:
            self._core, self._uncertain = None, None
            self._asked.clear()

    def _stand_by(self, wait_ms: int) -> None:
        """Wait for the right to lead. A core whose lease lapsed is kept as long as nobody else leads."""
        if self._core is not None:
            # Nobody was listened to meanwhile.
            self._silenced = True
            if (successor := self._leadership.leader()) is not None:
                _log.warning("master.deposed", epoch=self._epoch, by=successor.epoch, leader=successor.address)
                self._drop()
        self._leadership.wait(wait_ms / 1000)

    def _check(self, core: MasterCore) -> None:
        self._steps += 1
        if self._check_every and self._steps % self._check_every == 0:
            core.check()

    def _carry_out(self, entries: list[Entry], effects: list[MasterEffect]) -> None:
        cursor_to = {**self._cursor, COMMITS: _next_commit(self._cursor[COMMITS])}
        for entry in entries:
            cursor_to[entry.stream] = entry.entry_id
        registry: dict[str, bytes | None] = {}
        appends: list[Append] = []
        after: list[CommandAgent | ForgetAgent] = []
        dropped: list[str] = []
        newer: int | None = None
        for effect in effects:
            match effect:
                case SaveRegistry():
                    registry[effect.key] = effect.value
                case TellFramework() | SetAside():
                    appends.append(_append(effect, self._backlogs))
                case CommandAgent() | ForgetAgent():
                    after.append(effect)
                case DropStream():
                    # What its scheduler kept after its end, not knowing of it, is dropped now at the latest.
                    dropped += [framework_stream(effect.framework_id), framework_state(effect.framework_id)]
                    self._backlogs.forget(framework_stream(effect.framework_id))
                case DropState():
                    dropped.append(framework_state(effect.framework_id))
                case NewerEpochHeard():
                    newer = effect.epoch
                case _:
                    assert_never(effect)
        if entries or registry or appends or dropped:
            commit = Commit(
                epoch=self._epoch,
                cursor_from=self._cursor,
                cursor_to=cursor_to,
                registry=registry,
                appends=appends,
                delete_streams=dropped,
            )
            self._uncertain = (commit, after)
            self._store.commit(commit)
            self._uncertain = None
            self._cursor = cursor_to
        self._publish(after)
        if newer is not None:
            _log.warning("master.newer_epoch_heard", epoch=self._epoch, newer=newer)
            self._drop()
            self._leadership.spoil(self._epoch, newer + 1)

    def _settle(self) -> None:
        """Find out whether the last commit happened, and make it happen if not: it counts commits, so it cannot happen twice."""
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
        if effects and not self.leads:
            # It was held up between commit and here for longer than its lease. Agents would refuse the words of a past epoch;
            # if it leads on, the core sends again what nobody confirms.
            _log.warning("master.words_withheld", epoch=self._epoch, count=len(effects))
            return
        # In their order: what is said to an agent that comes back must not go with the queue of the one that left.
        for kind, group in groupby(effects, key=type):
            try:
                if kind is CommandAgent:
                    commands = [each for each in group if isinstance(each, CommandAgent)]
                    self._bus.send_many([message for each in commands for message in self._messages(each)])
                else:
                    for each in group:
                        self._bus.delete(agent_queue(each.agent_id, self._cluster))
            except Unavailable as unavailable:
                _log.warning("master.publish_failed", reason=str(unavailable))

    def _messages(self, effect: CommandAgent) -> list[tuple[str, bytes]]:
        queue = agent_queue(effect.agent_id, self._cluster)
        return [(queue, payload) for payload in pack(effect.batch)]


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


def _next_commit(position: str) -> str:
    """Count one more commit, in the form of a stream's position."""
    return f"{int(position.partition('-')[0]) + 1}-0"


def _append(effect: TellFramework | SetAside, backlogs: Backlogs) -> Append:
    if isinstance(effect, TellFramework):
        stream, payload = framework_stream(effect.framework_id), encode(effect.batch)
        return Append(stream=stream, payload=payload, max_length=backlogs.length(stream, len(payload)))
    letter = DeadLetter(timestamp_ms=effect.now_ms, source=effect.source, reason=effect.reason, payload=effect.payload)
    return Append(stream=DEAD_LETTERS, payload=encode_dead_letter(letter), max_length=MAX_DEAD_LETTERS_LENGTH)
