"""Links without sockets: executors connect and speak by method calls, and nothing happens in between.

For the simulator and for tests of the agent. `FakeDoors` is what of a machine outlives its agent: who listens where. Each life of
the agent has `FakeExecutorLinks` of its own, which keep the contract (tests/contract/test_executor_links.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesolite.ids import ContainerId, FrameworkId
from mesolite.protocol import ExecutorCall, ExecutorError, ExecutorEvent, ExecutorSubscribe

from .contract import ExecutorHungUp, ExecutorSpoke, LinkSink


class FakeDoors:
    """A machine's executors' sockets. They stay when the agent goes, but nobody listens."""

    def __init__(self) -> None:
        self.listening: Final[dict[ContainerId, FakeExecutorLinks]] = {}

    def connect(self, container_id: ContainerId) -> "FakeConnection":
        """Connect as an executor.

        Raises:
            OSError: Nobody listens.
        """
        links = self.listening.get(container_id)
        if links is None:
            raise ConnectionRefusedError(f"nobody listens for {container_id!r}")
        return FakeConnection(container_id, links)


class FakeConnection:
    """An executor's end of one connection."""

    def __init__(self, container_id: ContainerId, links: "FakeExecutorLinks") -> None:
        self.container_id: Final = container_id
        self._links: Final = links
        #: 0 until it subscribed.
        self.number = 0
        #: What the agent said and nobody took yet.
        self.heard: list[ExecutorEvent] = []
        #: One of both has hung up. What was said before can still be taken.
        self.over = False

    def say(self, *calls: ExecutorCall) -> None:
        """Say this in one piece; an agent that has hung up does not hear it."""
        if not self.over and calls:
            self._links.hear(self, calls)

    def take(self) -> list[ExecutorEvent]:
        """Take what the agent said since the last time."""
        heard, self.heard = self.heard, []
        return heard

    def hang_up(self) -> None:
        """Close it."""
        if not self.over:
            self._links.end(self)


class FakeExecutorLinks:
    """See `ExecutorLinks`."""

    def __init__(self, doors: FakeDoors, sink: LinkSink) -> None:
        self._doors: Final = doors
        self._sink: Final = sink
        #: The connection of each executor that has subscribed.
        self._open: Final[dict[ContainerId, FakeConnection]] = {}
        self._count = 0
        self._stopped = False

    def socket_dir(self, container_id: ContainerId) -> Path:
        """See `ExecutorLinks`."""
        return Path("/sockets") / container_id

    def open(self, container_id: ContainerId, framework_id: FrameworkId) -> None:
        """See `ExecutorLinks`."""
        if not self._stopped:
            self._doors.listening[container_id] = self

    def send(self, container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        """See `ExecutorLinks`."""
        current = self._current(container_id, connection)
        if current is not None:
            current.heard.extend(events)

    def hang_up(self, container_id: ContainerId, connection: int) -> None:
        """See `ExecutorLinks`."""
        current = self._current(container_id, connection)
        if current is not None:
            self.end(current)

    def close(self, container_id: ContainerId) -> None:
        """See `ExecutorLinks`."""
        if self._stopped:
            return
        self._doors.listening.pop(container_id, None)
        current = self._open.get(container_id)
        if current is not None:
            self.end(current)

    def stop(self) -> None:
        """See `ExecutorLinks`. A crash of the agent is the same thing."""
        self._stopped = True
        for connection in self._open.values():
            connection.over = True
        self._open.clear()
        for container_id in [each for each, links in self._doors.listening.items() if links is self]:
            del self._doors.listening[container_id]

    # -- the executors' side ------------------------------------------------------------------------------------------

    def hear(self, connection: FakeConnection, calls: Sequence[ExecutorCall]) -> None:
        """An executor says this."""
        if self._stopped:
            connection.over = True
            return
        is_first = connection.number == 0
        if is_first and not self._subscribe(connection, calls[0]):
            return
        allowed = 1 if is_first else 0
        again = next((place for place, call in enumerate(calls) if place >= allowed and _subscribes(call)), None)
        taken = tuple(calls if again is None else calls[:again])
        if taken:
            self._sink(ExecutorSpoke(container_id=connection.container_id, connection=connection.number, calls=taken))
        if again is not None:
            self._refuse(connection, "SUBSCRIBE is said once on a connection, before anything else")

    def end(self, connection: FakeConnection, fault: str = "") -> None:
        """A connection is over."""
        connection.over = True
        if self._open.get(connection.container_id) is connection:
            del self._open[connection.container_id]
            self._sink(ExecutorHungUp(container_id=connection.container_id, connection=connection.number, fault=fault))

    def _subscribe(self, connection: FakeConnection, first: ExecutorCall) -> bool:
        """Number a connection that begins as it must, after ending the one before."""
        if not _subscribes(first) or self._doors.listening.get(connection.container_id) is not self:
            self._refuse(connection, "the first word on a connection is SUBSCRIBE")
            return False
        former = self._open.get(connection.container_id)
        if former is not None:
            self.end(former)
        self._count += 1
        connection.number = self._count
        self._open[connection.container_id] = connection
        return True

    def _refuse(self, connection: FakeConnection, fault: str) -> None:
        connection.heard.append(ExecutorError(fault))
        self.end(connection, fault)

    def _current(self, container_id: ContainerId, connection: int) -> FakeConnection | None:
        current = self._open.get(container_id)
        return current if current is not None and current.number == connection else None


def _subscribes(call: ExecutorCall) -> bool:
    return isinstance(call, ExecutorSubscribe)
