"""One connection of a redis-py client, kept at hand for whoever sends it one command after the other.

For each command redis-py takes a connection out of its pool, looks whether it is alive and whose it is, measures, and gives it
back: half of what a short command costs its process, and with several commands in each scheduled task that is what limits how
soon one ends. Here the pool is asked once in `TRUST_S`; in between, what can go wrong goes wrong as an error of the command.
"""

# redis-py's connections have hardly any types.
# mypy: disallow-untyped-calls=False

import time
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import redis
from redis.exceptions import ResponseError

#: How long a connection is used without asking its pool again. The pool sees whether the server has closed it and, under
#: Sentinels, whether it still is the primary's, which it asks them every two seconds. Who sends seldom is asked for each time.
TRUST_S: Final = 0.5

#: What goes into a command.
Argument: TypeAlias = str | bytes | int

#: Before 5.3 the pool wants to know what for, and does not look at it.
_PURPOSE: Final = ("_",) if redis.VERSION < (5, 3) else ()


class Line:
    """Sends commands and returns their answers as RESP2 has them: lists, bytes, numbers, None. Used from one thread.

    As with the client itself nothing is repeated, and a command that raised may have been done.

    Args:
        client: Whose pool the connection is of. Closing the client closes it.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Final[Any] = client.connection_pool
        #: The connection at hand; None before the first command, and after one that failed.
        self._connection: Any = None
        self._trusted_until_s = 0.0

    def command(self, *arguments: Argument) -> object:
        """Send a command and return its answer.

        Raises:
            redis.RedisError: It was refused, or the server does not answer.
        """
        connection = self._ready()
        try:
            connection.send_packed_command([packed(arguments)])
            return connection.read_response()
        except ResponseError:
            # It was read to its end, and the connection can be used.
            raise
        except BaseException:
            self._drop()
            raise

    def commands(self, commands: Sequence[Sequence[Argument]]) -> list[object]:
        """Send commands in one piece and return their answers.

        Raises:
            redis.RedisError: The server does not answer, or refused one of them: the others were done all the same.
        """
        connection = self._ready()
        answers: list[object] = []
        refusal: ResponseError | None = None
        try:
            connection.send_packed_command([b"".join(map(packed, commands))])
            for _ in commands:
                try:
                    answers.append(connection.read_response())
                except ResponseError as error:
                    refusal = refusal or error
        except BaseException:
            self._drop()
            raise
        if refusal is not None:
            raise refusal
        return answers

    def _ready(self) -> Any:
        """Return the connection, which the pool has looked at not long ago."""
        now_s = time.monotonic()
        if now_s >= self._trusted_until_s:
            self._give_back()
        if self._connection is None:
            self._connection = self._pool.get_connection(*_PURPOSE)
            self._trusted_until_s = now_s + TRUST_S
        return self._connection

    def _drop(self) -> None:
        """Close a connection on which an answer may be missing; the next command makes another."""
        if self._connection is not None:
            self._connection.disconnect()
        self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


def packed(arguments: Sequence[Argument]) -> bytes:
    """Return a command as it is sent: an array of strings, as redis-py would pack it in twice the time."""
    pieces = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if isinstance(argument, str):
            argument = argument.encode()
        elif isinstance(argument, int):
            argument = b"%d" % argument
        pieces += (b"$%d\r\n" % len(argument), argument, b"\r\n")
    return b"".join(pieces)
