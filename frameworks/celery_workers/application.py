"""The Celery application whose workers these are: its queues, their lengths, and what its workers say. Knows Celery and kombu.

Everything here may block for seconds; it is for the thread that looks.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mesolite.errors import ConfigError, Unavailable
from mesolite.transport.celery_broker import broker_errors

from .arguments import prefetch_multiplier
from .looks import Look, WorkerView

#: A broker that does not answer for so long is away.
SOCKET_TIMEOUT_S: Final = 5.0
#: How long answers of workers are waited for. Those that all answer do so within milliseconds.
ANSWER_TIMEOUT_S: Final = 1.0
#: What says that there is no such queue: it is empty, or nobody has declared it yet.
_NOT_FOUND: Final = 404


class BrokerUnavailable(Unavailable):
    """The application's broker does not answer; it is tried again."""


class Application:
    """One application, by its broker. For one thread.

    Args:
        name: What `celery -A` takes.
        path: Folders to find its modules in, before others.
        queues: Those that count; empty: all that its workers take by themselves.
        arguments: More arguments of its workers' command line, which win over the application's settings.

    Raises:
        ConfigError: It cannot be loaded; says why.
    """

    def __init__(
        self, name: str, path: Sequence[str] = (), queues: Sequence[str] = (), arguments: Sequence[str] = ()
    ) -> None:
        self._app: Final = _load(name, path)
        said = prefetch_multiplier(arguments)
        self._multiplier: Final = int(self._app.conf.worker_prefetch_multiplier or 0) if said is None else said
        # Questions go out by the connection that answers come by, which has limits of time and is replaced where it fails: one
        # of the application's pool would wait for ever for a primary that hangs.
        self._app.control.mailbox.producer_pool = None
        self.queues: Final = tuple(queues) or tuple(sorted(str(each) for each in self._app.amqp.queues))
        self._connection: Any = None
        self._errors: Final = (*broker_errors(), *_errors_of(self._app))

    @property
    def soft_shutdown_s(self) -> float:
        """How long a worker waits for its tasks where its SIGTERM is a soft shutdown (Celery: `REMAP_SIGTERM=SIGQUIT`)."""
        return float(self._app.conf.worker_soft_shutdown_timeout or 0)

    def look(self, nodes: Sequence[str]) -> Look:
        """Measure the queues and ask the workers.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        try:
            connection = self._connected()
            waiting = {queue: self._length(connection, queue) for queue in self.queues}
            return Look(waiting=waiting, workers=self._ask(connection, nodes))
        except self._errors as error:
            self.close()
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connection; the next look makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*self._errors):
                connection.release()

    def _connected(self) -> Any:
        if self._connection is None:
            timeouts = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": SOCKET_TIMEOUT_S}
            is_redis = str(self._app.connection_for_read().transport_cls).startswith(("redis", "sentinel"))
            connection = self._app.connection_for_read(
                connect_timeout=SOCKET_TIMEOUT_S, transport_options=timeouts if is_redis else {}
            )
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=SOCKET_TIMEOUT_S)
            self._connection = connection
        return self._connection

    def _length(self, connection: Any, queue: str) -> int:
        """Count the messages of a queue, whatever their priority. A queue that is not there is empty."""
        # A channel of its own: an AMQP broker closes the one on which a queue was not found.
        channel = connection.channel()
        try:
            if hasattr(channel, "_size"):
                # kombu's own brokers (Redis). Its passive declaration finds no queue where keys have a prefix (5.7).
                return int(channel._size(queue))
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors as error:
            if getattr(error, "reply_code", getattr(error, "code", None)) in (_NOT_FOUND, str(_NOT_FOUND)):
                return 0
            raise
        finally:
            with suppress(*self._errors):
                channel.close()

    def _ask(self, connection: Any, nodes: Sequence[str]) -> dict[str, WorkerView]:
        stats = self._inspect(connection, nodes, "stats")
        answered = sorted(stats)
        active = self._inspect(connection, answered, "active")
        reserved = self._inspect(connection, answered, "reserved")
        return {
            node: WorkerView(
                active=len(active[node]),
                reserved=len(reserved[node]),
                scheduled=_scheduled(stats[node], self._multiplier),
                begun=sum(int(count) for count in _mapping(stats[node].get("total")).values()),
            )
            for node in answered
            if node in active and node in reserved
        }

    def _inspect(self, connection: Any, nodes: Sequence[str], what: str) -> dict[str, Any]:
        """Ask workers one thing; those that do not answer in time are left out."""
        if not nodes:
            return {}
        inspect = self._app.control.inspect(
            destination=list(nodes), timeout=ANSWER_TIMEOUT_S, connection=connection, limit=len(nodes)
        )
        replies: dict[str, Any] = getattr(inspect, what)() or {}
        return {node: reply for node, reply in replies.items() if node in nodes and _is_answer(reply)}


def _load(name: str, path: Sequence[str]) -> Any:
    from celery.app.utils import find_app

    for folder in (*reversed(path), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        app: Any = find_app(name)
        app.loader.import_default_modules()
    except Exception as error:
        raise ConfigError(
            f"the Celery application {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(app, "amqp"):
        raise ConfigError(f"{name!r} is no Celery application")
    return app


def _errors_of(app: Any) -> tuple[type[BaseException], ...]:
    connection = app.connection_for_read()
    return (*connection.connection_errors, *connection.channel_errors)


def _is_answer(reply: object) -> bool:
    """Whether it is what was asked for: a worker that cannot answer says {"error": ...}."""
    return not (isinstance(reply, Mapping) and "error" in reply)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _scheduled(stats: Mapping[str, Any], multiplier: int) -> int:
    """Count the messages that a worker keeps until their time: it takes one more ahead for each of them."""
    processes = _mapping(stats.get("pool")).get("max-concurrency")
    if not multiplier or not isinstance(processes, int):
        return 0
    return max(0, int(stats.get("prefetch_count") or 0) - processes * multiplier)
