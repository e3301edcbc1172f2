"""Two connections that an event loop waits on: the line, on which requests go out and answers come in without anyone waiting,
and the bell, which rings when a queue that was found empty is not.

The bell is Redis's client-side caching turned around: the line has its reads tracked (`CLIENT TRACKING`), a take that finds
nothing reads the queues, and Redis says once when somebody else changes one of them. So nothing is taken by waiting: where a
blocked BRPOP has a message in an answer that its reader did not live to read, that message is gone; here it lies in its queue
until the script that owns it. Where tracking is refused the bell rings by itself, every POLL_S.
"""

# redis-py's connections have hardly any types.
# mypy: disallow-untyped-calls=False

import time
from collections import deque
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ResponseError

from mesolite.logs import get_logger
from mesolite.transport.line import packed

from .redis_store import LINE_SCRIPTS, Command

_log = get_logger("mesolite.celery.broker")

#: Where Redis says what changed (RESP2).
_INVALIDATIONS: Final = "__redis__:invalidate"
#: How often queues are looked at where Redis does not ring: a fiftieth of a millisecond each time, for both sides.
POLL_S: Final = 0.05
#: What a server says that cannot serve us, now or on this connection: another connection is made.
_GIVE_UP: Final = ("NOSCRIPT", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "UNBLOCKED")

#: Before 5.3 redis-py's pools want to know what for, and do not look at it.
_PURPOSE: Final = ("_",) if redis.VERSION < (5, 3) else ()


class Answer(NamedTuple):
    """What came for a request."""

    #: As it was handed to `send`.
    request: object
    #: As RESP2 has it, or the server's refusal.
    value: object


class _End:
    """A connection as kombu's poller knows one: by the attribute `connection`."""

    def __init__(self, pool: Any) -> None:
        self.connection: Any = pool.get_connection(*_PURPOSE)

    def fileno(self) -> int:
        return int(self.connection._sock.fileno())


class OwnerLine:
    """Both connections, open from the start.

    Args:
        pool: Of redis-py, with RESP2 and without checks of its own. Closing it is the caller's.
        patience_s: An answer that takes longer will not come.

    Raises:
        redis.RedisError: The server does not answer.
    """

    def __init__(self, pool: Any, patience_s: float) -> None:
        self._patience_s: Final = patience_s
        #: What was sent and not answered, with when.
        self._asked: deque[tuple[object, float]] = deque()
        self.bell: Final = _End(pool)
        self.line: Final = _End(pool)
        for script in LINE_SCRIPTS:
            self._command("SCRIPT", "LOAD", script)
        self._rings = self._subscribe()
        if not self._rings:
            self._set_alarm()

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port, where it has them."""
        connection = self.line.connection
        host, port = getattr(connection, "host", None), getattr(connection, "port", None)
        return None if host is None or port is None else (host, port)

    @property
    def is_open(self) -> bool:
        """Whether it is as far as we know."""
        return self.line.connection._sock is not None and self.bell.connection._sock is not None

    @property
    def waits(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._asked)

    def send(self, request: object, command: Command) -> None:
        """Send a command. Its answer will come with this request.

        Raises:
            redis.RedisError: The connection is lost.
        """
        self.line.connection.send_packed_command([packed(command)], check_health=False)
        self._asked.append((request, time.monotonic()))

    def read(self) -> list[Answer]:
        """Return the answers that came.

        Raises:
            redis.RedisError: The connection is lost, or the server cannot serve us.
        """
        answers: list[Answer] = []
        connection = self.line.connection
        # With nothing asked, what can be read is the connection's end.
        while connection.can_read(timeout=0):
            value: object
            try:
                value = connection.read_response()
            except ResponseError as error:
                if str(error).startswith(_GIVE_UP) or type(error).__name__ in {"NoScriptError", "ReadOnlyError"}:
                    raise redis.ConnectionError(str(error)) from None
                value = error
            if not self._asked:
                raise redis.ConnectionError("the broker answers what it was not asked")
            answers.append(Answer(self._asked.popleft()[0], value))
        return answers

    def hear(self) -> bool:
        """Read the bell; tell whether it rang.

        Raises:
            redis.RedisError: The connection is lost.
        """
        rang = False
        while self.bell.connection.can_read(timeout=0):
            self.bell.connection.read_response()
            rang = True
            if not self._rings:
                self._set_alarm()
                break
        return rang

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            redis.RedisError: It does not.
        """
        if not self._asked or time.monotonic() - self._asked[0][1] < self._patience_s:
            return
        # It may have: then it is this process that was held up.
        if not self.line.connection.can_read(timeout=0):
            raise redis.TimeoutError(f"the broker has not answered for {self._patience_s} s")

    def close(self) -> None:
        """Close both connections."""
        for end in (self.line, self.bell):
            end.connection.disconnect()

    def _subscribe(self) -> bool:
        bell = self.bell.connection
        bell.send_command("CLIENT", "ID", check_health=False)
        try:
            number: int = bell.read_response()
            bell.send_command("SUBSCRIBE", _INVALIDATIONS, check_health=False)
            bell.read_response()
            # What this line itself changes does not ring: each word on a message would.
            self._command("CLIENT", "TRACKING", "ON", "REDIRECT", str(number), "NOLOOP")
        except ResponseError as refusal:
            _log.warning("celery.no_bell", reason=str(refusal), poll_seconds=POLL_S)
            # It may be subscribed already; then it takes no other command.
            bell.disconnect()
            bell.connect()
            return False
        return True

    def _set_alarm(self) -> None:
        """Have an answer come in POLL_S: that of a wait for what nobody ever puts there."""
        self.bell.connection.send_command("BLPOP", "mesolite.never", str(POLL_S), check_health=False)

    def _command(self, *arguments: str) -> None:
        self.line.connection.send_command(*arguments, check_health=False)
        self.line.connection.read_response()
