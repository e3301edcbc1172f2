"""The master's core: events in, effects out; no I/O, no clock, no randomness (DESIGN 4).

`apply` enters what an event says into the books at once. What is to be said to frameworks and agents waits in the outbox
until the batch of inputs ends with a `Tick`, when freed resources are offered again and each listener gets one message
for everything. So a shell that applies a batch, ticks, and commits has moved inputs, state and outputs in one step.
"""

from typing import assert_never

from mesolite.ids import id_error
from mesolite.protocol import (
    Call,
    CallBatch,
    CommandBatch,
    EventBatch,
    HeartbeatEvent,
    Kill,
    Malformed,
    Message,
    ReportBatch,
)
from mesolite.protocol.codec import malformed

from . import absence, calls, claims, cycle, registry, reports, subscription
from .allocator import Allocator
from .context import Context
from .effects import CommandAgent, MasterEffect, NewerEpochHeard, TellFramework
from .events import (
    CallsArrived,
    GarbageArrived,
    ListeningResumed,
    MasterEvent,
    OperatorKilled,
    OperatorMarkedGone,
    OperatorToreDown,
    ReportsArrived,
    Tick,
)
from .packing import portions
from .settings import MANY_CALLS, MAX_EPOCH_LEAD_MS, REREGISTRATIONS_PER_S, MasterSettings
from .state import Absence, MasterState
from .timers import Timers


class MasterCore:
    """Decides everything that a leading master decides, within one epoch.

    Args:
        epoch: The epoch it leads in; in every message it sends.
        settings: The operator's choices.
        allocator: Fresh; the core tells it everything.
    """

    def __init__(self, *, epoch: int, settings: MasterSettings, allocator: Allocator) -> None:
        assert epoch >= 1, "epochs begin with 1"
        self._context = Context(epoch=epoch, settings=settings, allocator=allocator)
        self._timers = Timers(settings)
        #: The newest epoch beyond its own that a sender follows; 0 where there is none.
        self._newer_epoch = 0
        for role, weight_milli in settings.weights_milli:
            allocator.set_weight(role, weight_milli)

    @property
    def state(self) -> MasterState:
        """The books, to be read only."""
        return self._context.state

    @property
    def context(self) -> Context:
        """Everything, to be read only: for views and checkers."""
        return self._context

    def recover(self, stored: dict[str, bytes], now_ms: int) -> None:
        """Take over from an earlier master what the registry knows; called once, before any event.

        Frameworks wait for their schedulers with their failover timeouts running, and are asked to subscribe; agents are
        asked to register, over a time that their number sets, and are held to be on their way back until they do or are given up.

        Raises:
            ProtocolError: The registry was written by an incompatible version.
        """
        context = self._context
        context.now_ms = now_ms
        frameworks = registry.frameworks(stored)
        for name, entry in sorted(frameworks.items(), key=lambda item: item[1].ended_ms):
            if entry.ended is None:
                subscription.welcome_back(context, entry)
            else:
                context.state.completed_frameworks[name] = entry.ended
        absent = [absence.restore(context, agent_id, entry) for agent_id, entry in registry.agents(stored).items()]
        awaited = [lost for lost in absent if lost.absence in (Absence.RECOVERING, Absence.UNREACHABLE)]
        spread_ms = len(awaited) * 1000 // REREGISTRATIONS_PER_S
        context.asked_back_by_ms = now_ms + spread_ms
        for lost in awaited:
            claims.ask_back(context, lost, spread_ms)
        self._timers.expect_back(len(context.state.recovering))

    def next_deadline_ms(self) -> int:
        """Return when to `Tick` even if nothing arrives."""
        waiting_ms = self._context.outbox.next_deadline_ms()
        deadline_ms = self._timers.next_deadline_ms(self._context)
        return deadline_ms if waiting_ms is None else min(deadline_ms, waiting_ms)

    def apply(self, event: MasterEvent) -> list[MasterEffect]:
        """Apply one event.

        Returns:
            Effects, only for a `Tick`: those of the whole batch, in the order in which they are to be done.
        """
        context = self._context
        context.now_ms = event.now_ms
        match event:
            case CallsArrived():
                self._calls(event.principal, event.batch)
            case ReportsArrived():
                self._reports(event.principal, event.batch)
            case GarbageArrived():
                self._set_aside(f"{event.principal} on {event.stream}", event.malformed)
            case OperatorKilled():
                framework = context.state.frameworks.get(event.framework_id)
                if framework is not None:
                    calls.kill(context, framework, Kill(task_id=event.task_id))
            case OperatorMarkedGone():
                absence.mark_gone(context, event.agent_id)
            case ListeningResumed():
                self._pardon_silence()
            case OperatorToreDown():
                framework = context.state.frameworks.get(event.framework_id)
                if framework is not None:
                    subscription.tear_down(context, framework, "torn down by an operator")
            case Tick():
                return self._tick()
            case _:
                assert_never(event)
        return []

    def check(self) -> None:
        """Assert every invariant of the books (DESIGN 5)."""
        self._context.state.check()
        self._context.allocator.check()

    def _calls(self, principal: str, batch: CallBatch) -> None:
        context = self._context
        source = f"framework {batch.framework_id[:64]!r} of {principal}"
        if error := id_error(batch.framework_id) or id_error(batch.session):
            self._set_aside(source, malformed(f"the sender's id {error}", b""))
            return
        if not self._is_possible(source, batch.epoch):
            return
        framework = subscription.identify(context, principal, batch)
        if framework is None or batch.number <= framework.last_batch:
            return
        framework.last_batch = batch.number
        framework.last_heard_ms = context.now_ms
        context.outbox.heard(batch.framework_id, batch.session)
        for call in batch.calls:
            error = calls.apply_call(context, framework, call)
            if error is not None:
                self._set_aside(source, malformed(f"{_name(call)}: {error}", b""))
            if framework.ending:
                return
        framework.unanswered_calls += sum(map(_weight, batch.calls))
        if framework.unanswered_calls >= MANY_CALLS:
            # Many that call for no answer: their sender waits to hear how far they came.
            context.tell(framework, HeartbeatEvent())
            framework.unanswered_calls = 0

    def _reports(self, principal: str, batch: ReportBatch) -> None:
        context = self._context
        source = f"agent {batch.agent_id[:64]!r} of {principal}"
        if error := id_error(batch.agent_id) or id_error(batch.session):
            self._set_aside(source, malformed(f"the sender's id {error}", b""))
            return
        if not self._is_possible(source, batch.epoch):
            return
        agent = claims.identify(context, principal, batch)
        if isinstance(agent, str):
            self._set_aside(source, malformed(agent, b""))
            return
        if agent is None or batch.number <= agent.last_batch:
            return
        agent.last_batch = batch.number
        if batch.epoch == context.epoch:
            if not agent.commands.confirm(batch.confirmed, context.now_ms):
                self._set_aside(source, malformed(f"confirms command {batch.confirmed}, which was never sent", b""))
            elif batch.gap:
                agent.commands.resend()
                context.outbox.touched_agents[batch.agent_id] = None
        self._timers.heard(context, agent)
        for report in batch.reports:
            if batch.agent_id not in context.state.agents:
                return  # it has just left
            error = reports.apply_report(context, agent, report)
            if error is not None:
                self._set_aside(source, malformed(f"{_name(report)}: {error}", b""))

    def _pardon_silence(self) -> None:
        """Nobody could be heard for a while: that was not their silence."""
        context = self._context
        for framework in context.state.frameworks.values():
            framework.last_heard_ms = context.now_ms
            framework.no_end_before_ms = context.now_ms + claims.quiet_ms(context)
        for agent in list(context.state.agents.values()):
            context.state.hear(agent, context.now_ms)
        context.rivals.clear()

    def _is_possible(self, source: str, epoch: int) -> bool:
        """Note the epoch that a sender follows; where no clock can have reached it, set aside what it says."""
        context = self._context
        if epoch > context.now_ms + MAX_EPOCH_LEAD_MS:
            self._set_aside(source, malformed(f"follows epoch {epoch}, more than a day ahead of the clock", b""))
            return False
        if epoch > context.epoch:
            self._newer_epoch = max(self._newer_epoch, epoch)
        return True

    def _set_aside(self, source: str, refused: Malformed) -> None:
        self._context.counts["messages_set_aside"] += 1
        self._context.outbox.set_aside(self._context.now_ms, source, refused)

    def _tick(self) -> list[MasterEffect]:
        context = self._context
        self._timers.run(context)
        cycle.allocate(context)
        outbox = context.outbox
        effects = outbox.effects
        outbox.effects = []
        if self._newer_epoch:
            context.counts["newer_epochs_heard"] += 1
            effects.append(NewerEpochHeard(epoch=self._newer_epoch))
            self._newer_epoch = 0
        effects.extend(self._event_batches())
        effects.extend(self._command_batches())
        return effects

    def _event_batches(self) -> list[MasterEffect]:
        context = self._context
        effects: list[MasterEffect] = []
        for (framework_id, session), said in context.outbox.take_events(context.now_ms):
            framework = context.state.frameworks.get(framework_id)
            # One that has ended is outside the numbering: an agent that comes back with its tasks brings it into the books
            # again, and its numbers would begin again within the epoch. A scheduler that saw higher ones would be deaf to them.
            if framework is not None and framework.ending:
                framework = None
            heard = framework.last_batch if framework is not None and framework.session == session else 0
            for events in portions(said):
                number = 0
                if framework is not None:
                    framework.event_number += 1
                    framework.last_told_ms = context.now_ms
                    framework.unanswered_calls = 0
                    number = framework.event_number
                batch = EventBatch(session=session, epoch=context.epoch, number=number, events=events, heard=heard)
                effects.append(TellFramework(framework_id=framework_id, batch=batch))
        return effects

    def _command_batches(self) -> list[MasterEffect]:
        context = self._context
        outbox = context.outbox
        effects: list[MasterEffect] = []
        for (agent_id, session), command in outbox.unnumbered.items():
            batch = CommandBatch(
                agent_id=agent_id, session=session, epoch=context.epoch, first_number=0, commands=(command,)
            )
            effects.append(CommandAgent(agent_id=agent_id, batch=batch))
        outbox.unnumbered.clear()
        for agent_id, acknowledge in outbox.take_acknowledgements():
            agent = context.state.agents.get(agent_id)
            if agent is not None:
                context.command(agent, acknowledge)
        for agent_id in outbox.touched_agents:
            agent = context.state.agents.get(agent_id)
            if agent is None:
                continue
            first, commands = agent.commands.take(context.now_ms)
            if agent.commands.deadline_ms is not None:
                context.state.unconfirmed[agent_id] = None
            if commands:
                batch = CommandBatch(
                    agent_id=agent_id,
                    session=agent.session,
                    epoch=context.epoch,
                    first_number=first,
                    commands=commands,
                )
                effects.append(CommandAgent(agent_id=agent_id, batch=batch))
        outbox.touched_agents.clear()
        return effects


def _weight(call: Call) -> int:
    """Count a call, and one with much data as several, as the driver does (`frameworks/driver/outbox.py`)."""
    return 1 + len(call.data) // 4096 if isinstance(call, Message) else 1


def _name(message: object) -> str:
    return type(message).__name__
