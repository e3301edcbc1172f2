"""What the master's core wants done. The shell commits the first three kinds in one step, and only then sends commands."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import AgentId, FrameworkId
from mesolite.protocol import CommandBatch, EventBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class TellFramework:
    """Append one batch of events to the framework's stream."""

    framework_id: FrameworkId
    batch: EventBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRegistry:
    """Set a registry field, or delete it where `value` is None."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Keep a refused message in the bounded dead-letter stream."""

    now_ms: int
    #: Who sent it and where: "framework batch-17 on calls:default".
    source: str
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAgent:
    """Put one batch of commands into the agent's queue, after the commit."""

    agent_id: AgentId
    batch: CommandBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetAgent:
    """Delete the queue of an agent that will not come back."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class DropStream:
    """Nobody reads any more what a framework was told: it ended, and so many others after it that its id is forgotten, too."""

    framework_id: FrameworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class DropState:
    """A framework has ended: what it kept for its next scheduler goes with it."""

    framework_id: FrameworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewerEpochHeard:
    """Somebody follows a newer epoch than this one, which the store forgot: they hear this master only once its own is higher.

    Not beyond what a clock could have reached (MAX_EPOCH_LEAD_MS). At most one in a batch.
    """

    epoch: int


MasterEffect: TypeAlias = (
    TellFramework | SaveRegistry | SetAside | CommandAgent | ForgetAgent | DropStream | DropState | NewerEpochHeard
)
