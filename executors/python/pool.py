"""The executor's end of the pool: two connections to Redis in the main loop. `service` decides, this carries.

One connection waits in XREAD for calls, the other appends results. Each is a socket that the agent opened and handed over. When
either breaks, or is doubted, both are dropped and new ones asked for, with growing pauses: they must be of one primary.

What is said leaves at the end of the loop's turn, unless an append is under way: then it leaves with the reply, together with
what came meanwhile. So a single result leaves at once, and under load each append carries what one round trip brought.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..driver.loop import Loop, Timer
from .calls import CallRunner
from .pool_keys import KEY_TTL_S, REFRESH_EVERY_MS, TRIM_EVERY_MS, calls_key, results_key
from .redis_door import RedisDoor
from .redis_socket import ConnectionLost, RedisSocket
from .redis_writer import REPLY_TIMEOUT_MS, RedisWriter
from .resp import Appending, command
from .service import Service
from .stream_reader import BLOCK_MS, ReadRefused, StreamReader
from .wire import FIELD, Hello

#: Pauses before Redis is asked for again: at once after a break, soon while Sentinels elect, then seldom.
FIRST_PAUSE_MS: Final = 20
MAX_PAUSE_MS: Final = 2_000
#: The service's deadlines are met no sooner than after this: a full window must not make the loop spin.
_LEAST_PAUSE_MS: Final = 10
#: How often connections are looked after, beside what happens on them.
_LOOK_EVERY_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlace:
    """Where this end of the pool is."""

    framework_id: str
    #: Who the executor is, and how many workers it has at first.
    hello: Hello
    #: The agent's `redis.sock`.
    door_path: str
    #: Told of what people may want to know: outages, entries that cannot be read.
    log: Callable[[str], None]


class _Wires:
    """Both connections, for as long as both work."""

    def __init__(self, prefix: str, place: PoolPlace, reading: RedisSocket, writing: RedisSocket) -> None:
        self.prefix: Final = prefix
        self.calls_key: Final = calls_key(prefix, place.framework_id, place.hello.executor_id)
        self.results_key: Final = results_key(prefix, place.framework_id)
        self.append: Final = Appending(self.results_key, FIELD)
        self.reading: Final = reading
        self.writer: Final = RedisWriter(writing)
        #: When anything came from the reading connection.
        self.heard_ms = 0.0
        #: Up to where the calls were trimmed.
        self.trimmed = ""
        self.trim_due_ms = 0.0
        self.refresh_due_ms = 0.0


class Pool:
    """One executor's end. All methods are for the loop's thread."""

    def __init__(self, loop: Loop, runner: CallRunner, place: PoolPlace) -> None:
        self._loop: Final = loop
        self._place: Final = place
        self._service: Final = Service(place.hello, runner, self._news)
        self._wires: _Wires | None = None
        self._reader: StreamReader | None = None
        self._doors: list[RedisDoor] = []
        self._opened: list[tuple[str, socket.socket]] = []
        self._pause_ms = FIRST_PAUSE_MS
        self._flush_planned = False
        #: Looks after the connections now and then.
        self._timer: Timer | None = None
        #: For the service's deadline.
        self._due: Timer | None = None
        self._closed = False

    @property
    def service(self) -> Service:
        """Totals, and what the client waits for."""
        return self._service

    def start(self) -> None:
        """Ask the agent for connections, and serve from then on."""
        self._ask()
        self._timer = self._loop.call_later(_LOOK_EVERY_MS, self._look)

    def workers_changed(self, workers: int) -> None:
        """There are so many workers now."""
        self._service.workers_changed(workers)

    def close(self) -> None:
        """Say what is to be said as far as it goes without waiting, and let go."""
        if self._wires is not None and not self._closed:
            self._write(self._wires)
        self._closed = True
        self._drop()
        for timer in (self._timer, self._due):
            if timer is not None:
                timer.cancel()

    # Connections

    def _ask(self) -> None:
        self._doors = [
            RedisDoor(self._loop, self._place.door_path, self._door_opened, self._door_failed) for _ in range(2)
        ]

    def _door_opened(self, prefix: str, opened: socket.socket) -> None:
        self._opened.append((prefix, opened))
        if len(self._opened) < 2:
            return
        (prefix, reading), (_, writing) = self._opened
        self._opened, self._doors = [], []
        self._connected(_Wires(prefix, self._place, RedisSocket(reading), RedisSocket(writing)))

    def _door_failed(self, message: str) -> None:
        self._lost(f"no connection to Redis: {message}")

    def _connected(self, wires: _Wires) -> None:
        self._wires = wires
        wires.heard_ms = self._loop.now_ms()
        if self._reader is None:
            self._reader = StreamReader(wires.calls_key)
        self._loop.add_reader(wires.reading.fileno(), self._readable)
        self._service.reconnected(self._loop.now_ms())
        self._send_read(wires, self._reader.first())

    def _lost(self, why: str) -> None:
        """Drop what there is, and ask again after a pause."""
        if self._closed:
            return
        if self._pause_ms == FIRST_PAUSE_MS:
            self._place.log(f"pool: {why}; trying again")
        self._drop()
        self._loop.call_later(self._pause_ms, self._ask_again)
        self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)

    def _ask_again(self) -> None:
        if not self._closed and self._wires is None and not self._doors:
            self._ask()

    def _drop(self) -> None:
        for door in self._doors:
            door.give_up()
        for _, opened in self._opened:
            opened.close()
        self._doors, self._opened = [], []
        wires, self._wires = self._wires, None
        if wires is not None:
            for connection in (wires.reading, wires.writer.connection):
                self._loop.remove(connection.fileno())
                connection.close()

    # In

    def _readable(self) -> None:
        wires, reader = self._wires, self._reader
        if wires is None or reader is None:
            return
        try:
            payloads: list[bytes] = []
            following = b""
            for reply in wires.reading.receive():
                more, following = reader.take(reply)
                payloads += more
        except (ConnectionLost, ReadRefused) as lost:
            self._lost(str(lost))
            return
        if payloads:
            self._service.hear(payloads, self._loop.now_ms())
        if following:
            wires.heard_ms = self._loop.now_ms()
            self._pause_ms = FIRST_PAUSE_MS
            # At the turn's end, behind what was submitted: the workers come first, they are what somebody waits for.
            self._loop.call_at_turn_end(partial(self._send_read, wires, following))

    def _send_read(self, wires: _Wires, read: bytes) -> None:
        if self._wires is not wires:
            return
        try:
            wires.reading.send(read)
            if wires.reading.has_unsent:
                # A read is a hundred bytes: a connection that does not take them is no use.
                raise ConnectionLost("Redis reads nothing")
        except ConnectionLost as lost:
            self._lost(str(lost))

    # Out

    def _news(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_at_turn_end(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._wires is not None:
            self._write(self._wires)
        self._plan_due()

    def _plan_due(self) -> None:
        """Come back when the service wants to say something without news. A timer that comes too early does no harm."""
        deadline_ms = self._service.deadline_ms
        due = self._due
        if deadline_ms is None or (due is not None and due.pending and due.when_ms <= deadline_ms):
            return
        if due is not None:
            due.cancel()
        self._due = self._loop.call_at(max(deadline_ms, self._loop.now_ms() + _LEAST_PAUSE_MS), self._news)

    def _write(self, wires: _Wires) -> None:
        now_ms = self._loop.now_ms()
        try:
            if not wires.writer.is_free(now_ms):
                self._await_replies(wires)
                return
            commands = [wires.append.command(entry) for entry in self._service.take(now_ms)]
            if commands:
                wires.writer.send(commands + self._upkeep(wires, now_ms), now_ms)
                if wires.writer.connection.has_unsent:
                    self._await_replies(wires)
        except ConnectionLost as lost:
            self._lost(str(lost))

    def _upkeep(self, wires: _Wires, now_ms: float) -> list[bytes]:
        """Trim what was read, which the client has no more use for, and keep the keys alive."""
        commands: list[bytes] = []
        assert self._reader is not None, "made with the first connection"
        if self._reader.position != wires.trimmed and now_ms >= wires.trim_due_ms:
            wires.trim_due_ms = now_ms + TRIM_EVERY_MS
            wires.trimmed = self._reader.position
            commands.append(command("XTRIM", wires.calls_key, "MINID", wires.trimmed))
        if now_ms >= wires.refresh_due_ms:
            wires.refresh_due_ms = now_ms + REFRESH_EVERY_MS
            commands += [command("EXPIRE", key, KEY_TTL_S) for key in (wires.calls_key, wires.results_key)]
        return commands

    def _await_replies(self, wires: _Wires) -> None:
        """Be woken by the replies to what is under way, because something waits behind it."""
        fileno = wires.writer.connection.fileno()
        self._loop.add_reader(fileno, self._writer_ready)
        if wires.writer.connection.has_unsent:
            self._loop.add_writer(fileno, self._writer_ready)

    def _writer_ready(self) -> None:
        wires = self._wires
        if wires is None:
            return
        connection = wires.writer.connection
        try:
            connection.push()
            if not wires.writer.is_free(self._loop.now_ms()):
                if not connection.has_unsent:
                    self._loop.remove_writer(connection.fileno())
                return
        except ConnectionLost as lost:
            self._lost(str(lost))
            return
        self._loop.remove(connection.fileno())
        self._news()

    # Time

    def _look(self) -> None:
        """Find out what went away without a word, and say what is due."""
        now_ms = self._loop.now_ms()
        wires = self._wires
        for complaint in self._service.take_complaints():
            self._place.log(f"pool: an entry was refused: {complaint}")
        if wires is not None:
            try:
                wires.writer.is_free(now_ms)
                if now_ms - wires.heard_ms > BLOCK_MS + REPLY_TIMEOUT_MS:
                    raise ConnectionLost("Redis answers nothing")
                if self._service.doubtful:
                    raise ConnectionLost("the client confirms nothing; perhaps this Redis is no primary any more")
            except ConnectionLost as lost:
                self._lost(str(lost))
        self._timer = self._loop.call_later(_LOOK_EVERY_MS, self._look)
