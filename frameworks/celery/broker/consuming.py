"""Consumes owned queues over one connection of kombu: takes messages, delivers them, and sends what is said about them.

One for each connection (kombu: transport), whatever number of channels consume on it, driven by kombu's poller: `turn` before
each wait, `on_line` and `on_bell` when there is something to read. Nothing here waits for an answer but `_connect`.
"""

# kombu has no types: channels and transports are `Any` here.
# mypy: disallow-untyped-calls=False

import time
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ResponseError

from mesolite.errors import Superseded
from mesolite.logs import get_logger

from .book import MAX_OWNED_BYTES, Owned
from .decoding import Layout, decode
from .line import OwnerLine
from .records import mark_redelivered
from .redis_ownership import Flusher, Place, RedisOwnership
from .redis_store import is_fenced, take_command, taken, write_command
from .requests import Take, Taken, Writes

_log = get_logger("mesolite.celery.broker")

#: Messages in one take, and bytes after which it ends: some milliseconds of Redis's time.
MAX_TAKE: Final = 500
_MAX_TAKE_BYTES: Final = 2 * 1024 * 1024
#: Delivered in one turn of the loop: Celery needs 0.1 ms and more for each, and must hear of other things in between.
_MAX_DELIVERED: Final = 500
#: An idle line asks this often: it learns whether its server answers, and needs no bell that broke without a sound.
_ASK_EVERY_S: Final = 2.0
#: After a refusal (no memory, no disk, no permission) nothing is sent for so long.
_REFUSED_PAUSE_S: Final = 1.0
#: How often it is compared with what Sentinels say.
_PRIMARY_CHECK_S: Final = 1.0


#: What an earlier life owned of queues that this one does not consume goes back to them after so long: consumers come one by one
#: as Celery starts, and later by `celery control add_consumer`.
UNCONSUMED_S: Final = 30.0


class Way(NamedTuple):
    """How a channel reaches its broker."""

    place: Place
    #: For the line and the bell.
    pool: Any
    #: How long is waited for an answer.
    patience_s: float


class Source(NamedTuple):
    """A channel, and what it consumes by us."""

    channel: Any
    number: int
    queues: list[str]


class _Nudge:
    """A request whose answer says nothing, but makes the loop turn again at once."""


class Consumption(Flusher):
    """See the module."""

    def __init__(self, transport: Any, ownership: RedisOwnership) -> None:
        self._transport: Final = transport
        self.ownership: Final = ownership
        self._sources: Final[list[Source]] = []
        #: None until the first turn, and after it broke.
        self.line: OwnerLine | None = None
        self._pool: Any = None
        self._layout = Layout("", "")
        #: There may be something to take.
        self._hungry = True
        self._asked_s = 0.0
        self._paused_until_s = 0.0
        self._primary_checked_s = 0.0
        self._unconsumed_after_s = 0.0
        self._is_closed = False
        #: Messages delivered so far.
        self.delivered = 0

    # -- channels

    @property
    def is_live(self) -> bool:
        """Whether it consumes, or is about to: another connection then leaves the queues to it."""
        return not self._is_closed and bool(self._sources) and (self.line is None or self.line.is_open)

    def consume(self, channel: Any, queue: str) -> None:
        """Consume a queue for a channel."""
        source = next((source for source in self._sources if source.channel is channel), None)
        if source is None:
            source = Source(channel, self.ownership.new_channel(), [])
            self._sources.append(source)
        if queue not in source.queues:
            source.queues.append(queue)
        self._hungry = True

    def cancel(self, channel: Any, queue: str) -> None:
        """Stop to; what waits for it goes back."""
        for source in self._sources:
            if source.channel is channel and queue in source.queues:
                source.queues.remove(queue)
                if self.line is not None:
                    self.ownership.book.let_go({queue})

    def leave(self, channel: Any) -> None:
        """A channel closes."""
        for source in [source for source in self._sources if source.channel is channel]:
            self._sources.remove(source)
            self.ownership.channel_closed(source.number)

    def close(self) -> None:
        """Everything closes; what was not answered is sent by the next."""
        self._is_closed = True
        for source in list(self._sources):
            self.leave(source.channel)
        self._drop_line()
        if self.ownership.flusher is self:
            self.ownership.flusher = None

    # -- the loop

    def turn(self) -> None:
        """Do what is to be done before the loop waits.

        Raises:
            redis.RedisError: The broker does not answer.
            Superseded: Another dispatcher has the name.
        """
        if not self._sources and self.line is None:
            return
        try:
            line = self.line or self._connect()
            self._check(line)
            for source in self._sources:
                source.channel.qos.forget()
            self._deliver()
            self._give_back_unconsumed()
            self.flush()
            self._ask(line)
        except (redis.RedisError, OSError, Superseded):
            self._drop_line()
            raise

    def on_line(self) -> bool:
        """Read answers; tell whether messages were delivered."""
        before, line = self.delivered, self.line
        if line is None:
            return False
        try:
            for request, value in line.read():
                self._answered(request, value)
            self._deliver()
        except (redis.RedisError, OSError):
            self._drop_line()
            raise
        return self.delivered > before

    def on_bell(self) -> None:
        """Something was put into a queue that was empty."""
        if self.line is None:
            return
        try:
            if self.line.hear():
                self._hungry = True
        except (redis.RedisError, OSError):
            self._drop_line()
            raise

    def flush(self) -> None:
        """Send what is to be written; where that fails, the next turn finds out."""
        line, book = self.line, self.ownership.book
        if line is None or not line.is_open or time.monotonic() < self._paused_until_s:
            return
        while (writes := book.batch()) is not None:
            try:
                line.send(writes, write_command(self.ownership.keys, self.ownership.guard, writes))
            except (redis.RedisError, OSError):
                # The book keeps what was sent until it is answered, and sends it again.
                line.close()
                return
            # What goes back to a queue does not ring, and ends that the queue is watched.
            self._hungry = self._hungry or bool(writes.going)

    def _connect(self) -> OwnerLine:
        """Open the line, and go on where the last one ended."""
        self._drop_line()
        way: Way = self._sources[0].channel.owner_way()
        self._layout, self._pool = way.place.layout, way.pool
        self.ownership.connect(way.place)
        line = OwnerLine(way.pool, way.patience_s)
        # Set before anything else can fail: it is closed with this.
        self.line = line
        self._transport.cycle.watch(self, line)
        self.ownership.flusher = self
        self._hungry, self._asked_s, self._paused_until_s = True, 0.0, 0.0
        self._unconsumed_after_s = time.monotonic() + UNCONSUMED_S
        return line

    def _drop_line(self) -> None:
        line, pool, self.line, self._pool = self.line, self._pool, None, None
        if line is not None:
            self._transport.cycle.unwatch(self, line)
            line.close()
        if pool is not None:
            pool.disconnect()

    def _check(self, line: OwnerLine) -> None:
        self.ownership.check()
        if not line.is_open:
            raise redis.ConnectionError("the connection to the broker is lost")
        line.check()
        now_s = time.monotonic()
        if now_s - self._primary_checked_s >= _PRIMARY_CHECK_S:
            self._primary_checked_s = now_s
            primary = self.ownership.primary()
            if primary is not None and line.server is not None and line.server != primary:
                raise redis.ConnectionError(f"{line.server[0]}:{line.server[1]} is no longer the primary")

    # -- delivering

    def _deliver(self) -> None:
        book, left = self.ownership.book, _MAX_DELIVERED
        for source in list(self._sources):
            while left and book.waiting(source.queues):
                found = book.deliver(source.queues, source.number, 1 if source.channel.qos.can_consume() else 0)
                if not found:
                    break
                for owned in found:
                    self._deliver_one(owned)
                left -= len(found)

    def _give_back_unconsumed(self) -> None:
        now_s = time.monotonic()
        if now_s < self._unconsumed_after_s:
            return
        self._unconsumed_after_s = now_s + UNCONSUMED_S
        consumed = {queue for source in self._sources for queue in source.queues}
        idle = self.ownership.book.unconsumed(consumed)
        if idle:
            count = self.ownership.book.let_go(idle)
            _log.warning("celery.unconsumed", queues=sorted(idle), given_back=count)

    def _deliver_one(self, owned: Owned) -> None:
        message = decode(owned.raw) if owned.message is None else owned.message
        owned.message = None
        if owned.redelivered:
            mark_redelivered(message)
        message["properties"]["delivery_tag"] = owned.tag
        self.delivered += 1
        self._transport._deliver(message, owned.queue)

    # -- asking

    def _ask(self, line: OwnerLine) -> None:
        now_s = time.monotonic()
        if line.waits or now_s < self._paused_until_s:
            return
        take = self._next_take() if self._hungry or now_s - self._asked_s >= _ASK_EVERY_S else None
        if take is not None:
            # From now on, and not from its answer: the bell may ring after the take and be heard before it is answered.
            self._hungry = False
            line.send(take, take_command(self.ownership.keys, self.ownership.guard, take))
        elif self._has_more() or now_s - self._asked_s >= _ASK_EVERY_S:
            line.send(_Nudge(), ["PING"])
        else:
            return
        self._asked_s = now_s

    def _has_more(self) -> bool:
        book = self.ownership.book
        return any(book.waiting(source.queues) and source.channel.qos.can_consume() for source in self._sources)

    def _next_take(self) -> Take | None:
        book = self.ownership.book
        rooms = [
            (source, source.channel.qos.room() - book.waiting(source.queues))
            for source in self._sources
            if source.queues
        ]
        # Where much is held ahead it is taken in handfuls.
        ready = [(source, room) for source, room in rooms if room > self.ownership.ahead() // 4]
        count = min([MAX_TAKE, book.room(), *(room for _, room in ready)])
        if not ready or count <= 0:
            return None
        # Whose room is least sets the number; the others ask again.
        channel = ready[0][0].channel
        wanted = {queue for source, _ in ready for queue in source.queues}
        keys, rotating = channel.owner_keys_in_order(wanted)
        if rotating is None:
            count, rotating = 1, False
        room = max(1, min(_MAX_TAKE_BYTES, MAX_OWNED_BYTES - book.owned_bytes))
        return Take(book.next_take(), keys, count, room, rotating)

    def _answered(self, request: object, value: object) -> None:
        if isinstance(value, ResponseError):
            self._refused(request, value)
        elif isinstance(request, Writes):
            self.ownership.book.written()
            if isinstance(value, int) and value:
                _log.warning("celery.aside_full", dropped=value)
        elif isinstance(request, Take):
            found = taken(request, value)
            self._hungry = self._hungry or not found.drained
            self.ownership.take_in(found)
            self._rotate(found)

    def _rotate(self, found: Taken) -> None:
        for source in self._sources:
            for _, key, _ in found.items:
                source.channel.owner_rotate(self._layout.queue_of(key))

    def _refused(self, request: object, refusal: ResponseError) -> None:
        if is_fenced(refusal):
            raise redis.ConnectionError("another connection, or another dispatcher, took over")
        _log.error("celery.refused", request=type(request).__name__, reason=str(refusal))
        self._paused_until_s = time.monotonic() + _REFUSED_PAUSE_S
        self._hungry = True
        if isinstance(request, Writes):
            # All that was sent and is not answered goes again, in order; answers to come find nothing to tick off.
            raise redis.ConnectionError(f"the broker refuses what is written: {refusal}")
