"""What the agent's shell needs to speak with executors: open a door for one, speak, close the door; what they say comes as news.

The real one serves unix sockets; the fake one, for tests and the simulator, is spoken to by method calls. Both pass one
contract suite (tests/contract). A link decides nothing: what it hears is decoded, bounded and handed on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from mesolite.ids import ContainerId, FrameworkId
from mesolite.protocol import ExecutorCall, ExecutorEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpoke:
    """An executor said this, in this order. The first call of a connection is an `ExecutorSubscribe`, and only that one."""

    container_id: ContainerId
    #: Numbers the connections of all executors of one life of the agent, from 1; the newest of an executor counts.
    connection: int
    calls: tuple[ExecutorCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorHungUp:
    """A connection on which an executor had subscribed is closed, by whichever side."""

    container_id: ContainerId
    connection: int
    #: What was wrong, where the link hung up: a line that is too long or no message. Empty where the executor did.
    fault: str = ""


LinkEvent: TypeAlias = ExecutorSpoke | ExecutorHungUp

#: Called from any thread, which holds no lock of the links and reads nothing meanwhile; may take as long as a pass of the agent.
LinkSink: TypeAlias = Callable[[LinkEvent], None]


class ExecutorLinks(Protocol):
    """The agent's ends of all executors' sockets. All methods return at once; news arrive at the sink given at construction."""

    def socket_dir(self, container_id: ContainerId) -> Path:
        """Name the directory with the sockets of a container, on the host; `open` makes it. Needs no I/O."""
        ...

    def open(self, container_id: ContainerId, framework_id: FrameworkId) -> None:
        """Make the directory and listen in it, before the container is launched; where it listens already, nothing happens.

        Args:
            container_id: Whose sockets these are.
            framework_id: Whose executor it is: what of the framework's it may reach (blocks) follows from it.

        Raises:
            OSError: The host does not let us.
        """
        ...

    def send(self, container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        """Say this on one connection, in one piece; dropped where it is not the open one of that executor.

        An executor that does not read is hung up on when `MAX_UNREAD_BYTES` wait for it.
        """
        ...

    def hang_up(self, container_id: ContainerId, connection: int) -> None:
        """Close a connection once what was said on it has left; the executor may connect again."""
        ...

    def close(self, container_id: ContainerId) -> None:
        """The executor is over: hang up, stop listening and remove its directory. Unknown ones are ignored."""
        ...

    def stop(self) -> None:
        """The agent's process ends: let go of everything. Directories stay, executors wait for the next life."""
        ...
