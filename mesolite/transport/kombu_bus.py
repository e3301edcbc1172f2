"""A `CommandBus` on kombu.

Messages go through the anonymous exchange straight into the queue they name, so that a publish is one LPUSH and reads no
bindings. They are taken without acknowledgement: kombu then keeps nothing in its `unacked` hash and never redelivers, and a
command that a dying agent took with it is sent again by the master (DESIGN 5).

On Redis kombu wraps each message in JSON with the body in base64: 1.34 times its size and some 290 bytes. There is no
setting that avoids it (without `body_encoding` the JSON encoder makes base64 of it by itself), so it is left as it is.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import redis
from kombu.connection import Connection
from kombu.exceptions import KombuError

from mesolite.errors import RedisUnavailable

from .address import MEMORY_SCHEME, SENTINEL_SCHEME, parse_sentinel, scheme_of, shown
from .kombu_address import kombu_url
from .kombu_transport import DirectTransport, PrimaryTransport
from .redis_client import patience

_CONTENT_TYPE: Final = "application/x-mesolite"
#: Not persistent, in AMQP's words. Redis does not look at it.
_TRANSIENT: Final = 1

#: How long redis-py trusts a connection that it did not use: then it asks before it sends.
_TRUST_S: Final = 5.0
#: kombu's memory transport cannot wait, it looks again this often.
_MEMORY_POLL_S: Final = 0.002
#: How long an answer already on its way is waited for.
_GRACE_S: Final = 0.01
#: The last turn of a wait: shorter ones would keep time more closely and cost a reader with nothing to do more of its CPU.
#: (A message ends any turn at once. At the server a pop stands for one second, kombu's `brpop_timeout`.)
_LAST_TURN_S: Final = 0.05


class KombuBus:
    """Command queues of kombu, on Redis or in memory. One instance is used from one thread.

    Connections are made when first needed. One that failed is dropped, and the next call makes another.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `sentinel://`, or `memory://` for kombu's own queues in this process.

    Raises:
        ConfigError: The address cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._broker = _broker(url)
        self._address = shown(url)
        self._sender: _Link | None = None
        #: One per queue that was ever received from: a reader waits on its own connection.
        self._readers: dict[str, _Reader] = {}

    def send(self, queue: str, payload: bytes) -> None:
        """See `CommandBus`."""
        self.send_many(((queue, payload),))

    def send_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `CommandBus`."""
        try:
            self._link_to_send().publish(messages)
        except _KOMBU_ERRORS as error:
            sender, self._sender = self._sender, None
            raise self._unavailable(error, sender) from error

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """See `CommandBus`.

        A pop that was still standing at the server when the wait ended is answered to the next call. So a message may be
        in the hands of this bus without having been returned; `close` gives up the pop, and loses what was on its way.
        """
        try:
            reader = self._readers.get(queue)
            if reader is None:
                reader = self._readers[queue] = _Reader(self._broker, queue)
            return reader.take(limit, wait_ms / 1000)
        except _KOMBU_ERRORS as error:
            broken = self._readers.pop(queue, None)
            raise self._unavailable(error, broken.link if broken else None) from error

    def delete(self, queue: str) -> None:
        """See `CommandBus`."""
        reader = self._readers.pop(queue, None)
        if reader is not None:
            reader.link.close()
        try:
            self._link_to_send().channel.queue_purge(queue)
        except _KOMBU_ERRORS as error:
            sender, self._sender = self._sender, None
            raise self._unavailable(error, sender) from error

    def close(self) -> None:
        """See `CommandBus`."""
        for reader in self._readers.values():
            reader.link.close()
        self._readers.clear()
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _link_to_send(self) -> "_Link":
        if self._sender is None:
            self._sender = _Link(self._broker, self._broker.socket_timeout_s)
        return self._sender

    def _unavailable(self, error: Exception, link: "_Link | None") -> RedisUnavailable:
        if link is not None:
            link.close()
        reason = str(error).strip() or type(error).__name__
        return RedisUnavailable(f"the command queues at {self._address} do not answer: {reason}")


class _Broker(msgspec.Struct, frozen=True, kw_only=True):
    """How kombu is to reach the queues."""

    url: str
    #: None for the transport that kombu takes by the address.
    transport: Any
    options: dict[str, Any]
    socket_timeout_s: float
    #: While nothing arrives, the server is asked for a sign of life this often: a server that hangs without closing its
    #: sockets looks like an empty queue.
    probe_every_s: float
    probe_timeout_s: float


class _Link:
    """One connection of kombu and its one channel. kombu has no types: what is `Any` in this project is in here."""

    def __init__(self, broker: _Broker, socket_timeout_s: float) -> None:
        connect: Any = Connection
        connection = connect(broker.url, transport_options={**broker.options, "socket_timeout": socket_timeout_s})
        if broker.transport is not None:
            connection.transport_cls = broker.transport
        # Once: kombu would sleep for two seconds and try again.
        connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        self.connection: Any = connection
        self.channel: Any = connection.channel()

    def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """LPUSH, on Redis. The channel is used rather than kombu's Producer, which adds only serializing and declaring."""
        prepared = [(self._prepare(payload), queue) for queue, payload in messages]
        if hasattr(self.channel, "publish_many"):
            self.channel.publish_many(prepared)
            return
        for message, queue in prepared:
            self.channel.basic_publish(message, exchange="", routing_key=queue)

    def probe(self, queue: str) -> None:
        """Ask the server for a sign of life, and under Sentinels make sure that it is the right server."""
        # The length of the queue, over another connection of the channel: an answer is all that matters.
        self.channel.queue_declare(queue)
        if hasattr(self.channel, "check_consumer"):
            self.channel.check_consumer()

    def _prepare(self, payload: bytes) -> Any:
        return self.channel.prepare_message(
            payload,
            content_type=_CONTENT_TYPE,
            content_encoding="binary",
            properties={"delivery_mode": _TRANSIENT},
        )

    def close(self) -> None:
        """Give up the connection without another word to the server.

        Closing a channel, kombu waits for the pop that stands at the server, and throws away what it brings; of a server
        that hangs it waits as long as the socket allows. Forgetting the pop closes the socket, which ends it.
        """
        self.channel._in_poll = None
        with contextlib.suppress(*_KOMBU_ERRORS):
            self.connection.release()


class _Reader:
    """Takes messages out of one queue.

    Waiting is kombu's blocking pop, which brings one message. Who does not wait takes them one by one by other means; the two
    must not overlap: while a pop stands at the server, it and not we have the oldest message.
    """

    def __init__(self, broker: _Broker, queue: str) -> None:
        # All that it asks can be asked again, so that it may give up sooner than a sender.
        self.link = _Link(broker, broker.probe_timeout_s)
        self._probe_every_s = broker.probe_every_s
        self._queue = queue
        self._arrived: deque[bytes] = deque()
        #: A pop may stand at the server, because the last wait ended without an answer.
        self._popping = False
        self._consuming = False
        #: When a message last arrived, or the server was last asked for a sign of life.
        self._heard_at = time.monotonic()

    def take(self, limit: int, wait_s: float) -> list[bytes]:
        """Return up to `limit` messages, waiting at most `wait_s` for the first."""
        if self._popping or wait_s > 0:
            self._wait(max(wait_s, _GRACE_S) if self._popping else wait_s)
        taken = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        if not taken and wait_s <= 0 and not self._popping:
            taken = self._take_present(limit)
        # Who waited has one: whether there is more is a question to the server, and work on the first is to begin meanwhile.
        return taken

    def _take_present(self, limit: int) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < limit:
            try:
                message = self.link.channel.basic_get(self._queue, no_ack=True)
            except _KOMBU_ERRORS:
                # What was taken is out of the queue; it must not go down with the connection.
                if taken:
                    break
                raise
            if message is None:
                break
            taken.append(_body(message))
        return taken

    def _wait(self, wait_s: float) -> None:
        """Wait until a message arrived or the time is over.

        One wait of kombu may take twice the time it is given: where the pop ends without a message it begins another, and
        waits the whole time again. So each is given half of what is left, until that is little.
        """
        if not self._consuming:
            self.link.channel.basic_consume(self._queue, no_ack=True, callback=self._arrive, consumer_tag=self._queue)
            self._consuming = True
        deadline = time.monotonic() + wait_s
        while not self._arrived and (left := deadline - time.monotonic()) > 0:
            turn_s = max(min(left / 2, self._probe_every_s), min(left, _LAST_TURN_S))
            self._popping = True
            with contextlib.suppress(TimeoutError):
                self.link.connection.drain_events(timeout=turn_s)
                self._popping = False
            self._probe()

    def _arrive(self, message: Any) -> None:
        self._heard_at = time.monotonic()
        self._arrived.append(_body(message))

    def _probe(self) -> None:
        """Ask the server for a sign of life, where none came for long."""
        now = time.monotonic()
        if now - self._heard_at >= self._probe_every_s:
            self._heard_at = now
            self.link.probe(self._queue)


def _body(message: Any) -> bytes:
    """Return a message's bytes; kombu leaves an empty body as the text it decoded."""
    body: bytes | str | None = message.body
    if isinstance(body, bytes):
        return body
    return (body or "").encode()


def _broker(url: str) -> _Broker:
    waits = patience(url)
    scheme = scheme_of(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": waits.connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": _TRUST_S,
        # A timed-out publish would be sent twice.
        "retry_on_timeout": False,
        # One list per queue. kombu's four priorities would be four pops for each message.
        "priority_steps": [0],
        # Nothing is ever acknowledged, so nothing need be looked through for redelivery.
        "ack_emulation": False,
    }
    transport: Any = DirectTransport
    address = url if scheme == MEMORY_SCHEME else kombu_url(url)
    if scheme == MEMORY_SCHEME:
        transport, options = None, {"polling_interval": _MEMORY_POLL_S}
    elif scheme == SENTINEL_SCHEME:
        transport, options["address"] = PrimaryTransport, parse_sentinel(url)
        # The others are in the options; kombu would take them for brokers to switch to.
        address = address.partition(";")[0]
    return _Broker(
        url=address,
        transport=transport,
        options=options,
        socket_timeout_s=waits.socket_timeout_s,
        probe_every_s=waits.probe_every_s,
        probe_timeout_s=waits.probe_timeout_s,
    )


#: What kombu and the transports below it raise. KeyError: it looks up a file descriptor that a reconnection took away
#: (kombu `get_redis_error_classes`). ValueError and TypeError: something in the queue that kombu did not put there; it is
#: gone then, and the next call goes on behind it.
_KOMBU_ERRORS: Final = (KombuError, redis.RedisError, OSError, KeyError, ValueError, TypeError)
