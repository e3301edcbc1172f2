"""The directory in which an executor finds its agent's sockets.

Its path may be relative to where the program was started, and deeper than the 108 bytes that the address of a unix socket holds.
So the directory is opened once, at the start, and sockets in it are reached through the descriptor. The directory stays; the
sockets in it are made anew by each life of the agent.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .errors import NoAgent

#: Names the socket of the executor protocol.
SOCKET_VARIABLE: Final = "MESOS_DOMAIN_SOCKET"


class SocketDirectory:
    """Reaches sockets.

    Args:
        path: The directory.

    Raises:
        NoAgent: There is no such directory.
    """

    def __init__(self, path: Path) -> None:
        # O_PATH is Linux's; elsewhere reading does.
        flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise NoAgent(
                f"the directory of the agent's sockets, {path}, cannot be opened: {error.strerror}"
            ) from error
        through = Path(f"/proc/self/fd/{self._fd}")
        #: Sockets are found below it. Without /proc paths must be short.
        self._base = through if through.exists() else path.absolute()

    def connect(self, name: str) -> socket.socket:
        """Return a connected socket that does not block.

        Raises:
            OSError: Nobody listens there now.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            # At once or not at all: a unix socket's connection is there when it is in the listener's queue.
            connection.connect(str(self._base / name))
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)


def agent_socket(environment: Mapping[str, str]) -> Path:
    """Return the path of the agent's socket.

    Raises:
        NoAgent: The environment does not name it.
    """
    path = environment.get(SOCKET_VARIABLE, "")
    if not path:
        raise NoAgent(
            f"{SOCKET_VARIABLE} is not set: an executor is started by an agent, for a task with an ExecutorInfo;"
            " to try one by hand, name a socket on which something speaks the executor protocol"
        )
    return Path(path)
