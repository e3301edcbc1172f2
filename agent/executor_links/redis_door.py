"""`redis.sock`: hands an executor an open connection to the cluster's Redis, without an address or a password.

    executor connects --> {"prefix": "mesolite:{default}:", "cluster": "default"} and one descriptor (SCM_RIGHTS), then the end
                      --> {"error": "..."} and none, where there is no connection to be had

What the connection may do is what its user may (docs/decisions/frameworks-bring-executors.md). Connecting may take seconds, while
a primary is elected; so a few threads do it.
"""

import contextlib
import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

from mesolite.errors import MesoliteError
from mesolite.ids import ContainerId, FrameworkId
from mesolite.logs import get_logger
from mesolite.transport.keys import key_prefix
from mesolite.transport.raw import connect_raw

#: Its name in an executor's directory.
REDIS_SOCKET: Final = "redis.sock"
#: The settings of `executor_redis` that are no address.
AUTO: Final[Literal["auto"]] = "auto"
OFF: Final[Literal["off"]] = "off"
#: An executor has one connection or two, and asks for them anew after a failover; so all of an agent's ask at once.
_THREADS: Final = 8
#: Requests of one executor that are open; a further one is told to wait for those.
MAX_OPEN_EACH: Final = 8
#: For connecting and for each answer. The executor asks again; who waits longer than an election waits for somebody dead.
CONNECT_TIMEOUT_S: Final = 3.0
#: For an executor that does not take what it asked for.
_ANSWER_TIMEOUT_S: Final = 5.0

_log = get_logger("mesolite.agent")


class RedisDoor:
    """Answers the requests of all executors of one agent."""

    def __init__(self, url: str, cluster: str) -> None:
        """Open the pool.

        Args:
            url: Of the Redis, with the user that executors are to be; OFF: nobody is given a connection.
            cluster: Whose keys are meant.

        Raises:
            ConfigError: The cluster's name cannot be used.
        """
        self._url: Final = url
        self._hello: Final = _line({"prefix": key_prefix(cluster), "cluster": cluster})
        self._lock: Final = threading.Lock()
        #: Requests by executor.
        self._open: Final[Counter[ContainerId]] = Counter()
        self._pool: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="redis-door")

    def take(self, container_id: ContainerId, framework_id: FrameworkId, opened: socket.socket) -> None:
        """Answer a request; returns at once (see `SideDoor`)."""
        if self._url == OFF:
            _answer(
                opened, _error("this agent gives executors no connection to Redis (its setting executor_redis is off)")
            )
            return
        with self._lock:
            welcome = self._open[container_id] < MAX_OPEN_EACH
            if welcome:
                self._open[container_id] += 1
        if not welcome:
            _answer(opened, _error(f"{MAX_OPEN_EACH} requests of this executor are open; wait for their answers"))
            return
        try:
            self._pool.submit(self._connect, container_id, opened)
        except RuntimeError:
            opened.close()

    def close(self) -> None:
        """Finish what is being answered; who waits is hung up on."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _connect(self, container_id: ContainerId, opened: socket.socket) -> None:
        try:
            connection = connect_raw(self._url, timeout_s=CONNECT_TIMEOUT_S)
        except MesoliteError as error:
            _log.info("agent.executor_without_redis", container_id=container_id, reason=str(error))
            _answer(opened, _error(str(error)))
        else:
            with connection:
                _answer(opened, self._hello, connection)
        finally:
            with self._lock:
                self._open[container_id] -= 1
                if not self._open[container_id]:
                    del self._open[container_id]


def _answer(opened: socket.socket, line: bytes, connection: socket.socket | None = None) -> None:
    """Say one line, hand over a connection with it, and hang up. Whoever has gone meanwhile gets neither."""
    with opened, contextlib.suppress(OSError):
        opened.settimeout(_ANSWER_TIMEOUT_S)
        # One line is less than the kernel keeps for a socket that nobody has read from: it leaves whole.
        socket.send_fds(opened, [line], [connection.fileno()] if connection is not None else [])


def _error(message: str) -> bytes:
    return _line({"error": message})


def _line(value: dict[str, str]) -> bytes:
    return json.dumps(value).encode() + b"\n"
