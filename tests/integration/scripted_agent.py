"""The agent's end of an executor's socket, played by a test line by line, in as many lives as the test wants."""

import base64
import json
import os
import signal
import socket
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

Message: TypeAlias = dict[str, Any]

PATIENCE_S: Final = 20.0
WELCOME: Final[Message] = {
    "type": "SUBSCRIBED",
    "version": 1,
    "framework_id": "f",
    "executor_id": "e",
    "agent_id": "a",
    "container_id": "c",
}
TERMINAL: Final = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_DROPPED"})


class ScriptedAgent:
    """Speaks with one executor, a program that it starts.

    Args:
        sockets: The directory for the socket.
        argv: The program.
        socket_name: How the program is told of the socket; its path where not given.
    """

    def __init__(self, sockets: Path, argv: Sequence[str], *, socket_name: str | None = None) -> None:
        self._path = sockets / "agent.sock"
        self._cwd = sockets.parent
        self._connection: socket.socket | None = None
        self._rest = b""
        self._listener = self._listen()
        self.stderr = self._cwd / "stderr"
        with self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                argv,
                cwd=self._cwd,
                env={**os.environ, "MESOS_DOMAIN_SOCKET": socket_name or str(self._path)},
                stdout=stderr,
                stderr=stderr,
            )

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(PATIENCE_S)
        # A path may be too long for an address; the directory is not.
        directory = os.open(self._path.parent, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
        listener.listen()
        return listener

    def die(self) -> None:
        """End this life of the agent: nobody listens, the connection is gone."""
        self.hang_up()
        self._listener.close()

    def live_again(self) -> None:
        """Begin another one, on a socket that is made anew."""
        self._listener = self._listen()

    def accept(self) -> Message:
        """Take the next connection; return the line that it begins with."""
        self.hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(PATIENCE_S)
        self._rest = b""
        return self.hear()

    def welcome(self) -> Message:
        """Take the next connection and have its subscription stand; return the SUBSCRIBE."""
        subscribe = self.accept()
        assert subscribe["type"] == "SUBSCRIBE"
        self.say(WELCOME)
        return subscribe

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def say(self, *messages: Message) -> None:
        """Say these in one write."""
        self.write(b"".join(json.dumps(message, separators=(",", ":")).encode() + b"\n" for message in messages))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        assert self._connection is not None, "nobody is connected"
        self._connection.sendall(data)

    def write_until_cut_off(self, piece: bytes) -> None:
        """Send the same bytes until the executor takes no more."""
        try:
            while True:
                self.write(piece)
        except (BrokenPipeError, ConnectionResetError):
            return

    def launch(self, *tasks: tuple[str, bytes]) -> None:
        """Launch tasks, given by their id and data."""
        self.say(
            *(
                {"type": "LAUNCH", "task": {"task_id": task_id, "data": base64.b64encode(data).decode()}}
                for task_id, data in tasks
            )
        )

    def hear(self) -> Message:
        """Take the next message."""
        assert self._connection is not None, "nobody is connected"
        while b"\n" not in self._rest:
            piece = self._connection.recv(1 << 20)
            assert piece, f"the executor hung up: {self.stderr.read_text()}"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def is_hung_up_on(self) -> bool:
        """Wait until the executor has closed the connection."""
        assert self._connection is not None, "nobody is connected"
        try:
            while self._connection.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        return True

    def acknowledge(self, update: Message) -> None:
        """Have an update on disk."""
        self.say({"type": "ACKNOWLEDGED", "task_id": update["task_id"], "update_id": update["update_id"]})

    def end_of(self, task_id: str) -> Message:
        """Hear and acknowledge updates up to the last one of a task."""
        while True:
            update = self.hear()
            self.acknowledge(update)
            if update["task_id"] == task_id and update["state"] in TERMINAL:
                return update

    def exit_code(self) -> int:
        """Wait until the executor is over."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it all."""
        self.die()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@contextmanager
def scripted_agent(directory: Path, argv: Sequence[str], **options: Any) -> Generator[ScriptedAgent]:
    """An agent and its executor, ended with the test."""
    sockets = directory / "sockets"
    sockets.mkdir(parents=True)
    agent = ScriptedAgent(sockets, argv, **options)
    try:
        yield agent
    finally:
        agent.close()
