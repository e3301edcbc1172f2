"""The writing end of a pool: appends in pipelines, and learns from the replies whether Redis took them, without waiting for them.

Whether a write is under way is looked at when there is something to write, not by waking up for each reply: a single append
costs its writer nothing after it has left. While one is under way, what comes meanwhile is better kept and sent together.
"""

from collections import deque
from typing import Final

from .redis_socket import ConnectionLost, RedisSocket
from .resp import RedisRefusal

#: A reply that takes longer will not come: the primary hangs, or was cut off.
REPLY_TIMEOUT_MS: Final = 3_000


class RedisWriter:
    """Pipelines on one connection. Used by one thread at a time."""

    def __init__(self, connection: RedisSocket) -> None:
        self.connection: Final = connection
        #: When each command was sent that has no reply yet.
        self._unanswered: deque[float] = deque()

    @property
    def unanswered(self) -> int:
        """Commands whose replies were not seen yet; costs nothing to ask, and may be out of date."""
        return len(self._unanswered)

    def send(self, commands: list[bytes], now_ms: float) -> None:
        """Send commands, each of which has one reply.

        Raises:
            ConnectionLost: The connection is broken.
        """
        self._unanswered.extend([now_ms] * len(commands))
        self.connection.send(commands[0] if len(commands) == 1 else b"".join(commands))

    def is_free(self, now_ms: float) -> bool:
        """Take what replies have come, and return whether all commands are answered.

        Raises:
            ConnectionLost: The connection is broken, Redis refused a command, or has been silent for too long.
        """
        if not self._unanswered:
            return True
        for reply in self.connection.receive():
            if isinstance(reply, RedisRefusal):
                raise ConnectionLost(f"Redis answers: {reply.message[:200]}")
            if not self._unanswered:
                raise ConnectionLost("more replies than commands")
            self._unanswered.popleft()
        if self._unanswered and now_ms - self._unanswered[0] > REPLY_TIMEOUT_MS:
            raise ConnectionLost(f"no reply within {REPLY_TIMEOUT_MS} ms")
        return not self._unanswered
