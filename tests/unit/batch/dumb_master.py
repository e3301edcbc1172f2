"""A master and its agents in a hundred lines, dumb on purpose: what the driver and the batch framework are held against.

It keeps what a real one promises and nothing else: a task id is launched at most once, updates of agents are resent until they
are acknowledged, a reconciliation is answered from the truth, a new epoch voids every offer. What becomes of a task is drawn.
"""

import random
from dataclasses import dataclass

from mesolite.ids import AgentId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    Accept,
    Acknowledge,
    Call,
    CallBatch,
    Decline,
    ErrorEvent,
    Event,
    EventBatch,
    HeartbeatEvent,
    Kill,
    Offer,
    Offers,
    Reconcile,
    Rescind,
    Resubscribe,
    SetDemand,
    Source,
    Subscribe,
    Subscribed,
    TaskState,
    TaskStatus,
    Teardown,
    Update,
)
from mesolite.resources import scalars

#: An offer that nobody answers is taken back, as by every sound master: its event may have been lost.
OFFER_TIMEOUT_MS = 30_000
AGENTS = [AgentId(f"agent-{number}") for number in range(3)]


@dataclass
class Attempt:
    """A task on an agent."""

    agent_id: AgentId
    #: What it is, and what it has yet to say; the first of these is being sent.
    state: TaskState
    unsaid: list[TaskStatus]


class DumbMaster:
    """One master after the other, in one object; each `fail_over` is the next."""

    def __init__(self, framework_id: FrameworkId, rng: random.Random, interval_ms: int = 5000) -> None:
        self.rng = rng
        self.framework_id = framework_id
        self.epoch = 1
        self.number = 0
        self.interval_ms = interval_ms
        self.last_calls: dict[SessionId, int] = {}
        self.session: SessionId | None = None
        self.offers: dict[OfferId, AgentId] = {}
        self.offered_ms: dict[OfferId, int] = {}
        self.offers_made = 0
        self.attempts: dict[TaskId, Attempt] = {}
        self.hidden: set[AgentId] = set()
        self.wanted = 0
        #: Why the framework is no more; empty while it is.
        self.removed = ""
        self.said: list[EventBatch] = []
        self._uuid = 0

    def fail_over(self) -> None:
        """Another master leads: it knows the tasks, for the agents have told it, and nothing else."""
        self.epoch += 1
        self.number = 0
        self.last_calls.clear()
        self.session = None
        self.wanted = 0
        self.offers.clear()

    def hear(self, batch: CallBatch) -> None:
        """Take calls in."""
        if batch.number <= self.last_calls.get(batch.session, 0):
            return
        self.last_calls[batch.session] = batch.number
        if self.removed:
            self.say(batch.session, ErrorEvent(self.removed))
            return
        if self.session != batch.session and not any(isinstance(call, Subscribe) for call in batch.calls):
            self.say(batch.session, Resubscribe())
            return
        for call in batch.calls:
            self._do(batch.session, call)

    def step(self, now_ms: int, *, faults: bool) -> None:
        """Let agents live a little, make offers, say that the master is there."""
        self._live(now_ms, faults)
        if self.session is None:
            return
        events: list[Event] = [HeartbeatEvent()]
        events += [
            Update(attempt.unsaid[0])
            for attempt in self.attempts.values()
            if attempt.unsaid and attempt.agent_id not in self.hidden
        ]
        for offer_id in [each for each in self.offers if self.offered_ms[each] + OFFER_TIMEOUT_MS <= now_ms]:
            del self.offers[offer_id]
            events.append(Rescind((offer_id,)))
        if faults and self.offers and self.rng.random() < 0.2:
            offer_id = self.rng.choice(sorted(self.offers))
            del self.offers[offer_id]
            events.append(Rescind((offer_id,)))
        if self.wanted and len(self.offers) < 3:
            events.append(Offers((self._offer(now_ms),)))
        self.say(self.session, *events)

    def hide(self, agent_id: AgentId, now_ms: int) -> None:
        """Lose an agent from sight, and say so of its tasks."""
        self.hidden.add(agent_id)
        for task_id, attempt in self.attempts.items():
            if attempt.agent_id == agent_id and attempt.state not in TERMINAL_STATES and self.session is not None:
                self.say(self.session, Update(self._word(task_id, TaskState.UNREACHABLE, now_ms, None)))

    def remove(self, why: str) -> None:
        """End the framework: its tasks are killed, and nobody hears of it."""
        self.removed = why
        self.session = None
        self.offers.clear()
        for attempt in self.attempts.values():
            attempt.unsaid.clear()
            if attempt.state not in TERMINAL_STATES:
                attempt.state = TaskState.KILLED

    def say(self, session: SessionId, *events: Event) -> None:
        """Put a batch on the framework's stream."""
        self.number += 1
        self.said.append(EventBatch(session=session, epoch=self.epoch, number=self.number, events=events))

    def _do(self, session: SessionId, call: Call) -> None:
        match call:
            case Subscribe():
                self.session = session
                self.offers.clear()
                self.say(session, Subscribed(self.framework_id, self.interval_ms))
            case Accept():
                self._accept(session, call)
            case Decline():
                for offer_id in call.offer_ids:
                    self.offers.pop(offer_id, None)
            case SetDemand():
                self.wanted = sum(demand.count for demand in call.demands)
            case Acknowledge():
                for each in call.acknowledgements:
                    attempt = self.attempts.get(each.task_id)
                    if attempt is not None and attempt.unsaid and attempt.unsaid[0].uuid == each.uuid:
                        attempt.unsaid.pop(0)
            case Kill():
                self._kill(session, call)
            case Reconcile():
                for asked in call.tasks:
                    self._answer(session, asked.task_id)
            case Teardown():
                self.remove("Framework has been removed: torn down")
            case _:
                pass

    def _accept(self, session: SessionId, call: Accept) -> None:
        good = all(offer_id in self.offers for offer_id in call.offer_ids)
        for offer_id in call.offer_ids:
            self.offers.pop(offer_id, None)
        for operation in call.operations:
            for task in operation.task_infos:
                if task.task_id in self.attempts:
                    continue
                if good:
                    self.attempts[task.task_id] = Attempt(task.agent_id, TaskState.STAGING, [])
                else:
                    self.say(session, Update(self._word(task.task_id, TaskState.DROPPED, 0, None)))

    def _kill(self, session: SessionId, call: Kill) -> None:
        attempt = self.attempts.get(call.task_id)
        if attempt is None or attempt.state in TERMINAL_STATES:
            self._answer(session, call.task_id)
        elif attempt.agent_id not in self.hidden:
            self._become(call.task_id, attempt, TaskState.KILLED, 0)

    def _answer(self, session: SessionId, task_id: TaskId) -> None:
        attempt = self.attempts.get(task_id)
        if attempt is None:
            state = TaskState.GONE
        elif attempt.agent_id in self.hidden:
            state = TaskState.UNREACHABLE
        else:
            state = attempt.unsaid[0].state if attempt.unsaid else attempt.state
        self.say(session, Update(self._word(task_id, state, 0, None)))

    def _live(self, now_ms: int, faults: bool) -> None:
        for task_id, attempt in self.attempts.items():
            if attempt.state in TERMINAL_STATES or self.rng.random() < 0.5:
                continue
            if attempt.state is TaskState.STAGING:
                self._become(task_id, attempt, TaskState.RUNNING, now_ms)
            else:
                ends = [TaskState.FINISHED] * 4 + [TaskState.FAILED] + [TaskState.GONE] * faults
                self._become(task_id, attempt, self.rng.choice(ends), now_ms)

    def _become(self, task_id: TaskId, attempt: Attempt, state: TaskState, now_ms: int) -> None:
        attempt.state = state
        self._uuid += 1
        attempt.unsaid.append(self._word(task_id, state, now_ms, self._uuid.to_bytes(16)))

    def _word(self, task_id: TaskId, state: TaskState, now_ms: int, uuid: bytes | None) -> TaskStatus:
        attempt = self.attempts.get(task_id)
        return TaskStatus(
            task_id=task_id,
            state=state,
            source=Source.MASTER if uuid is None else Source.AGENT,
            timestamp_ms=now_ms,
            agent_id=attempt.agent_id if attempt is not None else AGENTS[0],
            uuid=uuid,
        )

    def _offer(self, now_ms: int) -> Offer:
        self.offers_made += 1
        agent_id = self.rng.choice([each for each in AGENTS if each not in self.hidden] or AGENTS)
        offer_id = OfferId(f"{self.epoch}-O{self.offers_made}")
        self.offers[offer_id] = agent_id
        self.offered_ms[offer_id] = now_ms
        return Offer(
            offer_id=offer_id,
            framework_id=self.framework_id,
            agent_id=agent_id,
            hostname=agent_id,
            resources=scalars(cpus=3, mem_mib=1000).allocated_to("*").to_wire(),
            allocation_role="*",
        )
