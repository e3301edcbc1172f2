"""kombu's Redis transports, with owned messages in place of unacknowledged ones.

Producers, remote control and results' queues (all that is consumed without acknowledgement) are kombu's as they are. Of the
queues that are consumed with acknowledgement, those of one connection are owned: the first that consumes any. The
others are kombu's too, visibility timeout and all.
"""

# kombu has no types: what is `Any` here is its.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

import time
from queue import Empty
from typing import Any, Final

import redis
from celery.worker.state import maybe_shutdown
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import base as virtual
from kombu.utils.scheduling import cycle_by_name, priority_cycle, round_robin_cycle, sorted_cycle
from kombu.utils.url import parse_url
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesolite.errors import ConfigError
from mesolite.transport.address import SentinelAddress
from mesolite.transport.sentinel import PrimaryConnection, PrimaryPool

from . import installed
from .consuming import Consumption, Way
from .decoding import UNDELIVERABLE, Layout
from .line import OwnerLine
from .redis_ownership import Place, RedisOwnership

_Redis: Any = kombu_redis
_Virtual: Any = virtual

#: Where the user sets none: see `mesolite.transport.redis_client`, whose reasons hold here.
_SOCKET_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 3.0
_SENTINEL_SOCKET_TIMEOUT_S: Final = 2.0
_SENTINEL_CONNECT_TIMEOUT_S: Final = 1.0
#: How often kombu's poller comes back where it waits by itself: to see whether the line still answers.
_POLL_TURN_S: Final = 1.0

#: How long an election is waited for, once servers are down for Sentinels, and how often they are asked. Then Celery says that it
#: cannot connect, and waits as it does.
_ELECTION_S: Final = 5.0
_ELECTION_POLL_S: Final = 0.05

_LINE: Final = "OWNER-LINE"
_BELL: Final = "OWNER-BELL"


class OwningQoS(_Redis.QoS):
    """Counts what Celery has and has not acknowledged; what it says of owned messages goes to the ownership."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ownership: Final = installed.ownership()
        #: Of messages that this channel delivered and that were owned.
        self._owned_tags: set[str] = set()

    def room(self) -> int:
        """Return how many more messages Celery may have."""
        # Celery puts its own question in the place of ours (worker_disable_prefetch).
        if "can_consume" in vars(self):
            return 1 if self.can_consume() else 0
        return self._room()

    def can_consume(self) -> bool:
        """Whether there is room. Celery's question, where it has one, asks this one."""
        return self._room() > 0

    def _room(self) -> int:
        limit: int = self.prefetch_count
        if not limit:
            return 1 << 30
        if self._ownership is not None:
            limit += self._ownership.ahead()
        return limit - (len(self._delivered) - len(self._dirty))

    def append(self, message: Any, delivery_tag: str) -> None:
        """Celery gets a message."""
        if self._ownership is None or not self._ownership.owns(delivery_tag):
            super().append(message, delivery_tag)
            return
        self._owned_tags.add(delivery_tag)
        _Virtual.QoS.append(self, message, delivery_tag)

    def forget(self) -> None:
        """Let go of what was acknowledged.

        kombu's own does when the next message comes: by then thousands, taken ahead and done, may have stayed for a night.
        """
        self._flush()

    def ack(self, delivery_tag: str) -> None:
        """Celery acknowledges one."""
        if self._ownership is None or delivery_tag not in self._owned_tags:
            super().ack(delivery_tag)
            return
        self._owned_tags.discard(delivery_tag)
        self._ownership.acknowledge(delivery_tag)
        _Virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Celery rejects one."""
        if self._ownership is None or delivery_tag not in self._owned_tags:
            super().reject(delivery_tag, requeue=requeue)
            return
        self._owned_tags.discard(delivery_tag)
        self._ownership.reject(delivery_tag, requeue=requeue)
        _Virtual.QoS.ack(self, delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put back what is not owned; what is owned stays so."""
        self._flush()
        for tag in self._owned_tags:
            self._delivered.pop(tag, None)
        super().restore_unacked_once(stderr)


class _Owning:
    """What makes a channel of kombu's Redis transports an owning one."""

    QoS = OwningQoS
    connection: Any
    socket_timeout_s = _SOCKET_TIMEOUT_S
    connect_timeout_s = _CONNECT_TIMEOUT_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        #: Queues that are consumed by the ownership.
        self._owned_queues: list[str] = []
        self._owner_cycle: Any = None
        parent: Any = super()
        parent.__init__(*arguments, **options)

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **options: Any) -> Any:
        """Consume a queue, by the ownership where it is acknowledged and not a subscription."""
        channel: Any = self
        consumption = None
        if not no_ack and queue not in channel._fanout_queues:
            consumption = channel.connection.cycle.consumption_for(channel.connection)
        if consumption is not None and queue not in self._owned_queues:
            self._owned_queues.append(queue)
        parent: Any = super()
        answer = parent.basic_consume(queue, no_ack, callback, consumer_tag, **options)
        if consumption is not None:
            self._order().update(self._owned_queues)
            channel.connection._callbacks[queue] = self._receiver(callback, consumption.ownership)
            consumption.consume(channel, queue)
        return answer

    def _basic_cancel(self, consumer_tag: str) -> Any:
        channel: Any = self
        queue = channel._tag_to_queue.get(consumer_tag)
        parent: Any = super()
        answer = parent._basic_cancel(consumer_tag)
        if queue in self._owned_queues and queue not in channel._active_queues:
            self._owned_queues.remove(queue)
            self._order().update(self._owned_queues)
            consumption = channel.connection.cycle.consumption
            # Where the channel closes, the next one consumes the queue.
            if consumption is not None and not channel._closing:
                consumption.cancel(channel, queue)
        return answer

    def _receiver(self, callback: Any, ownership: RedisOwnership) -> Any:
        """Return what kombu calls with a message: as its own, but one that it cannot make a message of is set aside."""
        channel: Any = self

        def receive(raw_message: Any) -> Any:
            tag: str = raw_message["properties"]["delivery_tag"]
            try:
                message = channel.Message(raw_message, channel=channel)
            except UNDELIVERABLE as error:
                ownership.set_aside(tag, f"not a message of kombu: {error!r}")
                return None
            channel.qos.append(message, tag)
            return callback(message)

        return receive

    @property
    def active_queues(self) -> list[str]:
        """Queues that kombu consumes by BRPOP."""
        parent: Any = super()
        queues: list[str] = parent.active_queues
        return [queue for queue in queues if queue not in self._owned_queues]

    def close(self) -> None:
        """Close the channel; what it delivered and was not given is delivered by the next."""
        channel: Any = self
        cycle = None if channel.connection is None else channel.connection.cycle
        if cycle is not None and cycle.consumption is not None and not channel.closed:
            cycle.consumption.leave(channel)
        parent: Any = super()
        parent.close()

    # -- for the consumption

    def owner_way(self) -> Way:
        """Return how this channel reaches its broker, with connections that bear being read by us."""
        channel: Any = self
        layout = Layout(channel.global_keyprefix, channel.sep)
        client: redis.Redis = redis.Redis(connection_pool=self._owner_pool(asynchronous=False))
        pool = self._owner_pool(asynchronous=True)
        return Way(Place(client, layout), pool, pool.connection_kwargs["socket_timeout"])

    def owner_keys_in_order(self, queues: set[str]) -> tuple[list[list[str]], bool | None]:
        """Return the lists of queues, priority by priority, in the order in which kombu would look at them.

        With it whether the queues take turns; None where only asking after each message tells (an order of the user's own).
        """
        channel: Any = self
        cycle = self._order()
        # Queues of another channel come behind.
        ordered = [queue for queue in cycle.consume(len(self._owned_queues)) if queue in queues]
        ordered += sorted(queues.difference(ordered))
        keys = [
            [f"{channel.global_keyprefix}{channel._q_for_pri(queue, step)}" for queue in ordered]
            for step in channel.priority_steps
        ]
        kinds: dict[object, bool] = {round_robin_cycle: True, priority_cycle: False, sorted_cycle: False}
        return keys, kinds.get(type(cycle))

    def owner_rotate(self, queue: str) -> None:
        """A message came from this queue."""
        if queue in self._owned_queues:
            self._order().rotate(queue)

    def _order(self) -> Any:
        if self._owner_cycle is None:
            channel: Any = self
            make: Any = cycle_by_name(channel.queue_order_strategy)
            self._owner_cycle = make()
        return self._owner_cycle

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parent: Any = super()
        params: dict[str, Any] = parent._connparams(asynchronous=asynchronous)
        if params.get("socket_timeout") is None:
            params["socket_timeout"] = self.socket_timeout_s
        if "socket_connect_timeout" in params and params["socket_connect_timeout"] is None:
            params["socket_connect_timeout"] = self.connect_timeout_s
        return params

    def _owner_params(self, *, asynchronous: bool) -> dict[str, Any]:
        params = self._connparams(asynchronous=asynchronous)
        # Answers of one shape, nothing sent twice, and no questions of redis-py's own between ours.
        params |= {"protocol": 2, "retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "health_check_interval": 0}
        params.pop("max_connections", None)
        return params

    def _owner_pool(self, *, asynchronous: bool) -> Any:
        return redis.ConnectionPool(**self._owner_params(asynchronous=asynchronous))


class OwningChannel(_Owning, _Redis.Channel):
    """A channel to one Redis."""


class _PrimaryTlsConnection(PrimaryConnection, redis.SSLConnection):
    """A connection with TLS that knows when it is not the primary's."""


class OwningSentinelChannel(_Owning, _Redis.SentinelChannel):
    """A channel to the primary of some Sentinels. Takes kombu's options."""

    connection_class = PrimaryConnection
    connection_class_ssl = _PrimaryTlsConnection
    socket_timeout_s = _SENTINEL_SOCKET_TIMEOUT_S
    connect_timeout_s = _SENTINEL_CONNECT_TIMEOUT_S

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> PrimaryPool:
        return self._primary_pool(self._connparams(asynchronous))

    def _owner_pool(self, *, asynchronous: bool) -> Any:
        return self._primary_pool(self._owner_params(asynchronous=asynchronous))

    def _primary_pool(self, params: dict[str, Any]) -> PrimaryPool:
        host, port = params.pop("host"), params.pop("port")
        name = getattr(self, "master_name", None)
        if not name:
            raise ConfigError("the transport option 'master_name' must say what the Sentinels call the primary")
        urls: list[dict[str, Any]] = [parse_url(url) for url in self.connection.client.alt]
        sentinels = [
            (url["hostname"] or "127.0.0.1", url["port"] or self.connection.default_port)
            for url in urls
            if url["transport"] == "sentinel"
        ]
        address = SentinelAddress(sentinels=tuple(sentinels or [(host, port)]), master_name=name)
        pool = PrimaryPool(address, getattr(self, "sentinel_kwargs", None), **params)
        pool.sentinel_manager.min_other_sentinels = getattr(self, "min_other_sentinels", 0)
        return pool


class OwningPoller(_Redis.MultiChannelPoller):
    """kombu's poller, which also drives a consumption."""

    #: Of this connection; None where it consumes nothing by us.
    consumption: Consumption | None = None

    def consumption_for(self, transport: Any) -> Consumption | None:
        """Return what consumes for this connection, None where another connection of this process does."""
        ownership = installed.ownership()
        if self.consumption is None and ownership is not None and installed.may_consume():
            self.consumption = Consumption(transport, ownership)
            installed.consumes(self.consumption)
        return self.consumption

    def watch(self, consumption: Consumption, line: OwnerLine) -> None:
        """Wait for a line too."""
        self._register(consumption, line.line, _LINE)
        self._register(consumption, line.bell, _BELL)

    def unwatch(self, consumption: Consumption, line: OwnerLine) -> None:
        """Do not any more."""
        for end, kind in ((line.line, _LINE), (line.bell, _BELL)):
            socket = self._chan_to_sock.pop((consumption, end, kind), None)
            for number, watched in list(self._fd_to_chan.items()):
                if watched == (consumption, kind):
                    del self._fd_to_chan[number]
                    if socket is not None and end.connection._sock is socket:
                        self._unregister_from_poll(number)

    def on_poll_start(self) -> None:
        """Before each wait."""
        super().on_poll_start()
        if self.consumption is not None:
            self.consumption.turn()

    def on_readable(self, fileno: int) -> Any:
        """Something can be read."""
        watched, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == _LINE:
            if not watched.on_line():
                raise Empty
            return None
        if kind == _BELL:
            watched.on_bell()
            raise Empty
        return super().on_readable(fileno)

    def handle_event(self, fileno: int, event: int) -> Any:
        """Something happened to a descriptor."""
        if self._fd_to_chan.get(fileno, (None, None))[1] in {_LINE, _BELL}:
            return self.on_readable(fileno), self
        return super().handle_event(fileno, event)

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Wait for events, where no event loop does."""
        if self.consumption is None:
            return super().get(callback, timeout)
        before = self.consumption.delivered
        self.consumption.turn()
        if self.consumption.delivered > before:
            return None
        turn_s = _POLL_TURN_S if timeout is None else min(timeout, _POLL_TURN_S)
        try:
            return super().get(callback, turn_s)
        except Empty:
            if self.consumption.delivered > before:
                return None
            raise

    def close(self) -> None:
        """The connection closes."""
        if self.consumption is not None:
            self.consumption.close()
        super().close()


class OwningTransport(_Redis.Transport):
    """kombu's Redis transport, owning."""

    Channel = OwningChannel

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cycle = OwningPoller()


class OwningSentinelTransport(_Redis.SentinelTransport):
    """kombu's Sentinel transport, owning.

    Once it was connected it waits for the next primary: Celery tries again after 2 s and after 6 s, just before and long
    after Sentinels have elected one.
    """

    Channel = OwningSentinelChannel
    #: Whether Sentinels that this process knows have ever named a primary that answered.
    _has_connected = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cycle = OwningPoller()

    def establish_connection(self) -> Any:
        """Connect; behind a failover, as soon as there is a primary again."""
        kind = type(self)
        deadline_s = time.monotonic() + (_ELECTION_S if kind._has_connected else 0)
        while True:
            try:
                connected = super().establish_connection()
            except self.connection_errors:
                if time.monotonic() > deadline_s:
                    raise
            else:
                kind._has_connected = True
                return connected
            # As Celery does between its tries: who was told to end need not wait.
            maybe_shutdown()
            time.sleep(_ELECTION_POLL_S)
