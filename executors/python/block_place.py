"""Asks the agent where other hosts reach its block store: what an executor tells the clients of its pool.

One small request at the start. Written out, because `http.client` takes longer to import than all of main.
"""

import contextlib
import json
import socket
from pathlib import Path
from typing import Final

#: The socket of the agent's block store, beside the executor protocol's.
SOCKET_NAME: Final = "blocks.sock"
#: The agent is on the same machine, and answers from memory.
_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 65_536
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def public_place(socket_path: Path) -> tuple[str, str]:
    """Where other hosts reach the store, and the token to show there; empty where they do not."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(str(socket_path))
        connection.sendall(_REQUEST)
        answer = b""
        while len(answer) <= _MAX_ANSWER_BYTES and (piece := connection.recv(_MAX_ANSWER_BYTES)):
            answer += piece
        match json.loads(answer.partition(b"\r\n\r\n")[2]):
            case {"url": str(url), "token": str(token)}:
                return url, token
            case _:
                return "", ""
    return "", ""
