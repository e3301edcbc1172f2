"""What every handler of the core works on, and the few steps that several of them share."""

from collections import Counter, deque
from dataclasses import dataclass, field

from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    Command,
    Event,
    FrameworkInfo,
    Reason,
    Rescind,
    Source,
    TaskState,
    TaskStatus,
    Update,
)

from .allocator import Allocator
from .lifecycle import Step
from .outbox import Outbox
from .settings import KILL_ANSWER_INTERVAL_MS, MAX_COMPLETED_TASKS, STRANGER_INTERVAL_MS, MasterSettings
from .state import Agent, Framework, HeldOffer, MasterState, Task
from .strangers import Strangers


@dataclass(slots=True)
class Context:
    """The core's parts, and the time of the event being applied."""

    epoch: int
    settings: MasterSettings
    allocator: Allocator
    state: MasterState = field(default_factory=MasterState)
    outbox: Outbox = field(init=False)
    #: Senders told to introduce themselves, so that a chatty one is not told so for each message.
    strangers: Strangers = field(default_factory=lambda: Strangers(STRANGER_INTERVAL_MS))
    #: Tasks that cannot be killed whose kills were answered, so that a scheduler that kills on hearing that does so at this pace.
    kill_answers: Strangers = field(default_factory=lambda: Strangers(KILL_ANSWER_INTERVAL_MS))
    #: Processes that claim the id of another agent, and when they spoke up first; the oldest first.
    rivals: dict[tuple[AgentId, SessionId], int] = field(default_factory=dict[tuple[AgentId, SessionId], int])
    #: By when all agents of the registry have been asked to come back, in this epoch.
    asked_back_by_ms: int = 0
    #: What has happened, by name, for metrics.
    counts: Counter[str] = field(default_factory=Counter[str])
    #: The newest ended tasks of frameworks that are no more.
    ended_tasks: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.settings.offer_delay_ms)

    # -- saying

    def tell(self, framework: Framework, event: Event) -> None:
        """Say something to a framework's present scheduler."""
        self.outbox.tell(framework.info.framework_id, framework.session, event)

    def command(self, agent: Agent, command: Command) -> None:
        """Give an agent a numbered command."""
        agent.commands.add(command)
        self.outbox.touched_agents[agent.info.agent_id] = None

    def on_their_way(self, agent: Agent) -> set[tuple[FrameworkId, TaskId, bytes]]:
        """Return the updates whose acknowledgement an agent may not have got yet."""
        unconfirmed = (each for each in agent.commands.unconfirmed() if isinstance(each, AcknowledgeStatuses))
        sent = (each for command in unconfirmed for each in command.acknowledgements)
        waiting = self.outbox.acknowledgements_to(agent.info.agent_id)
        return {(each.framework_id, each.task_id, each.uuid) for each in (*sent, *waiting)}

    # -- tasks

    def master_status(
        self, task: Task, state: TaskState, *, reason: Reason, message: str, unreachable_ms: int | None = None
    ) -> TaskStatus:
        """Make a status of the master's own: without uuid, because it is not resent (reference 1.8)."""
        return TaskStatus(
            task_id=task.info.task_id,
            state=state,
            source=Source.MASTER,
            timestamp_ms=self.now_ms,
            agent_id=task.agent_id,
            reason=reason,
            message=message,
            unreachable_time_ms=unreachable_ms,
        )

    def settle(self, task: Task, step: Step) -> None:
        """Enter a step of a task into the books and tell the allocator what it frees or takes."""
        if step.releases:
            self.state.release(task)
            self.allocator.recover(task.framework_id, task.agent_id, task.resources, refuse_ms=None, now_ms=self.now_ms)
            task.ended_ms = self.now_ms
        task.state = step.state
        if step.reclaims:
            self.state.charge(task)
            self.allocator.allocated(task.framework_id, task.agent_id, task.resources)

    def update(self, framework: Framework, task: Task, status: TaskStatus) -> None:
        """Tell the framework about its task, and remember what it was told."""
        task.status = status
        self.counts[f"tasks_{status.state.name.lower()}"] += 1
        self.tell(framework, Update(status))

    # -- offers

    def withdraw(self, offers: list[HeldOffer]) -> None:
        """Rescind offers; what they held is free at once."""
        gone: dict[FrameworkId, list[HeldOffer]] = {}
        for offer in offers:
            self.give_back(offer, refuse_ms=None)
            gone.setdefault(offer.framework_id, []).append(offer)
        for framework_id, rescinded in gone.items():
            self.counts["offers_rescinded"] += len(rescinded)
            self.tell(self.state.frameworks[framework_id], Rescind(tuple(o.offer_id for o in rescinded)))

    def give_back(self, offer: HeldOffer, *, refuse_ms: int | None) -> None:
        """Strike an offer out and free all it held."""
        self.state.remove_offer(offer)
        self.allocator.recover(
            offer.framework_id,
            offer.agent_id,
            offer.resources,
            offered=True,
            refuse_ms=refuse_ms,
            now_ms=self.now_ms,
        )

    # -- who is where

    def framework_info(self, framework_id: FrameworkId) -> FrameworkInfo:
        """Return the description that agents are given."""
        return self.state.frameworks[framework_id].info

    def set_active(self, agent: Agent, active: bool) -> None:
        """Start or stop offering an agent."""
        if agent.active == active:
            return
        agent.active = active
        agent_id: AgentId = agent.info.agent_id
        if active:
            self.allocator.activate_agent(agent_id)
        else:
            self.withdraw(list(agent.offers.values()))
            self.allocator.deactivate_agent(agent_id)
