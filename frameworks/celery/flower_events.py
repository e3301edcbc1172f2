"""Hears the events that Celery makes in the dispatcher, and keeps those of tasks from going out twice.

Where the application's broker is the cluster's Redis, one Flower hears both what Celery sends and what we say of the same
tasks, at the agents that they run on. There ours replaces Celery's; events of workers go out as always. With any other broker,
Celery's events go there, untouched.
"""

from collections.abc import Callable
from typing import Any, Final

from celery.events.dispatcher import EventDispatcher
from kombu.connection import Connection

from mesolite.transport.celery_broker import broker_errors, open_broker

#: The group of events that a dispatcher is limited to which was to send none: there is no such event.
_NO_GROUP: Final = "mesolite-none"

#: Told the kind and the fields of each event of a task.
Told = Callable[[str, dict[str, Any]], None]


def hear_events(app: Any, told: Told, replaces: Callable[[Any], bool], listener_came: Callable[[], None]) -> None:
    """Have everything told that Celery's worker says of tasks. Before the worker makes its dispatcher of events.

    Args:
        app: The application.
        told: Called in the thread of the event loop.
        replaces: Asked with each new connection to the application's broker: whether what is told is said there too, so that
            Celery need not.
        listener_came: Somebody who listens at the application's broker asked for signs of life.
    """
    base: Any = EventDispatcher

    class HeardDispatcher(base):  # type: ignore[misc] # Celery has no types
        """See `EventDispatcher`."""

        def __init__(self, connection: Any = None, hostname: Any = None, **options: Any) -> None:
            # Celery asks a dispatcher whether it is enabled before it makes an event of a task.
            if connection is not None and hostname and not options.get("enabled", True):
                options |= {"enabled": True, "groups": [_NO_GROUP]}
            super().__init__(connection, hostname, **options)
            self._is_replaced = connection is not None and hostname is not None and replaces(connection)

        def send(self, type: str, **options: Any) -> Any:
            """See `EventDispatcher.send`."""
            if type.startswith("task-"):
                told(type, options)
                if self._is_replaced:
                    return None
            elif type == "worker-heartbeat" and "active" not in options:
                # A regular one says how many tasks are active; this answers a listener's call.
                listener_came()
            return super().send(type, **options)

    app.events.dispatcher_cls = HeardDispatcher


def is_same_place(connection: Connection, exchange: str, redis_url: str) -> bool:
    """Whether events sent to an exchange over a connection are heard by whoever listens at the cluster's Redis.

    Asks both servers who they are: addresses tell little where there are sockets, names and Sentinels. One that does not answer
    is taken for another.
    """
    ours: Any = open_broker(redis_url)
    try:
        with ours:
            theirs: Any = connection
            return _place(theirs.default_channel, exchange) == _place(ours.default_channel, "celeryev")
    except broker_errors():
        return False


def _place(channel: Any, exchange: str) -> tuple[str, str, str] | None:
    if not hasattr(channel, "_get_publish_topic"):
        return None if not hasattr(channel, "state") else ("memory", str(id(channel.state)), exchange)
    # Asked first: making the client is what fills in the database's number.
    run_id: str = channel.client.info("server")["run_id"]
    return run_id, channel.global_keyprefix, channel._get_publish_topic(exchange, "")
