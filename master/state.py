"""What the master knows: agents, frameworks, offers, tasks, executors, and the books of who holds what.

Changed only by the core, through the few methods here that keep both sides of each entry: an offer stands in the offer
table, in its framework and in its agent; a task and an executor in their framework and their agent; what each holds is in the
agent's `offered` or `used`. `check()` recounts everything.
"""

import enum
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    AgentInfo,
    Demand,
    ExecutorInfo,
    FrameworkInfo,
    KillPolicy,
    Registered,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from mesolite.resources import EMPTY, Resources

from .commandlog import CommandLog
from .lifecycle import holds_resources
from .registry import AgentEntry
from .settings import (
    MAX_COMPLETED_TASKS,
    MAX_ENDED_EXECUTORS,
    MAX_REMEMBERED_IDS,
    MAX_SUPERSEDED_SESSIONS,
    MAX_UNREACHABLE_TASKS,
)


class Task(Struct, eq=False, gc=False, kw_only=True):
    """One task of a framework on an agent.

    A struct, and out of the garbage collector's sight, since nothing in it leads back to it: there are hundreds of thousands,
    made within seconds when agents come back to a new master, and looking through them took longer than making them.
    """

    #: Without its `data`, which no master needs, and its `executor`, which is kept once for all of its tasks.
    info: TaskInfo
    framework_id: FrameworkId
    agent_id: AgentId
    #: Stamped with the role they are allocated to.
    resources: Resources
    #: The newest state; decides whether `resources` are charged.
    state: TaskState
    #: The newest word sent to the framework, which reconciliation repeats. It has a uuid while its agent may wait for it to be
    #: acknowledged.
    status: TaskStatus
    #: When it was accepted, and when it ended (0 before).
    accepted_ms: int
    ended_ms: int = 0
    #: Whose task it is, where not its own command's.
    executor_id: ExecutorId | None = None
    #: A kill was asked for, and with which policy; said again to an agent that registers again, which may not know.
    kill_wanted: bool = False
    kill_policy: KillPolicy | None = None


@dataclass(slots=True, eq=False)
class HeldExecutor:
    """One life of an executor, charged from the task that launches it to its end (I4)."""

    info: ExecutorInfo
    framework_id: FrameworkId
    agent_id: AgentId
    #: Its own, stamped with the role of the offer that it was launched on.
    resources: Resources
    #: Names this life of it: as in `RegisteredExecutor`.
    launched_by: TaskId
    #: None until its agent has said so.
    container_id: ContainerId | None = None


@dataclass(slots=True, eq=False)
class HeldOffer:
    """An outstanding offer."""

    offer_id: OfferId
    framework_id: FrameworkId
    agent_id: AgentId
    role: str
    resources: Resources
    made_ms: int


@dataclass(slots=True, eq=False)
class Agent:
    """An agent that is registered with this master."""

    info: AgentInfo
    session: SessionId
    principal: str
    total: Resources
    commands: CommandLog
    registered_ms: int
    #: Set by `MasterState.hear` alone, which keeps agents in this order.
    last_heard_ms: int
    #: As in `RegisterAgent`.
    checkpoint_id: str = ""
    incarnation: int = 0
    #: The number of its newest batch; lower ones are repeats.
    last_batch: int = 0
    #: Sum of its outstanding offers, and of its executors and those of its tasks that hold resources; both stamped with roles.
    offered: Resources = EMPTY
    used: Resources = EMPTY
    #: False while it is quiet, stopped, or too far behind with its commands: no offers of it are made.
    active: bool = True
    #: Silent for so long that it is to be removed, once the limit on removals allows it.
    overdue: bool = False
    #: Back from being unreachable, until it has said what it has: its tasks are said to run again.
    returned: bool = False
    tasks: dict[tuple[FrameworkId, TaskId], Task] = field(default_factory=dict[tuple[FrameworkId, TaskId], Task])
    executors: dict[tuple[FrameworkId, ExecutorId], HeldExecutor] = field(
        default_factory=dict[tuple[FrameworkId, ExecutorId], HeldExecutor]
    )
    #: Lives of executors whose end their framework was told, oldest first: the agent says it until it knows that it was heard.
    ended_executors: dict[tuple[FrameworkId, TaskId], None] = field(
        default_factory=dict[tuple[FrameworkId, TaskId], None]
    )
    offers: dict[OfferId, HeldOffer] = field(default_factory=dict[OfferId, HeldOffer])
    #: What its newest registration was answered; None before the first that this master took up.
    answer: Registered | None = None
    #: Tasks that were UNREACHABLE with it, from its return until it has said what it has.
    returning: tuple[tuple[FrameworkId, TaskId], ...] = ()
    #: Earlier lives, whose late words are not heard.
    superseded: deque[SessionId] = field(default_factory=lambda: deque(maxlen=MAX_SUPERSEDED_SESSIONS))

    def entry(
        self,
        *,
        unreachable_since_ms: int | None = None,
        gone_since_ms: int | None = None,
        left_since_ms: int | None = None,
    ) -> AgentEntry:
        """Return what the registry says of it."""
        return AgentEntry(
            hostname=self.info.hostname,
            session=self.session,
            principal=self.principal,
            checkpoint_id=self.checkpoint_id,
            incarnation=self.incarnation,
            unreachable_since_ms=unreachable_since_ms,
            gone_since_ms=gone_since_ms,
            left_since_ms=left_since_ms,
        )


class Absence(enum.Enum):
    """Why an agent of the registry is not registered."""

    #: Not back yet since the master changed: what it runs is not known, and nothing is said of it.
    RECOVERING = "recovering"
    #: Silent for too long: it may come back, with its tasks.
    UNREACHABLE = "unreachable"
    #: Declared gone by an operator: it must not come back.
    GONE = "gone"
    #: It said that it stops, having killed what it ran: nothing of it is left.
    LEFT = "left"


@dataclass(slots=True, eq=False)
class LostAgent:
    """An agent in the registry that is not registered."""

    agent_id: AgentId
    #: As it stands in the registry.
    entry: AgentEntry
    #: Set by `MasterState.mislay` alone.
    absence: Absence
    #: When it is given up (RECOVERING), or since when it is what `absence` says.
    since_ms: int
    #: As it was when this master lost it; None where this master has never known it. Commands to that life may still be on
    #: their way, so their numbers are not used again.
    last: Agent | None = None
    #: Its tasks that became UNREACHABLE.
    tasks: tuple[tuple[FrameworkId, TaskId], ...] = ()


@dataclass(slots=True, eq=False)
class Framework:
    """A framework that has not ended."""

    info: FrameworkInfo
    session: SessionId
    principal: str
    #: A scheduler is subscribed and not silent.
    active: bool
    registered_ms: int
    last_heard_ms: int
    #: When its scheduler fell silent; None while active. The failover timeout counts from here.
    silent_since_ms: int | None = None
    last_batch: int = 0
    #: Number of the newest event batch of this epoch, and when it was made.
    event_number: int = 0
    last_told_ms: int = 0
    #: Heard since then.
    unanswered_calls: int = 0
    suppressed: frozenset[str] = frozenset()
    demands: tuple[Demand, ...] = ()
    tasks: dict[TaskId, Task] = field(default_factory=dict[TaskId, Task])
    offers: dict[OfferId, HeldOffer] = field(default_factory=dict[OfferId, HeldOffer])
    #: By agent; agents without any are not among them.
    executors: dict[AgentId, dict[ExecutorId, HeldExecutor]] = field(
        default_factory=dict[AgentId, dict[ExecutorId, HeldExecutor]]
    )
    #: Tasks of agents that are lost; also in no agent's books.
    unreachable: dict[TaskId, Task] = field(default_factory=dict[TaskId, Task])
    completed: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    #: Ids of tasks that ended, oldest first.
    used_ids: dict[TaskId, None] = field(default_factory=dict[TaskId, None])
    superseded: deque[SessionId] = field(default_factory=lambda: deque(maxlen=MAX_SUPERSEDED_SESSIONS))
    #: Its failover timeout ends it no earlier: before, its scheduler may not have been able to make itself heard.
    no_end_before_ms: int = 0
    #: The registry says that it is silent.
    silence_saved: bool = False
    #: Kills of tasks that this master does not know, whose agents may still come back with them; oldest first.
    wanted_kills: dict[TaskId, KillPolicy | None] = field(default_factory=dict[TaskId, KillPolicy | None])
    #: Torn down: its tasks and executors are being killed, and it is gone with the last of them.
    ending: bool = False
    #: Why.
    ending_why: str = ""


class MasterState:
    """The books."""

    def __init__(self) -> None:
        self.agents: dict[AgentId, Agent] = {}
        #: The same agents, the longest silent first.
        self.heard: OrderedDict[AgentId, Agent] = OrderedDict()
        #: Agents that may have commands to confirm; those that have none are found out at the next look.
        self.unconfirmed: dict[AgentId, None] = {}
        self.lost_agents: dict[AgentId, LostAgent] = {}
        #: Those of them that are RECOVERING.
        self.recovering: dict[AgentId, LostAgent] = {}
        self.frameworks: dict[FrameworkId, Framework] = {}
        #: Ended frameworks, oldest first, and why; their ids are refused.
        self.completed_frameworks: dict[FrameworkId, str] = {}
        #: Outstanding offers, oldest first, which is the order in which they time out.
        self.offers: dict[OfferId, HeldOffer] = {}
        self.next_offer = 1

    def agents_recovering(self) -> bool:
        """Say whether some agent of the registry has neither come back nor been given up since the master changed."""
        return bool(self.recovering)

    def task(self, framework_id: FrameworkId, task_id: TaskId) -> Task | None:
        """Find a task that has not ended, unreachable ones included."""
        framework = self.frameworks.get(framework_id)
        if framework is None:
            return None
        return framework.tasks.get(task_id) or framework.unreachable.get(task_id)

    # -- agents

    def add_agent(self, agent: Agent) -> None:
        """Enter an agent that registers; it is absent no longer."""
        agent_id = agent.info.agent_id
        self.lost_agents.pop(agent_id, None)
        self.recovering.pop(agent_id, None)
        self.agents[agent_id] = self.heard[agent_id] = agent

    def hear(self, agent: Agent, now_ms: int) -> None:
        """Note that an agent spoke."""
        agent.last_heard_ms = now_ms
        self.heard.move_to_end(agent.info.agent_id)

    def remove_agent(self, agent_id: AgentId) -> None:
        """Strike out an agent that holds nothing any more."""
        del self.agents[agent_id], self.heard[agent_id]
        self.unconfirmed.pop(agent_id, None)

    def mislay(self, lost: LostAgent) -> None:
        """Enter an agent as absent, or that its absence is another now."""
        self.lost_agents[lost.agent_id] = lost
        if lost.absence is Absence.RECOVERING:
            self.recovering[lost.agent_id] = lost
        else:
            self.recovering.pop(lost.agent_id, None)

    # -- offers

    def add_offer(self, offer: HeldOffer) -> None:
        """Enter an offer; its resources must be free."""
        agent = self.agents[offer.agent_id]
        self.offers[offer.offer_id] = offer
        agent.offers[offer.offer_id] = offer
        self.frameworks[offer.framework_id].offers[offer.offer_id] = offer
        agent.offered += offer.resources

    def remove_offer(self, offer: HeldOffer) -> None:
        """Strike an offer out; the caller gives its resources back or to tasks."""
        agent = self.agents[offer.agent_id]
        del self.offers[offer.offer_id]
        del agent.offers[offer.offer_id]
        del self.frameworks[offer.framework_id].offers[offer.offer_id]
        agent.offered -= offer.resources

    # -- tasks

    def add_task(self, task: Task) -> None:
        """Enter a task of a registered agent, charging it where its state holds resources."""
        agent = self.agents[task.agent_id]
        self._enter(agent, task)
        if holds_resources(task.state):
            agent.used += task.resources

    def adopt_tasks(self, agent: Agent, tasks: Sequence[Task]) -> dict[FrameworkId, Resources]:
        """Enter all that an agent brought along at once, charging them in one sum.

        Returns:
            What each framework has been charged for.
        """
        charged: dict[FrameworkId, list[Resources]] = {}
        for task in tasks:
            self._enter(agent, task)
            if holds_resources(task.state):
                charged.setdefault(task.framework_id, []).append(task.resources)
        sums = {framework_id: Resources.sum_of(each) for framework_id, each in charged.items()}
        agent.used = Resources.sum_of((agent.used, *sums.values()))
        return sums

    def charge(self, task: Task) -> None:
        """Charge a task that held nothing."""
        self.agents[task.agent_id].used += task.resources

    def release(self, task: Task) -> None:
        """Stop charging a task; called once per task, when it ends or is lost (I5)."""
        self.agents[task.agent_id].used -= task.resources

    def _enter(self, agent: Agent, task: Task) -> None:
        key = (task.framework_id, task.info.task_id)
        assert key not in agent.tasks, f"task {key} is entered twice"
        agent.tasks[key] = task
        self.frameworks[task.framework_id].tasks[task.info.task_id] = task

    def remove_task(self, task: Task) -> None:
        """Strike out a task that ended and is acknowledged; it is kept as history."""
        assert task.state in TERMINAL_STATES, f"task {task.info.task_id} is removed while {task.state}"
        framework = self.frameworks[task.framework_id]
        del self.agents[task.agent_id].tasks[(task.framework_id, task.info.task_id)]
        del framework.tasks[task.info.task_id]
        self._remember(framework, task)

    def _remember(self, framework: Framework, task: Task) -> None:
        framework.completed.append(task)
        framework.used_ids[task.info.task_id] = None
        if len(framework.used_ids) > MAX_REMEMBERED_IDS:
            del framework.used_ids[next(iter(framework.used_ids))]

    def end_unreachable(self, task: Task, state: TaskState, now_ms: int) -> None:
        """Strike out a task of a lost agent that is known to have ended; it is kept as history."""
        framework = self.frameworks[task.framework_id]
        del framework.unreachable[task.info.task_id]
        task.state, task.ended_ms = state, now_ms
        self._remember(framework, task)

    def lose_task(self, task: Task) -> None:
        """Move a task of a lost agent out of that agent's books."""
        framework = self.frameworks[task.framework_id]
        del self.agents[task.agent_id].tasks[(task.framework_id, task.info.task_id)]
        del framework.tasks[task.info.task_id]
        if len(framework.unreachable) < MAX_UNREACHABLE_TASKS:
            framework.unreachable[task.info.task_id] = task

    # -- executors

    def add_executor(self, executor: HeldExecutor) -> None:
        """Enter an executor of a registered agent, and charge it."""
        agent = self.agents[executor.agent_id]
        key = (executor.framework_id, executor.info.executor_id)
        assert key not in agent.executors, f"executor {key} is entered twice"
        agent.executors[key] = executor
        framework = self.frameworks[executor.framework_id]
        framework.executors.setdefault(executor.agent_id, {})[executor.info.executor_id] = executor
        agent.used += executor.resources

    def remove_executor(self, executor: HeldExecutor) -> None:
        """Strike out an executor that has ended, or whose agent is lost, and stop charging it."""
        agent = self.agents[executor.agent_id]
        del agent.executors[executor.framework_id, executor.info.executor_id]
        framework = self.frameworks[executor.framework_id]
        here = framework.executors[executor.agent_id]
        del here[executor.info.executor_id]
        if not here:
            del framework.executors[executor.agent_id]
        agent.used -= executor.resources

    # -- invariants

    def check(self) -> None:
        """Assert that the books agree with themselves (DESIGN 5; reference 2.0)."""
        for agent in self.agents.values():
            self._check_agent(agent)
        for framework in self.frameworks.values():
            self._check_framework(framework)
        assert set(self.offers) == {o for a in self.agents.values() for o in a.offers}
        assert not set(self.agents) & set(self.lost_agents), "an agent is both registered and lost"
        assert set(self.heard) == set(self.agents), "silence is watched of agents that are registered, and only of them"
        recovering = {lost.agent_id for lost in self.lost_agents.values() if lost.absence is Absence.RECOVERING}
        assert recovering == set(self.recovering)
        assert not set(self.frameworks) & set(self.completed_frameworks), "a framework both runs and has ended"

    def _check_agent(self, agent: Agent) -> None:
        name = agent.info.agent_id
        offered = sum((o.resources for o in agent.offers.values()), EMPTY)
        used = sum((t.resources for t in agent.tasks.values() if holds_resources(t.state)), EMPTY)
        used = sum((executor.resources for executor in agent.executors.values()), used)
        assert offered == agent.offered, f"agent {name}: offers sum to {offered}, booked {agent.offered}"
        assert used == agent.used, f"agent {name}: tasks and executors sum to {used}, booked {agent.used}"
        held = (offered + used).unallocated()
        assert agent.total.contains(held), f"agent {name} is over-committed: {held} of {agent.total}"
        for (framework_id, task_id), task in agent.tasks.items():
            assert self.frameworks[framework_id].tasks[task_id] is task, f"task {task_id} stands in one book only"
            assert task.state is not TaskState.UNREACHABLE
        for (framework_id, executor_id), executor in agent.executors.items():
            assert self.frameworks[framework_id].executors[name][executor_id] is executor, (
                f"{executor_id} in one book only"
            )
        assert len(agent.ended_executors) <= MAX_ENDED_EXECUTORS
        agent.commands.check()

    def _check_framework(self, framework: Framework) -> None:
        name = framework.info.framework_id
        for task_id, task in framework.tasks.items():
            assert self.agents[task.agent_id].tasks[(name, task_id)] is task, f"task {task_id} stands in one book only"
        for task in framework.unreachable.values():
            assert task.state is TaskState.UNREACHABLE
        assert not framework.tasks.keys() & framework.unreachable.keys()
        for agent_id, here in framework.executors.items():
            assert here, f"no executor of {name} is left on {agent_id}"
            for executor_id, executor in here.items():
                assert self.agents[agent_id].executors[name, executor_id] is executor, f"{executor_id} in one book only"
        assert framework.active == (framework.silent_since_ms is None)
        assert framework.active or not framework.offers, f"framework {name} is silent and holds offers"
