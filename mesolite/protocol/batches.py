"""Envelopes: many messages of one sender, with what the receiver needs to refuse or order them.

One batch is one stream entry or one kombu message, because a trip through either costs far more than what it carries
(DESIGN 6). Each direction has its own envelope; there are four, closed like the unions they carry.
"""

from typing import Final

from msgspec import Struct

from mesolite.ids import AgentId, FrameworkId, SessionId

from .calls import Call
from .commands import Command
from .events import Event
from .reports import Report

#: Raised when a message changes its meaning; new optional fields do not raise it.
PROTOCOL_VERSION: Final = 1


class CallBatch(Struct, frozen=True, kw_only=True):
    """Framework to master."""

    version: int = PROTOCOL_VERSION
    framework_id: FrameworkId
    #: This life of the scheduler; the master listens to the newest that subscribed.
    session: SessionId
    #: The epoch of the newest event batch seen, 0 before the first. Offers of another epoch are void.
    epoch: int
    #: Grows with each batch of a session, from 1. One not above the last seen is a repeated append and is skipped, so that
    #: a write whose answer got lost may be sent again.
    number: int
    calls: tuple[Call, ...]


class EventBatch(Struct, frozen=True, kw_only=True):
    """Master to framework."""

    version: int = PROTOCOL_VERSION
    #: Whom it is for: another session of the framework must skip it, but count its number.
    session: SessionId
    epoch: int
    #: Grows by one with each batch to this framework within an epoch, from 1; a hole means lost events. 0 marks a batch
    #: outside the numbering: from a master that does not know the framework, or knows that it has ended.
    number: int
    events: tuple[Event, ...]
    #: Number of this session's newest call batch that the master has dealt with; those above it may still wait for a master.
    heard: int = 0


class CommandBatch(Struct, frozen=True, kw_only=True):
    """Master to agent."""

    version: int = PROTOCOL_VERSION
    agent_id: AgentId
    #: The life of the agent that the numbering belongs to; a later life begins anew with its registration.
    session: SessionId
    epoch: int
    #: Number of the first command; the others follow on. The first of an epoch and session is 1. 0 marks a batch outside
    #: the numbering (Reregister), which is neither ordered nor confirmed.
    first_number: int
    commands: tuple[Command, ...]


class ReportBatch(Struct, frozen=True, kw_only=True):
    """Agent to master."""

    version: int = PROTOCOL_VERSION
    agent_id: AgentId
    session: SessionId
    #: As `CallBatch.number`.
    number: int
    #: The epoch that the agent follows, 0 before any.
    epoch: int
    #: All commands of this epoch up to here are checkpointed.
    confirmed: int
    #: A command beyond `confirmed` + 1 arrived: resend at once.
    gap: bool = False
    reports: tuple[Report, ...] = ()
