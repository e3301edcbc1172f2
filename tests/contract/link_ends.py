"""Executors' ends for the contract of the links: of real sockets, and whatever else keeps the contract."""

import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mesolite.agent.containerizer.policy import default_user
from mesolite.agent.executor_links.contract import ExecutorHungUp, ExecutorLinks, ExecutorSpoke, LinkEvent
from mesolite.agent.executor_links.fake import FakeConnection, FakeDoors, FakeExecutorLinks
from mesolite.agent.executor_links.server import SideDoor, UnixExecutorLinks
from mesolite.ids import ContainerId
from mesolite.protocol import ExecutorCall, ExecutorEvent
from tests.waiting import eventually


class ExecutorEnd(ABC):
    """An executor's end of one connection."""

    @abstractmethod
    def say(self, *calls: ExecutorCall) -> None:
        """Say this, in one piece."""

    @abstractmethod
    def heard(self) -> list[ExecutorEvent]:
        """All that came so far."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the agent has hung up, and all was heard before."""

    @abstractmethod
    def hang_up(self) -> None:
        """Close it."""


class LinkRig(ABC):
    """Links, and executors that connect to them."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self.links: ExecutorLinks

    @abstractmethod
    def connect(self, container_id: ContainerId) -> ExecutorEnd:
        """Connect as an executor; raises OSError where nobody listens."""

    @abstractmethod
    def wait_for(self, look: Callable[[], object]) -> None:
        """Let happen what happens until something is so."""

    @abstractmethod
    def clean(self) -> None:
        """Let go of everything."""

    def spoken(self, container_id: ContainerId) -> list[ExecutorCall]:
        """All calls of one executor."""
        return [
            call
            for event in list(self.events)
            if isinstance(event, ExecutorSpoke) and event.container_id == container_id
            for call in event.calls
        ]

    def connections(self, container_id: ContainerId) -> list[int]:
        """The numbers of its connections, in the order in which they were heard of."""
        numbers = [event.connection for event in list(self.events) if event.container_id == container_id]
        return list(dict.fromkeys(numbers))

    def hung_up(self) -> list[int]:
        """The connections that were told to be over, in their order."""
        return [event.connection for event in list(self.events) if isinstance(event, ExecutorHungUp)]


class FakeEnd(ExecutorEnd):
    """One of the fake."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection

    def say(self, *calls: ExecutorCall) -> None:
        self._connection.say(*calls)

    def heard(self) -> list[ExecutorEvent]:
        return list(self._connection.heard)

    @property
    def over(self) -> bool:
        return self._connection.over

    def hang_up(self) -> None:
        self._connection.hang_up()


class FakeRig(LinkRig):
    """Links without sockets, where everything happens at once."""

    def __init__(self) -> None:
        super().__init__()
        self._doors = FakeDoors()
        self.links = FakeExecutorLinks(self._doors, self.events.append)

    def connect(self, container_id: ContainerId) -> FakeEnd:
        return FakeEnd(self._doors.connect(container_id))

    def wait_for(self, look: Callable[[], object]) -> None:
        assert look(), "nothing happens later"

    def clean(self) -> None:
        self.links.stop()


class SocketEnd(ExecutorEnd):
    """A real one."""

    def __init__(self, directory: Path, name: str = "agent.sock") -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        with contextlib.ExitStack() as undo:
            undo.callback(self.socket.close)
            self.socket.connect(str(directory / name))
            undo.pop_all()
        self.socket.setblocking(False)
        self._received = b""
        self._over = False

    def say(self, *calls: ExecutorCall) -> None:
        self.say_raw(msgspec.json.Encoder().encode_lines(calls))

    def say_raw(self, data: bytes) -> None:
        """Say any bytes; an agent that has hung up does not hear them."""
        self.socket.setblocking(True)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        self.socket.setblocking(False)

    def heard(self) -> list[ExecutorEvent]:
        self._receive()
        whole = self._received[: self._received.rfind(b"\n") + 1]
        return msgspec.json.Decoder(ExecutorEvent).decode_lines(whole)

    @property
    def over(self) -> bool:
        self._receive()
        return self._over

    def hang_up(self) -> None:
        self.socket.close()

    def _receive(self) -> None:
        try:
            while not self._over:
                part = self.socket.recv(1 << 20)
                self._received += part
                self._over = not part
        except BlockingIOError:
            pass
        except OSError:
            self._over = True


class SocketRig(LinkRig):
    """Real sockets."""

    def __init__(
        self,
        root: Path,
        *,
        side_doors: Mapping[str, SideDoor] | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.links = self.server = UnixExecutorLinks(
            root, self.events.append, user=default_user(), side_doors=side_doors, crowded=crowded
        )
        self._ends: list[SocketEnd] = []

    def connect(self, container_id: ContainerId) -> SocketEnd:
        end = SocketEnd(self.links.socket_dir(container_id))
        self._ends.append(end)
        return end

    def wait_for(self, look: Callable[[], object]) -> None:
        eventually(look)

    def clean(self) -> None:
        for end in self._ends:
            end.hang_up()
        self.links.stop()
