"""What comes in to an agent, and what its core is told of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from mesolite.ids import ContainerId
from mesolite.protocol import CommandBatch

from .containerizer.contract import ContainerEvent, ContainerExited
from .events import (
    AgentEvent,
    CommandsArrived,
    ContainersReported,
    ExecutorsReported,
    ReportsLost,
    ShutdownRequested,
    TaskEndRequested,
)
from .executor_links.contract import LinkEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A message out of the agent's queue that nobody can read."""

    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerReturned:
    """Commands can be read again after they could not. Redis may have failed over, and forgotten reports that it had taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Another thread did a pass, and whoever waits is to look what came of the agent."""


Item: TypeAlias = (
    ContainerEvent
    | LinkEvent
    | CommandBatch
    | Undecodable
    | BrokerReturned
    | TaskEndRequested
    | ShutdownRequested
    | Looked
)


def events_of(items: Sequence[Item], now_ms: int, random: Callable[[], float]) -> list[AgentEvent]:
    """Make events of what came in. News of one kind in a row make one, so that what follows is said in one piece.

    Args:
        items: In the order in which they came.
        now_ms: The time.
        random: Gives fractions in [0, 1).
    """
    events: list[AgentEvent] = []
    for kind, group in groupby(items, _kind):
        if kind is ContainerEvent:
            container_news = tuple(item for item in group if isinstance(item, ContainerEvent))
            events.append(ContainersReported(now_ms=now_ms, events=container_news))
        elif kind is LinkEvent:
            words = tuple(item for item in group if isinstance(item, LinkEvent))
            events.append(ExecutorsReported(now_ms=now_ms, events=words))
        else:
            events.extend(event for item in group if (event := _event(item, now_ms, random)) is not None)
    return events


def ended_containers(events: Sequence[AgentEvent]) -> list[ContainerId]:
    """Return which containers the events tell the end of."""
    return [
        report.container_id
        for event in events
        if isinstance(event, ContainersReported)
        for report in event.events
        if isinstance(report, ContainerExited)
    ]


def _event(item: Item, now_ms: int, random: Callable[[], float]) -> AgentEvent | None:
    match item:
        case CommandBatch():
            return CommandsArrived(now_ms=now_ms, batch=item, random=random())
        case BrokerReturned():
            return ReportsLost(now_ms=now_ms)
        case TaskEndRequested() | ShutdownRequested():
            return item
        case Undecodable() | Looked():
            return None
        case _:
            raise AssertionError(f"news are gathered: {item}")


def _kind(item: Item) -> object:
    """Say what of an item's kind is gathered."""
    if isinstance(item, ContainerEvent):
        return ContainerEvent
    return LinkEvent if isinstance(item, LinkEvent) else None
