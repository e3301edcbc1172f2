"""A Docker Engine behind a wire that a test can cut, or hold: a unix socket that forwards to the real one."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path
from typing import Final

REAL_SOCKET: Final = "/var/run/docker.sock"
_CHUNK_BYTES: Final = 65536


class FlakyEngine:
    """Forwards connections until `cut`, then takes new ones as if nothing had been."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        #: While not set nothing passes in either direction: the engine hangs.
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections of this moment."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """Take everything, and pass nothing on."""
        self._flows.clear()

    def go_on(self) -> None:
        """Pass on what was held."""
        self._flows.set()

    def close(self) -> None:
        """Break all, and take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.go_on()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(REAL_SOCKET)
            with self._lock:
                self._connections += [near, far]
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in selector.select():
                        self._flows.wait()
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        data = source.recv(_CHUNK_BYTES)
                        if not data:
                            return
                        key.data.sendall(data)
