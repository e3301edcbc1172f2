"""What the core has to say, gathered over one batch of inputs so that each listener gets one message (DESIGN 6)."""

from collections.abc import Sequence

from mesolite.ids import AgentId, FrameworkId, SessionId
from mesolite.protocol import (
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    Command,
    Event,
    ExecutorAcknowledgement,
    Malformed,
    Offers,
    Reregister,
    ShutdownAgent,
    StatusAcknowledgement,
)

from .effects import MasterEffect, SaveRegistry, SetAside
from .settings import MAX_ACKNOWLEDGEMENTS_PER_COMMAND


class Outbox:
    """Messages waiting for the end of the batch, and offers that wait a moment longer.

    A framework that launches is mostly offered something for its next task in the same turn, and hears of a task's end soon.
    Said together, both cost it one message instead of two.

    Args:
        offer_delay_ms: See `MasterSettings`.
    """

    def __init__(self, offer_delay_ms: int = 0) -> None:
        self._offer_delay_ms = offer_delay_ms
        #: Who said something in this batch, and whether it was to launch.
        self._heard: dict[tuple[FrameworkId, SessionId], bool] = {}
        #: Whose offers wait for something else to be said, and until when.
        self._waiting: dict[tuple[FrameworkId, SessionId], int] = {}
        #: Events per framework and session, in order of being said; some of a batch before where they wait.
        self.events: dict[tuple[FrameworkId, SessionId], list[Event]] = {}
        #: Acknowledgements per agent: one command for all of a batch.
        self._acknowledgements: dict[AgentId, list[StatusAcknowledgement]] = {}
        #: Of ends of executors, likewise.
        self._executors: dict[AgentId, list[ExecutorAcknowledgement]] = {}
        #: What is said to lives of agents outside of the numbering, since none has begun with them, or none goes on.
        self.unnumbered: dict[tuple[AgentId, SessionId], Reregister | ShutdownAgent] = {}
        #: Agents that have commands to be sent.
        self.touched_agents: dict[AgentId, None] = {}
        self.effects: list[MasterEffect] = []

    def tell(self, framework_id: FrameworkId, session: SessionId, event: Event) -> None:
        """Say something to one life of a framework."""
        self.events.setdefault((framework_id, session), []).append(event)

    def heard(self, framework_id: FrameworkId, session: SessionId, *, launching: bool = False) -> None:
        """Note that a framework says something in this batch, and that it uses offers with it."""
        key = (framework_id, session)
        self._heard[key] = launching or self._heard.get(key, False)

    def take_events(self, now_ms: int) -> list[tuple[tuple[FrameworkId, SessionId], list[Event]]]:
        """Return what is to be said now, to whom, and forget it."""
        taken: list[tuple[tuple[FrameworkId, SessionId], list[Event]]] = []
        for key, said in list(self.events.items()):
            if not self._waits(key, said, now_ms):
                self._waiting.pop(key, None)
                taken.append((key, self.events.pop(key)))
        self._heard.clear()
        return taken

    def next_deadline_ms(self) -> int | None:
        """Return when offers have waited long enough; None while none wait."""
        return min(self._waiting.values(), default=None)

    def _waits(self, key: tuple[FrameworkId, SessionId], said: list[Event], now_ms: int) -> bool:
        if not self._offer_delay_ms or not all(isinstance(event, Offers) for event in said):
            return False
        launching = self._heard.get(key)
        if launching:
            self._waiting.setdefault(key, now_ms + self._offer_delay_ms)
        # Who speaks and does not launch wants something, and may want these.
        return launching is not False and now_ms < self._waiting.get(key, now_ms)

    def acknowledge(self, agent_id: AgentId, acknowledgement: StatusAcknowledgement) -> None:
        """Pass an acknowledgement on."""
        self._acknowledgements.setdefault(agent_id, []).append(acknowledgement)

    def acknowledge_executor(self, agent_id: AgentId, acknowledgement: ExecutorAcknowledgement) -> None:
        """Let an agent know that the end of an executor was heard."""
        self._executors.setdefault(agent_id, []).append(acknowledgement)

    def acknowledgements_to(self, agent_id: AgentId) -> Sequence[StatusAcknowledgement]:
        """Return what waits to be passed on to an agent."""
        return self._acknowledgements.get(agent_id, ())

    def take_acknowledgements(self) -> list[tuple[AgentId, Command]]:
        """Return as few commands as can be for all acknowledgements gathered, and forget them."""
        commands: list[tuple[AgentId, Command]] = []
        for agent_id, gathered in self._acknowledgements.items():
            for start in range(0, len(gathered), MAX_ACKNOWLEDGEMENTS_PER_COMMAND):
                some = tuple(gathered[start : start + MAX_ACKNOWLEDGEMENTS_PER_COMMAND])
                commands.append((agent_id, AcknowledgeStatuses(some)))
        for agent_id, ended in self._executors.items():
            for start in range(0, len(ended), MAX_ACKNOWLEDGEMENTS_PER_COMMAND):
                some_ended = tuple(ended[start : start + MAX_ACKNOWLEDGEMENTS_PER_COMMAND])
                commands.append((agent_id, AcknowledgeExecutors(some_ended)))
        self._acknowledgements.clear()
        self._executors.clear()
        return commands

    def save(self, key: str, value: bytes | None) -> None:
        """Change the registry with this batch."""
        self.effects.append(SaveRegistry(key=key, value=value))

    def set_aside(self, now_ms: int, source: str, malformed: Malformed) -> None:
        """Keep a refused message for the operator."""
        self.effects.append(SetAside(now_ms=now_ms, source=source, reason=malformed.reason, payload=malformed.payload))
