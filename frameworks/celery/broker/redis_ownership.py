"""`Ownership` of messages in Redis: one for each process, whatever connections come and go.

The event loop's thread calls everything here but the lease, which a thread renews, so that a loop that is held up by a task's
result does not cost the dispatcher its name.
"""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import redis

from mesolite.errors import Superseded
from mesolite.logs import get_logger

from .book import Arrival, Book
from .decoding import Layout, arrival, aside_entry
from .pace import Pace
from .reconciling import begin, reconcile, write_all
from .redis_store import RedisStore
from .requests import Busy, Fenced, Guard, Held, Life, OwnerKeys, Taken, owner_keys

_log = get_logger("mesolite.celery.broker")

#: How long another dispatcher of the same name waits after the last sign of life. Sentinels need 2 to 4 s to replace a primary,
#: and in that time nobody can give a sign.
LEASE_MS: Final = 8_000
#: Four signs in each lease.
RENEW_EVERY_S: Final = 2.0
#: Clocks that differ by more are worth a word. NTP holds them within milliseconds.
MAX_CLOCK_SKEW_S: Final = 1.0
#: How often a dispatcher that waits for its turn looks.
_STANDBY_LOOK_S: Final = 0.5


class Place(NamedTuple):
    """A broker, as a channel knows the way to it."""

    #: For commands that are waited for; from several threads.
    client: redis.Redis
    layout: Layout


class Flusher:
    """What sends words on messages to the broker: the consumption that has a line, when there is one."""

    def flush(self) -> None:
        """Send what is to be written."""


class RedisOwnership:
    """See `owning.Ownership`.

    Args:
        owner: The dispatcher's name: whoever has it next gets what this one leaves.
        ahead: Whether more is taken than Celery asks for while tasks are short.
        while_waiting: Called now and then while another dispatcher has the name; may raise to give up.
        still_held: Whether a message that was not given is with the pool all the same, so that it is not delivered again.
        superseded: Called when another dispatcher has taken the name; may raise to end in its own way.
    """

    def __init__(
        self,
        owner: str,
        *,
        ahead: bool = True,
        while_waiting: Callable[[], None] = lambda: None,
        still_held: Callable[[str], bool] = lambda _: False,
        superseded: Callable[[], None] = lambda: None,
    ) -> None:
        self.owner: Final = owner
        self.still_held = still_held
        self._superseded: Final = superseded
        self._ahead: Final = ahead
        self.while_waiting = while_waiting
        self._pace: Final = Pace()
        self._place: Place | None = None
        self._store: RedisStore | None = None
        self._keys: OwnerKeys | None = None
        self._book: Book | None = None
        self._guard: Guard | None = None
        self._channels = 0
        #: What sends; None between connections.
        self.flusher: Flusher | None = None
        #: Redis forgot the guard, or has another life's: the next connection tells which.
        self.doubtful = threading.Event()
        self._closing: Final = threading.Event()
        self._keeper: threading.Thread | None = None

    # -- Ownership

    def give(self, tags: Sequence[str]) -> None:
        """See `Ownership`."""
        for tag in tags:
            self.book.give(tag)
        if self.flusher is not None:
            self.flusher.flush()

    @property
    def knows_earlier_lives(self) -> bool:
        """See `Ownership`."""
        return True

    def is_over(self, tag: str) -> bool:
        """See `Ownership`. Such a message is recognised before it is delivered."""
        return False

    def over(self, tag: str) -> None:
        """See `Ownership`."""

    def end(self, tag: str) -> None:
        """See `Ownership`."""
        if self.book.end(tag):
            self._pace.note(1, time.monotonic())

    def was_given(self, tag: str) -> bool:
        """See `Ownership`."""
        owned = self.book.find(tag)
        return owned is not None and owned.was_given

    def was_acknowledged(self, tag: str) -> bool:
        """See `Ownership`."""
        owned = self.book.find(tag)
        return owned is not None and owned.was_acknowledged

    def losses(self, tag: str) -> int:
        """See `Ownership`."""
        owned = self.book.find(tag)
        return 0 if owned is None else owned.returns.losses

    def returns(self, tag: str) -> int:
        """See `Ownership`."""
        owned = self.book.find(tag)
        return 0 if owned is None else owned.returns.times

    def asked_back(self, tag: str) -> None:
        """See `Ownership`."""
        self.book.asked_back(tag)

    def take_back(self, tag: str) -> None:
        """See `Ownership`."""
        self.book.take_back(tag)

    def set_aside(self, tag: str, why: str) -> None:
        """See `Ownership`."""
        owned = self.book.find(tag)
        if owned is not None:
            _log.warning("celery.set_aside", tag=tag, queue=owned.queue, reason=why)
            self.book.set_aside(tag, aside_entry(owned.key, owned.raw, why, time.time()))

    # -- for channels

    @property
    def book(self) -> Book:
        """What is owned."""
        assert self._book is not None, "claimed before anything is delivered"
        return self._book

    @property
    def keys(self) -> OwnerKeys:
        """Where it is in Redis."""
        assert self._keys is not None, "claimed before anything is asked"
        return self._keys

    @property
    def guard(self) -> Guard:
        """What every request carries."""
        assert self._guard is not None, "claimed before anything is asked"
        return self._guard

    @property
    def store(self) -> RedisStore:
        """The broker, asked and waited for."""
        assert self._store is not None, "connected before anything is asked"
        return self._store

    def new_channel(self) -> int:
        """Return a number by which the book knows a channel."""
        self._channels += 1
        return self._channels

    def owns(self, tag: str) -> bool:
        """Whether a message is owned."""
        return self._book is not None and self._book.find(tag) is not None

    def ahead(self) -> int:
        """Return how many messages are held beyond what Celery asks for."""
        return self._pace.ahead(time.monotonic()) if self._ahead else 0

    def acknowledge(self, tag: str) -> None:
        """Celery acknowledges."""
        if self.book.acknowledge(tag):
            self._pace.note(1, time.monotonic())

    def reject(self, tag: str, *, requeue: bool) -> None:
        """Celery rejects."""
        if requeue:
            self.book.return_(tag, first=False)
        else:
            self.book.drop(tag)

    def channel_closed(self, channel: int) -> None:
        """What it delivered is delivered again by the next, but what was given."""
        if self._book is not None:
            self._book.closed(channel, self.still_held)

    def take_in(self, taken: Taken) -> None:
        """Own what was taken."""
        layout = self._layout
        self._arrive([Held(item_id, key, raw, "") for item_id, key, raw in taken.items], layout, redelivered=False)

    def connect(self, place: Place) -> None:
        """Go on at a broker: claim the name where this did not happen, compare, and write what is unwritten.

        Raises:
            redis.RedisError: The broker does not answer.
            Superseded: Another dispatcher has the name.
        """
        before, self._place = self._place, place
        self._keys = owner_keys(place.layout.prefix, self.owner)
        self._store = RedisStore(place.client, self._keys, self.owner)
        if before is not None:
            before.client.close()
        if self._guard is None:
            self._claim(self._store, place.layout)
        life, session = self.guard
        self._guard = Guard(life, session + 1)
        if not self._store.enter(self._guard, LEASE_MS):
            self._superseded()
            raise Superseded(f"another dispatcher named {self.owner!r} took over")
        self.doubtful.clear()
        self._reconcile(self._store, place.layout)

    def check(self) -> None:
        """Make sure that this dispatcher has its name.

        Raises:
            redis.RedisError: That is not sure; another connection tells.
        """
        if self.doubtful.is_set():
            raise redis.ConnectionError("the broker forgot this dispatcher, or another took over")

    def primary(self) -> tuple[str, int] | None:
        """Return the server that Sentinels name, None where there are none."""
        pool: Any = None if self._place is None else self._place.client.connection_pool
        found: tuple[str, int] | None = getattr(pool, "master_address", None)
        return found

    def abandon(self) -> None:
        """Let go without a word to the broker, as a dispatcher that is killed: its lease lapses."""
        self._closing.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._place is not None:
            self._place.client.close()

    def close(self, *, release: bool) -> None:
        """Write the last words, and leave the name to the next.

        Args:
            release: What was not given goes back to its queues, for any consumer. Otherwise it waits for the next life.
        """
        self._closing.set()
        if self._keeper is not None:
            self._keeper.join()
        place, store = self._place, self._store
        if place is None or store is None:
            return
        try:
            if self._guard is not None:
                self._leave(store, self._guard, release=release)
        except (redis.RedisError, OSError, Fenced) as error:
            _log.warning("celery.left_unsaid", messages=self.book.unwritten, reason=str(error) or type(error).__name__)
        finally:
            place.client.close()

    def _leave(self, store: RedisStore, guard: Guard, *, release: bool) -> None:
        self.book.reconnected()
        if release and (count := self.book.let_go()):
            _log.info("celery.released", messages=count)
        write_all(store, guard, self.book)
        store.leave(guard)

    # -- lives

    @property
    def _layout(self) -> Layout:
        assert self._place is not None, "connected before anything is taken"
        return self._place.layout

    def _claim(self, store: RedisStore, layout: Layout) -> None:
        store.check_version()
        _compare_clocks(store)
        life = self._wait_for_name(store)
        self._guard, self._book = Guard(life, 0), Book(life)
        count = begin(store, lambda held: self._arrive(held, layout, redelivered=True))
        _log.info("celery.owner", owner=self.owner, life=life.number, messages=count)
        self._keeper = threading.Thread(target=self._keep_lease, name="mesolite-celery-lease", daemon=True)
        self._keeper.start()

    def _wait_for_name(self, store: RedisStore) -> Life:
        """Return a new life as soon as no other dispatcher of this name lives.

        Redis being away excuses a dispatcher that gives no sign: so after that it has a whole lease to give one.
        """
        pause, said, not_before_s = threading.Event(), False, 0.0
        salt = secrets.token_hex(4)
        while True:
            try:
                claimed = Busy(0) if time.monotonic() < not_before_s else store.claim(salt, LEASE_MS)
            except (redis.ConnectionError, redis.TimeoutError):
                if not said:
                    raise
                claimed = Busy(0)
                not_before_s = time.monotonic() + LEASE_MS / 1000
            if isinstance(claimed, Life):
                return claimed
            if not said:
                _log.warning("celery.standby", owner=self.owner, reason="another dispatcher of this name lives")
                said = True
            self.while_waiting()
            pause.wait(_STANDBY_LOOK_S)

    def _keep_lease(self) -> None:
        while not self._closing.wait(RENEW_EVERY_S):
            store, guard = self._store, self._guard
            if store is None or guard is None:
                continue
            try:
                kept = store.renew(guard, LEASE_MS)
            except (redis.RedisError, OSError, ValueError):
                # The loop notices too, and connects anew; ValueError: the client was just closed.
                continue
            if not kept:
                self.doubtful.set()

    def _reconcile(self, store: RedisStore, layout: Layout) -> None:
        try:
            reconcile(store, self.guard, self.book, lambda held: self._arrive(held, layout, redelivered=True))
        except Fenced:
            raise redis.ConnectionError("another connection of this dispatcher was faster") from None

    def _arrive(self, items: Sequence[Held], layout: Layout, *, redelivered: bool) -> None:
        arrivals: list[Arrival] = []
        for item_id, key, raw, state in items:
            try:
                arrivals.append(arrival(item_id, key, raw, layout, state=state, redelivered=redelivered))
            except ValueError as error:
                _log.error("celery.unreadable", key=key, bytes=len(raw), reason=str(error))
                self.book.unreadable(item_id, aside_entry(key, raw, str(error), time.time()))
        self.book.arrived(arrivals)


def _compare_clocks(store: RedisStore) -> None:
    """Warn where this machine's clock and the broker's differ: nobody else can see why tasks come early or expire too soon."""
    ahead_s = store.clock_ahead_s()
    if abs(ahead_s) > MAX_CLOCK_SKEW_S:
        _log.warning(
            "celery.clock_skew",
            ahead_of_broker_s=round(ahead_s, 1),
            reason="ETAs and expiries are judged by this machine's clock; let NTP set it, and those of producers and agents",
        )
