"""kombu's Redis transports, with what the command queues need beyond them.

Three things, all for the channel, which in kombu is what talks to Redis:

- one client of redis-py for all commands; kombu makes one for each, which takes longer than the command;
- many messages in one round trip (kombu has that since 5.7, but not for all of its transports);
- under Sentinels, connections that know when they are not the primary's: see `sentinel`. kombu's own stay where they are for
  as long as somebody answers (celery issue 6348 and its like), and ask a dead Sentinel again and again.

kombu has no types: what is `Any` here is its.
"""

# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from kombu.transport import redis as kombu_redis

from .address import SentinelAddress
from .line import Line
from .sentinel import PrimaryConnection, PrimaryPool

#: Messages, and bytes of them, that travel in one round trip. More would save nothing, and a server that is slow to take them
#: would look like one that hangs.
_MAX_BATCH: Final = 1_000
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024

_Redis: Any = kombu_redis


class _Thrift:
    """Lets a channel keep its client, and collect what is put into queues instead of sending it."""

    #: What sends all commands but the pops of a consumer; None before the first.
    _sender: Any = None
    #: Where batches leave; None before the first.
    _line: Line | None = None
    #: What was collected; None while messages are sent one by one.
    _collected: list[tuple[str, bytes]] | None = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        parent: Any = super()
        if asynchronous:
            return parent._create_client(asynchronous=True)
        # The channel makes a new pool after a fork, and when it was closed.
        if self._sender is None or self._sender.connection_pool is not parent.pool:
            self._sender = parent._create_client()
        return self._sender

    def _put(self, queue: str, message: object, **options: Any) -> None:
        if self._collected is None:
            parent: Any = super()
            parent._put(queue, message, **options)
        else:
            # As kombu's own encoder has it, which is made for messages with dates and decimals in them.
            self._collected.append((queue, msgspec.json.encode(message)))

    def publish_many(self, publishes: Sequence[tuple[Any, str]]) -> None:
        """Publish messages through the anonymous exchange, in order, in as few round trips as can be.

        Args:
            publishes: Messages of `prepare_message`, each with its queue.
        """
        channel: Any = self
        self._collected = []
        try:
            for message, queue in publishes:
                channel.basic_publish(message, exchange="", routing_key=queue)
            collected = self._collected
        finally:
            self._collected = None
        if self._line is None:
            self._line = Line(self._create_client())
        for batch in _batches(collected):
            self._line.commands([("LPUSH", queue, text) for queue, text in batch])


class _DirectChannel(_Thrift, _Redis.Channel):
    """A channel to one Redis."""


class _PrimaryChannel(_Thrift, _Redis.SentinelChannel):
    """A channel to the primary of some Sentinels."""

    from_transport_options = (*_Redis.SentinelChannel.from_transport_options, "address")
    connection_class = PrimaryConnection
    #: Set from the transport's options.
    address: SentinelAddress

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> PrimaryPool:
        options: dict[str, Any] = self._connparams(asynchronous)
        # Of a server; Sentinels tell.
        del options["host"], options["port"]
        return PrimaryPool(self.address, **options)

    def check_consumer(self) -> None:
        """Make sure that the connection which waits for messages is the primary's, as the Sentinels last said.

        It is never given back to its pool, where this would be found out.

        Raises:
            redis.exceptions.ConnectionError: It is another server's.
        """
        waiting = getattr(self.client, "connection", None)
        primary = self.pool.master_address
        if waiting is not None and primary is not None and (waiting.host, waiting.port) != primary:
            raise _Redis.redis.ConnectionError(f"{waiting.host}:{waiting.port} is no longer the primary")


class DirectTransport(_Redis.Transport):
    """kombu's Redis transport."""

    Channel = _DirectChannel


class PrimaryTransport(_Redis.SentinelTransport):
    """kombu's Sentinel transport. Takes the option `address`, a `SentinelAddress`, and no others for Sentinels."""

    Channel = _PrimaryChannel


def _batches(messages: Sequence[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """Cut messages into what goes in one round trip; one that is larger than a batch goes alone."""
    batches: list[list[tuple[str, bytes]]] = []
    size = _MAX_BATCH_BYTES
    for message in messages:
        size += len(message[1])
        if size > _MAX_BATCH_BYTES or len(batches[-1]) == _MAX_BATCH:
            batches.append([])
            size = len(message[1])
        batches[-1].append(message)
    return batches
