"""The agent's side of its bond with the leading master: epoch, numbering, registration, heartbeats.

An agent follows the newest epoch it ever saw. Within an epoch and a life of the agent, commands are numbered from 1 and
taken in order; what comes twice is skipped command by command, because a resent batch may begin anywhere. Commands behind a
hole are dropped and asked for at once: the master keeps them until they are confirmed.

    (start, new epoch, Reregister) --> UNREGISTERED --Registered--> REGISTERED
                                          |    ^
                                          '----' RegisterAgent, with growing random pauses

While unregistered only registrations are sent: the master could not tell to whom anything else belongs. Everything held
back then leaves at registration.

A registered agent to which nothing was said for long registers again, only to be answered: its reports may go to a store that
no master reads, or its queue may be one that no master writes. The transports mend that by themselves; this is for what they
do not notice.

Nothing here is durable but the epoch, because a later life has its own session and begins with number 1.
"""

import enum
from dataclasses import dataclass
from typing import Final

from mesolite.ids import AgentId, SessionId
from mesolite.protocol import Command, CommandBatch, Reregister

from .effects import Refusal
from .settings import (
    GAP_REPEAT_MS,
    MAX_HEARTBEAT_MS,
    MAX_REGISTRATION_SPREAD_MS,
    MIN_HEARTBEAT_MS,
    REGISTRATION_BACKOFF_CAP_MS,
    REGISTRATION_BACKOFF_MS,
    REGISTRATION_GAP_MS,
    SILENT_HEARTBEATS,
)


class Intake(enum.Enum):
    """What becomes of a batch."""

    TAKEN = "TAKEN"
    #: All of it was taken before; it is only confirmed again.
    DUPLICATE = "DUPLICATE"
    #: Outside the numbering.
    UNNUMBERED = "UNNUMBERED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a batch."""

    intake: Intake
    #: What of it is to be carried out now.
    commands: tuple[Command, ...] = ()
    #: The epoch is new to this agent.
    adopted: bool = False
    #: Ask for what is missing.
    ask: bool = False
    refusal: Refusal | None = None
    message: str = ""


class MasterLink:
    """The bond's state."""

    def __init__(self, agent_id: AgentId, session: SessionId, epoch: int) -> None:
        self._agent_id: Final = agent_id
        self._session: Final = session
        #: The newest epoch followed, 0 before any; never decreases.
        self.epoch = epoch
        #: All commands of this epoch up to here are taken.
        self.confirmed = 0
        self.registered = False
        self._heartbeat_ms = MAX_HEARTBEAT_MS
        #: When the next registration leaves; None while registered, and before recovery.
        self._registration_due_ms: int | None = None
        self._registration_bound_ms = REGISTRATION_BACKOFF_MS
        self._last_registration_ms: int | None = None
        self._last_report_ms = 0
        #: When a master last spoke to this life.
        self._heard_ms = 0
        #: Its place between SILENT_HEARTBEATS and twice that, in [0, 1).
        self._patience = 0.0
        #: The last complaint about a hole: behind which number, and when.
        self._complained: tuple[int, int] | None = None

    @property
    def deadline_ms(self) -> int | None:
        """When this agent must speak next."""
        if self.registered:
            return min(self._last_report_ms + self._heartbeat_ms, self._silent_at_ms)
        return self._registration_due_ms

    def take(self, batch: CommandBatch, now_ms: int) -> Decision:
        """Decide on a batch and move the numbering."""
        refused = self._refused(batch)
        if refused is not None:
            return refused
        self._heard_ms = now_ms
        adopted = batch.epoch > self.epoch
        if adopted:
            self._adopt(batch, now_ms)
        if batch.first_number == 0:
            return Decision(intake=Intake.UNNUMBERED, commands=batch.commands, adopted=adopted)
        if batch.first_number > self.confirmed + 1:
            return self._hole(batch, now_ms, adopted)
        known = self.confirmed + 1 - batch.first_number
        fresh = batch.commands[known:]
        if not fresh:
            return Decision(intake=Intake.DUPLICATE, adopted=adopted)
        self.confirmed += len(fresh)
        return Decision(intake=Intake.TAKEN, commands=fresh, adopted=adopted)

    def _adopt(self, batch: CommandBatch, now_ms: int) -> None:
        """Follow a new master."""
        self.epoch = batch.epoch
        self.confirmed = 0
        self._complained = None
        # A registration that an earlier master was told, or waits to be told, is no reason to keep a new one waiting, or to come
        # before our turn.
        self._last_registration_ms = None
        self._registration_due_ms = None
        asked = any(isinstance(command, Reregister) for command in batch.commands)
        if batch.first_number == 0 and asked:
            self.registered = False  # until when, the command itself says
        else:
            self.leave(now_ms, 0)

    def join(self, heartbeat_interval_ms: int, now_ms: int) -> None:
        """The master knows this agent."""
        self.registered = True
        self._heard_ms = now_ms
        self._heartbeat_ms = min(max(heartbeat_interval_ms, MIN_HEARTBEAT_MS), MAX_HEARTBEAT_MS)
        self._last_report_ms = now_ms
        self._registration_due_ms = None
        self._registration_bound_ms = REGISTRATION_BACKOFF_MS

    def asked_to_register(self, now_ms: int, spread_ms: int, random: float) -> None:
        """A master asks for everything, in this agent's turn within the time over which it spreads its agents."""
        spread_ms = min(max(spread_ms, 0), MAX_REGISTRATION_SPREAD_MS)
        # A master that is busy with so many answers late; to repeat oneself sooner would only add to its work.
        self._registration_bound_ms = max(REGISTRATION_BACKOFF_MS, min(spread_ms, REGISTRATION_BACKOFF_CAP_MS))
        self.leave(now_ms, int(spread_ms * min(max(random, 0.0), 1.0)))

    def register_soon(self, now_ms: int) -> None:
        """A registration may have got lost. One that has not left yet has not, and keeps its turn."""
        if self._last_registration_ms is not None:
            self.leave(now_ms, 0)

    def leave(self, now_ms: int, delay_ms: int) -> None:
        """The master does not know this agent: register after the delay, or earlier where that was planned."""
        earliest_ms = now_ms + delay_ms
        if self._last_registration_ms is not None:
            earliest_ms = max(earliest_ms, self._last_registration_ms + REGISTRATION_GAP_MS)
        if self._registration_due_ms is not None:
            earliest_ms = min(earliest_ms, self._registration_due_ms)
        self.registered = False
        self._registration_due_ms = earliest_ms

    def registration_is_due(self, now_ms: int) -> bool:
        """Say whether to register now."""
        return not self.registered and self._registration_due_ms is not None and now_ms >= self._registration_due_ms

    def silence_is_over_long(self, now_ms: int) -> bool:
        """Say whether no master has spoken to this agent for so long that it should find out whether one hears it."""
        return self.registered and now_ms >= self._silent_at_ms

    def heartbeat_is_due(self, now_ms: int) -> bool:
        """Say whether the master has heard nothing for too long."""
        return self.registered and now_ms >= self._last_report_ms + self._heartbeat_ms

    def note_registration(self, now_ms: int, random: float) -> None:
        """A registration leaves; plan the next.

        Reference 1.15 draws from 0 to a doubling bound; the lower half is left out here, because an answer needs its time too.
        """
        self._last_registration_ms = now_ms
        self._patience = min(max(random, 0.0), 1.0)
        pause_ms = max(REGISTRATION_GAP_MS, int(self._registration_bound_ms * (1 + self._patience) / 2))
        self._registration_due_ms = now_ms + pause_ms
        self._registration_bound_ms = min(self._registration_bound_ms * 2, REGISTRATION_BACKOFF_CAP_MS)

    def note_report(self, now_ms: int) -> None:
        """A report leaves: the master hears from this agent."""
        self._last_report_ms = now_ms

    @property
    def _silent_at_ms(self) -> int:
        return self._heard_ms + int(SILENT_HEARTBEATS * self._heartbeat_ms * (1 + self._patience))

    def check(self) -> None:
        """Assert its invariants."""
        assert self.confirmed >= 0
        assert self.epoch >= 0
        assert not (self.registered and self._registration_due_ms is not None), (
            "who is registered plans no registration"
        )
        assert self.epoch > 0 or self.confirmed == 0, "without a master nothing is confirmed"

    def _refused(self, batch: CommandBatch) -> Decision | None:
        if batch.agent_id != self._agent_id:
            return _refusal(Refusal.WRONG_AGENT, f"for agent {batch.agent_id[:64]!r}")
        if batch.session != self._session:
            return _refusal(Refusal.WRONG_SESSION, "for another life of this agent")
        if batch.epoch < self.epoch or batch.epoch <= 0:
            return _refusal(Refusal.OLD_EPOCH, f"of epoch {batch.epoch}, but epoch {self.epoch} is followed")
        if batch.first_number < 0:
            return _refusal(Refusal.BAD_NUMBER, f"begins with number {batch.first_number}")
        return None

    def _hole(self, batch: CommandBatch, now_ms: int, adopted: bool) -> Decision:
        complained = self._complained
        ask = complained is None or complained[0] != self.confirmed or now_ms - complained[1] >= GAP_REPEAT_MS
        if ask:
            self._complained = (self.confirmed, now_ms)
        return Decision(
            intake=Intake.REFUSED,
            adopted=adopted,
            ask=ask,
            refusal=Refusal.GAP,
            message=f"begins with number {batch.first_number}, but {self.confirmed + 1} is next",
        )


def _refusal(refusal: Refusal, message: str) -> Decision:
    return Decision(intake=Intake.REFUSED, refusal=refusal, message=message)
