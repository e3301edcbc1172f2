"""The engine of a pool: calls go straight to executors over Redis, and their ends come back (docs/executors.md, section 4).

    engine = Engine(partial(connect_raw, url, timeout_s=5), key_prefix(cluster), framework_id, on_broken=...)
    engine.start()
    engine.executor_up(executor_id)                    # the framework launched one; it gets calls once it has said hello
    engine.submit([PoolCall(function, arguments, end)])  # end(call, Outcome | Lost), once, from another thread or this one
    engine.executor_over(executor_id, "its agent is gone")   # what it had is Lost, or tried again
    engine.close()

`core` decides; this is threads and sockets. Whoever calls `submit` also sends, where nothing is under way: then a call is with
Redis before `submit` returns, and no other thread had to wake up for it. While an append is under way, calls gather, and leave
with its reply, or when there are enough of them to be worth an entry of their own. One thread reads: it waits for results and for
the replies that somebody waits for, tells ends, connects again where a connection broke, and keeps the core's deadlines.

All methods may be called from any thread. Ends are told without the engine's lock; so an `end` may call the engine.
"""

import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from mesolite.errors import RedisUnavailable, Unavailable
from mesolite.executors.python.calls import BlockRef
from mesolite.executors.python.pool_keys import KEY_TTL_S, REFRESH_EVERY_MS, TRIM_EVERY_MS, calls_key, results_key
from mesolite.executors.python.redis_socket import ConnectionLost, RedisSocket
from mesolite.executors.python.redis_writer import REPLY_TIMEOUT_MS, RedisWriter
from mesolite.executors.python.resp import Appending, NotRedis, RedisRefusal, command
from mesolite.executors.python.session import session_name
from mesolite.executors.python.stream_reader import BLOCK_MS, ReadRefused, StreamReader
from mesolite.executors.python.wire import FIELD
from mesolite.logs import get_logger
from mesolite.retries import Retries

from .engine_blocks import BlockCarrier
from .engine_call import Ending, EngineStats, Lost, PoolCall, StorePlace, Upload
from .engine_core import EngineCore
from .engine_takeover import OutlivingCore
from .replies import ParserInC

__all__ = ["Ending", "Engine", "EngineStats", "Lost", "PoolCall"]

#: So many gathered calls leave though an append is under way: an entry of so many costs little for each of them.
ENOUGH_ITEMS: Final = 64
#: The longest wait of the engine's thread, so that what went away without a word is noticed.
MAX_WAIT_MS: Final = 1_000
#: How long a session's first words may take: a new connection answers at once or never.
FIRST_REPLY_TIMEOUT_S: Final = 5.0
#: How long a closed pool's results stay, for executors that still append: they set no time themselves when there is one.
CLOSED_TTL_S: Final = 900

_log = get_logger("mesolite.pool")


class _Wires:
    """The connections to one primary."""

    def __init__(self, reading: RedisSocket, writing: RedisSocket) -> None:
        self.reading: Final = reading
        self.writer: Final = RedisWriter(writing)
        self.poll: Final = select.epoll()
        self.poll.register(reading.fileno(), select.EPOLLIN)
        self.poll.register(writing.fileno(), 0)
        #: When anything came from the reading connection.
        self.heard_ms = 0.0
        #: Up to where results were trimmed.
        self.trimmed = ""
        self.trim_due_ms = 0.0
        self.refresh_due_ms = 0.0
        #: The thread is to be woken by the replies to what is under way, and will flush then.
        self.awaited = False
        #: Streams to which this connection has appended, and gave their time to live.
        self.known: set[str] = set()

    def close(self) -> None:
        """Let go of all."""
        self.poll.close()
        self.reading.close()
        self.writer.connection.close()


class Engine:
    """One pool's client.

    Args:
        open_socket: Returns a connected socket on the cluster's primary (`connect_raw`). Raises `Unavailable` or `OSError`.
        prefix: Of the cluster's keys (`key_prefix`).
        framework_id: Whose pool it is.
        on_broken: Told why, once, from the engine's thread, when it cannot go on: an error of ours. Nothing is ended then.
        core: What decides; an `OutlivingCore` where calls outlive their engine.
    """

    def __init__(
        self,
        open_socket: Callable[[], socket.socket],
        prefix: str,
        framework_id: str,
        *,
        on_broken: Callable[[BaseException], None] | None = None,
        core: EngineCore | None = None,
    ) -> None:
        self._open_socket: Final = open_socket
        self._prefix: Final = prefix
        self._framework_id: Final = framework_id
        self._results_key: Final = results_key(prefix, framework_id)
        self._on_broken: Final = on_broken
        #: Guards the core, and the writing connection.
        self._lock: Final = threading.Lock()
        self._core: Final = core or EngineCore()
        self._leaves = False
        self._wires: _Wires | None = None
        self._reader: StreamReader | None = None
        self._appending: dict[str, Appending] = {}
        self._carrier: Final = BlockCarrier(self._carried)
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name=f"pool {framework_id}", daemon=True)

    # For any thread

    def start(self) -> None:
        """Begin; what is submitted before Redis answers waits."""
        self._thread.start()

    def submit(self, calls: Sequence[PoolCall]) -> None:
        """Take calls on; each has its end told once, unless its `claim` says that it is not wanted."""
        with self._lock:
            self._core.submit(calls)
            if self._core.speaks:
                self._flush(_now_ms())
            endings = self._core.take_endings()
        if endings:
            _tell(endings)

    def attach(self, calls: Sequence[PoolCall], executor_ids: Sequence[str]) -> None:
        """Await the ends of calls that an earlier engine gave to one of these (`OutlivingCore.attach`)."""
        core = self._core
        assert isinstance(core, OutlivingCore), "only where calls outlive their engine"
        with self._lock:
            core.attach(calls, executor_ids)
            self._flush(_now_ms())
            endings = core.take_endings()
        _tell(endings)

    def searches_in(self, executor_id: str) -> bool:
        """See `OutlivingCore`."""
        with self._lock:
            return isinstance(self._core, OutlivingCore) and self._core.searches_in(executor_id)

    def awaited(self) -> dict[str, int]:
        """See `OutlivingCore`; empty while there is no connection."""
        core = self._core
        with self._lock:
            return core.awaited() if isinstance(core, OutlivingCore) and self._wires is not None else {}

    @property
    def searches(self) -> int:
        """How many calls of earlier engines are looked for."""
        return self._core.searches if isinstance(self._core, OutlivingCore) else 0

    def cancel(self, call: PoolCall, *, kill: bool = False) -> bool:
        """End a call that has not begun, and with `kill` also one that has.

        Returns:
            True where no executor had it: it is forgotten, and no end is told. Else its end comes, if it has not come already.
        """
        with self._lock:
            forgotten = self._core.cancel(call, kill=kill)
            self._flush(_now_ms())
            endings = self._core.take_endings()
        _tell(endings)
        return forgotten

    def executor_up(self, executor_id: str, kind: Hashable = None) -> None:
        """The framework has this executor, and calls of this kind may run there; the engine asks it who it is."""
        now_ms = _now_ms()
        with self._lock:
            self._core.executor_up(executor_id, kind, now_ms)
            self._flush(now_ms)

    def executor_over(self, executor_id: str, reason: str) -> None:
        """Nothing of this executor runs any more, for certain: its calls are `Lost`, or tried again where they may be."""
        with self._lock:
            self._core.executor_over(executor_id, reason)
            self._flush(_now_ms())
            endings = self._core.take_endings()
            self._forget_stream(executor_id)
        _tell(endings)

    def drain(self, executor_id: str, *, draining: bool = True) -> None:
        """Give an executor no more calls; what it has, it keeps (`given_to`)."""
        with self._lock:
            self._core.drain(executor_id, draining=draining)
            self._flush(_now_ms())

    def given_to(self, executor_id: str) -> int:
        """Return how many calls an executor has."""
        with self._lock:
            return self._core.given_to(executor_id)

    def store_of(self, executor_id: str) -> StorePlace | None:
        """Return where the block store of an executor's agent is; None before it has said so."""
        with self._lock:
            return self._core.store_of(executor_id)

    def stats(self) -> EngineStats:
        """Return how it is doing."""
        with self._lock:
            return self._core.stats()

    def close(self, *, leave: bool = False) -> None:
        """Let go of Redis and of all calls, which are not ended. May be repeated.

        Args:
            leave: Another engine follows: executors keep what they have and what is on its way to them.
        """
        self._leaves = leave
        self._closing.set()
        with self._lock:
            self._carrier.close()
            wires = self._wires
            if wires is not None:
                # Wakes the thread: a connection with nothing to wait for reports that it can be written.
                wires.poll.modify(wires.writer.connection.fileno(), select.EPOLLOUT)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until a closed engine has let go."""
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    # Writing; with the lock

    def _flush(self, now_ms: float) -> None:
        """Send what there is, or see to it that it is sent."""
        if self._core.has_blocks:
            self._move_blocks()
        wires = self._wires
        if wires is None or not self._core.speaks:
            return
        try:
            enough = self._core.waiting_items() >= ENOUGH_ITEMS and not wires.writer.connection.has_unsent
            if enough or not wires.writer.unanswered:
                self._write(wires, now_ms)
            elif wires.awaited:
                return
            elif wires.writer.is_free(now_ms):
                self._write(wires, now_ms)
            else:
                self._await_replies(wires)
        except ConnectionLost as lost:
            self._break(wires, lost)

    def _move_blocks(self) -> None:
        if self._closing.is_set():
            return
        for upload in self._core.take_uploads():
            self._carrier.put(upload)
        for upload in self._core.take_drops():
            self._carrier.drop(upload)

    def _carried(self, upload: Upload, block: BlockRef | None, refusal: str) -> None:
        """From one of the carrier's threads."""
        with self._lock:
            self._core.carried(upload, block, refusal)
            self._flush(_now_ms())
            endings = self._core.take_endings()
        _tell(endings)

    def _write(self, wires: _Wires, now_ms: float) -> None:
        commands: list[bytes] = []
        for executor_id, entry in self._core.take(now_ms):
            appending = self._appending.get(executor_id)
            if appending is None:
                appending = Appending(calls_key(self._prefix, self._framework_id, executor_id), FIELD)
                self._appending[executor_id] = appending
            commands.append(appending.command(entry))
            if executor_id not in wires.known:
                wires.known.add(executor_id)
                key = calls_key(self._prefix, self._framework_id, executor_id)
                commands.append(command("EXPIRE", key, KEY_TTL_S))
        if commands:
            wires.writer.send(commands + self._upkeep(wires, now_ms), now_ms)
            if wires.writer.connection.has_unsent or self._core.speaks:
                self._await_replies(wires)

    def _upkeep(self, wires: _Wires, now_ms: float) -> list[bytes]:
        """Trim the results that were read, and keep the keys alive."""
        commands: list[bytes] = []
        assert self._reader is not None, "made with the first connection"
        if self._reader.position != wires.trimmed and now_ms >= wires.trim_due_ms:
            wires.trim_due_ms = now_ms + TRIM_EVERY_MS
            wires.trimmed = self._reader.position
            commands.append(command("XTRIM", self._results_key, "MINID", wires.trimmed))
        if now_ms >= wires.refresh_due_ms:
            wires.refresh_due_ms = now_ms + REFRESH_EVERY_MS
            commands.append(command("EXPIRE", self._results_key, KEY_TTL_S))
            for executor_id in wires.known:
                key = calls_key(self._prefix, self._framework_id, executor_id)
                commands.append(command("EXPIRE", key, KEY_TTL_S))
        return commands

    def _await_replies(self, wires: _Wires) -> None:
        """Have the thread woken, once, by the replies to what is under way."""
        wires.awaited = True
        more = select.EPOLLOUT if wires.writer.connection.has_unsent else 0
        wires.poll.modify(wires.writer.connection.fileno(), select.EPOLLIN | more | select.EPOLLONESHOT)

    def _forget_stream(self, executor_id: str) -> None:
        self._appending.pop(executor_id, None)
        wires = self._wires
        if wires is not None:
            wires.known.discard(executor_id)
            try:
                key = calls_key(self._prefix, self._framework_id, executor_id)
                wires.writer.send([command("UNLINK", key)], _now_ms())
            except ConnectionLost as lost:
                self._break(wires, lost)

    def _break(self, wires: _Wires, lost: Exception) -> None:
        """The connections are of no use any more: the thread will find out at once."""
        _log.warning("pool.connection_lost", framework_id=self._framework_id, reason=str(lost))
        self._wires = None
        wires.reading.shutdown()

    # The engine's thread

    def _run(self) -> None:
        try:
            retries = Retries()
            while not self._closing.is_set():
                try:
                    wires = self._connect()
                except (Unavailable, OSError, ConnectionLost) as error:
                    if retries.is_first:
                        _log.warning("pool.store_away", framework_id=self._framework_id, reason=str(error))
                    self._closing.wait(retries.take_ms() / 1000)
                    continue
                retries.reset()
                try:
                    self._serve(wires)
                except (ConnectionLost, ReadRefused) as lost:
                    self._closing.wait(retries.take_ms() / 1000)
                    _log.warning("pool.connection_lost", framework_id=self._framework_id, reason=str(lost))
                finally:
                    self._let_go(wires)
        except BaseException as failure:
            if self._on_broken is None:
                raise
            self._on_broken(failure)
            raise

    def _connect(self) -> _Wires:
        reading = self._open_socket()
        try:
            writing = self._open_socket()
        except BaseException:
            reading.close()
            raise
        try:
            if self._reader is None:
                position = self._begin_session(writing)
                self._reader = StreamReader(self._results_key, position)
                with self._lock:
                    self._core.named(session_name(position, secrets.token_hex(6)), _now_ms())
        except BaseException:
            reading.close()
            writing.close()
            raise
        return _Wires(RedisSocket(reading, ParserInC()), RedisSocket(writing, ParserInC()))

    def _begin_session(self, opened: socket.socket) -> str:
        """Append the session's first entry, and return its id, which names it.

        Raises:
            RedisUnavailable: Redis does not take it.
        """
        opened.settimeout(FIRST_REPLY_TIMEOUT_S)
        parser = ParserInC()
        opened.sendall(Appending(self._results_key, FIELD).command(b""))
        try:
            while not (replies := parser.feed(opened.recv(4096))):
                continue
        except NotRedis as error:
            raise RedisUnavailable(str(error)) from error
        match replies:
            case [bytes(entry_id)]:
                return entry_id.decode()
            case [RedisRefusal() as refusal]:
                raise RedisUnavailable(f"Redis answers: {refusal.message}")
            case _:
                raise RedisUnavailable("Redis answers something else than an entry's id")

    def _serve(self, wires: _Wires) -> None:
        """Run on these connections until one breaks, or until the engine is closed."""
        assert self._reader is not None, "made with the first connection"
        wires.heard_ms = _now_ms()
        wires.reading.send(self._reader.first())
        with self._lock:
            self._wires = wires
            self._core.reconnected(wires.heard_ms)
        reading = wires.reading.fileno()
        while not self._closing.is_set():
            wait_ms = self._keep_deadlines(wires)
            for fileno, events in wires.poll.poll(wait_ms / 1000):
                if fileno == reading:
                    self._read(wires, self._reader)
                else:
                    self._replied(wires, events)

    def _read(self, wires: _Wires, reader: StreamReader) -> None:
        payloads: list[bytes] = []
        following = b""
        for reply in wires.reading.receive():
            more, following = reader.take(reply)
            payloads += more
        now_ms = wires.heard_ms = _now_ms()
        if payloads:
            with self._lock:
                self._core.hear(payloads, now_ms)
                self._flush(now_ms)
                begun = self._core.take_begun()
                endings = self._core.take_endings()
            for call in begun:
                call.begun()
            _tell(endings)
        # Last: whoever waits for an end does not wait for this, and has the interpreter while Redis is being written to.
        if following:
            wires.reading.send(following)

    def _replied(self, wires: _Wires, events: int) -> None:
        if events & (select.EPOLLHUP | select.EPOLLERR):
            raise ConnectionLost("Redis closed the connection")
        now_ms = _now_ms()
        with self._lock:
            wires.awaited = False
            wires.writer.connection.push()
            if not wires.writer.is_free(now_ms):
                self._await_replies(wires)
            else:
                self._flush(now_ms)

    def _keep_deadlines(self, wires: _Wires) -> float:
        """Say what is due; return for how long nothing will be."""
        now_ms = _now_ms()
        with self._lock:
            if self._wires is not wires:
                raise ConnectionLost("the writing connection broke")
            deadline_ms = self._core.tick(now_ms)
            wires.writer.is_free(now_ms)
            self._flush(now_ms)
            if now_ms - wires.heard_ms > BLOCK_MS + REPLY_TIMEOUT_MS:
                raise ConnectionLost("Redis answers nothing")
            if self._core.doubtful:
                raise ConnectionLost("no executor confirms anything; perhaps this Redis is no primary any more")
            for complaint in self._core.take_complaints():
                _log.warning("pool.bad_entry", framework_id=self._framework_id, reason=complaint)
        if deadline_ms is None:
            return MAX_WAIT_MS
        return min(max(deadline_ms - now_ms, 1.0), MAX_WAIT_MS)

    def _let_go(self, wires: _Wires) -> None:
        with self._lock:
            self._wires = None
            if self._closing.is_set() and not self._leaves:
                self._say_goodbye(wires)
            wires.close()

    def _say_goodbye(self, wires: _Wires) -> None:
        try:
            goodbye = [command("EXPIRE", self._results_key, CLOSED_TTL_S)]
            goodbye += [command("UNLINK", calls_key(self._prefix, self._framework_id, each)) for each in wires.known]
            wires.writer.send(goodbye, _now_ms())
        except ConnectionLost:
            return  # the keys go when their time is over


def _tell(endings: list[tuple[PoolCall, Ending]]) -> None:
    for call, ending in endings:
        call.end(call, ending)


def _now_ms() -> float:
    return time.monotonic() * 1000
