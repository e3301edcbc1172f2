"""A cluster in which kinds of calls share the workers that a core holds: agents, master and engine, on virtual time.

Agents have so much room, a master offers whole units of the demand in its order, and workers take call after call while there are
any. Drains are carried out as the warm pool does: once a second it is said who has calls.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import assume
from hypothesis import strategies as st

from mesolite.frameworks.celery.warm_settings import WARM_SHARE
from mesolite.frameworks.driver.scheduling import Offered, StateDemand, Ticked
from mesolite.frameworks.futures.coarse import CoarseCore
from mesolite.frameworks.futures.effects import (
    CoarseEffect,
    DrainExecutor,
    KillTask,
    LaunchSlots,
    RefuseKind,
    ShutdownExecutor,
)
from mesolite.frameworks.futures.events import CallsGiven, CoarseEvent, ExecutorEnded, LoadChanged
from mesolite.frameworks.futures.holding import Holding
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.programs import shape_with_executor
from mesolite.ids import AgentId, ExecutorId
from mesolite.protocol import Demand, ExecutorInfo, TaskInfo, TaskState
from mesolite.resources import Resource, scalars
from tests.unit.futures.rig import PROGRAM, offer, status, updated

STEP_MS: Final = 250
WINDOW_MS: Final = 180_000
#: From the launch of a worker until it runs, and from the word that it is to end until it is over.
START_MS: Final = 1_000
END_MS: Final = 500


@dataclass(frozen=True)
class Flow:
    """Calls of one kind that come all the time."""

    kind: Kind
    #: Outstanding at any time.
    calls: int
    call_ms: int


@dataclass
class Worker:
    """One worker in its executor."""

    task: TaskInfo
    agent: str
    kind: Kind
    runs_at_ms: int
    is_running: bool = False
    drained: bool = False
    #: When its call ends; None while it has none.
    busy_until_ms: int | None = None
    over_at_ms: int | None = None

    @property
    def executor(self) -> ExecutorInfo:
        """Its own."""
        assert self.task.executor is not None
        return self.task.executor

    def __post_init__(self) -> None:
        #: What it takes of its agent.
        self.room = amounts_of((*self.task.resources, *self.executor.resources))


def amounts_of(resources: tuple[Resource, ...]) -> "Counter[str]":
    """Thousandths by name."""
    amounts: Counter[str] = Counter()
    for resource in resources:
        amounts[resource.name] += resource.scalar or 0
    return amounts


def is_of(task: TaskInfo, kind: Kind) -> bool:
    """Whether a worker is of a kind."""
    return amounts_of(task.resources) == amounts_of(kind.shape)


@dataclass
class Cluster:
    """Agents, and a core that holds workers on them."""

    agents: Mapping[str, tuple[float, int]]
    flows: list[Flow]
    max_workers: int | None = None
    now_ms: int = 0
    workers: dict[ExecutorId, Worker] = field(default_factory=dict[ExecutorId, Worker])
    demands: tuple[Demand, ...] = ()
    offers: int = 0
    done: "Counter[Kind]" = field(default_factory=Counter[Kind])
    drains: list[int] = field(default_factory=list[int])
    #: Until when somebody had no worker.
    bare_ms: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        #: What each agent has.
        self.whole = {
            name: amounts_of(scalars(cpus=cpus, mem_mib=mem_mib).to_wire())
            for name, (cpus, mem_mib) in self.agents.items()
        }
        holding = Holding(
            max_workers=self.max_workers,
            idle_ms=10_000,
            workers_per_executor=1,
            share=WARM_SHARE,
            drains=True,
            life="-a",
        )
        self.core = CoarseCore(PROGRAM, self.flows[0].kind, holding)
        for flow in self.flows:
            self.load(flow.kind, flow.calls)

    def change(self, kind: Kind, calls: int) -> None:
        """From now on there are so many calls of a kind."""
        self.flows = [replace(flow, calls=calls) if flow.kind == kind else flow for flow in self.flows]
        self.load(kind, calls)

    def load(self, kind: Kind, calls: int) -> None:
        """So many calls of a kind have not ended."""
        self.hear(LoadChanged(now_ms=self.now_ms, kind=kind, calls=calls))

    def hear(self, event: CoarseEvent) -> None:
        """Tell the core, and do what it says."""
        effects = self.core.apply(event)
        self.core.check()
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: CoarseEffect) -> None:
        """Be the master, the agents and the engine."""
        match effect:
            case StateDemand():
                self.demands = effect.demands
            case LaunchSlots():
                for task in effect.tasks:
                    assert task.executor is not None
                    kind = next(flow.kind for flow in self.flows if is_of(task, flow.kind))
                    worker = Worker(task, task.agent_id, kind, self.now_ms + START_MS)
                    self.workers[task.executor.executor_id] = worker
            case DrainExecutor():
                self.workers[effect.executor_id].drained = True
                self.drains.append(self.now_ms)
            case ShutdownExecutor():
                worker = self.workers[effect.executor_id]
                assert worker.busy_until_ms is None, "an executor is shut down under its call"
                worker.over_at_ms = self.now_ms + END_MS
            case KillTask() | RefuseKind():
                raise AssertionError(effect)
            case _:
                pass

    def step(self) -> None:
        """Let a quarter of a second pass."""
        self.now_ms += STEP_MS
        for executor_id, worker in list(self.workers.items()):
            self.work(worker)
            if worker.over_at_ms is not None and worker.over_at_ms <= self.now_ms:
                self.end(executor_id, worker)
        if self.now_ms % 1_000 == 0:
            given = {name: 1 for name, worker in self.workers.items() if worker.busy_until_ms is not None}
            self.hear(CallsGiven(now_ms=self.now_ms, calls=given))
            self.hear(Ticked(now_ms=self.now_ms))
        self.offer()
        if not self.held().keys() >= {flow.kind for flow in self.flows if flow.calls}:
            self.bare_ms = self.now_ms

    def held(self) -> "Counter[Kind]":
        """Workers which take calls."""
        return Counter(worker.kind for worker in self.workers.values() if not worker.drained)

    def all_had_workers(self, for_ms: int) -> bool:
        """Whether nobody with calls was without a worker for so long."""
        return self.bare_ms < self.now_ms - for_ms

    def work(self, worker: Worker) -> None:
        """A worker begins, takes calls and ends them."""
        if not worker.is_running and worker.runs_at_ms <= self.now_ms:
            worker.is_running = True
            self.hear(updated(self.now_ms, status(worker.task.task_id, TaskState.RUNNING)))
        if worker.busy_until_ms is not None and worker.busy_until_ms <= self.now_ms:
            worker.busy_until_ms = None
            self.done[worker.kind] += 1
        if not worker.is_running or worker.drained or worker.busy_until_ms is not None:
            return
        flow = next(flow for flow in self.flows if flow.kind == worker.kind)
        busy = sum(each.kind == worker.kind and each.busy_until_ms is not None for each in self.workers.values())
        if busy < flow.calls:
            worker.busy_until_ms = self.now_ms + flow.call_ms

    def end(self, executor_id: ExecutorId, worker: Worker) -> None:
        """An executor is over."""
        del self.workers[executor_id]
        agent_id = AgentId(worker.agent)
        self.hear(updated(self.now_ms, status(worker.task.task_id, TaskState.KILLED)))
        self.hear(
            ExecutorEnded(now_ms=self.now_ms, agent_id=agent_id, executor_id=executor_id, exit_code=0, message="")
        )

    def free(self, agent: str) -> "Counter[str]":
        """What is left of an agent."""
        free = Counter(self.whole[agent])
        for worker in self.workers.values():
            if worker.agent == agent:
                free.subtract(worker.room)
        return free

    def offer(self) -> None:
        """Offer what is wanted, whole units in the order of the demand, and where it fits."""
        for agent in self.rng.sample(sorted(self.agents), len(self.agents)):
            for demand in self.demands:
                unit, free = amounts_of(demand.shape), self.free(agent)
                count = min(demand.count, *(free[name] // amount for name, amount in unit.items()))
                if count > 0:
                    self.offers += 1
                    made = offer(
                        f"offer-{self.offers}",
                        cpus=count * unit["cpus"] / 1000,
                        mem_mib=count * unit["mem"] // 1000,
                        agent_id=AgentId(agent),
                    )
                    self.hear(Offered(now_ms=self.now_ms, offers=(made,)))
                    break

    def pass_time(self, milliseconds: int) -> "Counter[Kind]":
        """Return how many calls of each kind ended meanwhile."""
        before, until_ms = Counter(self.done), self.now_ms + milliseconds
        while self.now_ms < until_ms:
            self.step()
        return self.done - before


@dataclass(frozen=True)
class Layout:
    """Of which any number of clusters can be made."""

    agents: Mapping[str, tuple[float, int]]
    flows: tuple[Flow, ...]
    max_workers: int | None = None

    def cluster(self) -> Cluster:
        """A new one."""
        return Cluster(self.agents, list(self.flows), self.max_workers)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Some agents, and two or three kinds of calls that come all the time, each of which fits an agent."""
    agents = {
        f"agent-{number}": (draw(st.integers(1, 8)), draw(st.sampled_from([1024, 4096, 8192])))
        for number in range(draw(st.integers(1, 3)))
    }
    flows: list[Flow] = []
    for number in range(draw(st.integers(2, 3))):
        # So that no two are the same.
        mem_mib = draw(st.sampled_from([100, 500, 900, 3000])) + number
        kind = CallOptions(cpus=draw(st.sampled_from([0.5, 1, 2, 4, 8])), mem_mib=mem_mib).kind
        flows.append(Flow(kind, draw(st.integers(1, 30)), draw(st.sampled_from([250, 1_000, 5_000]))))
    made = Layout(agents, tuple(flows), draw(st.one_of(st.none(), st.integers(1, 8))))
    cluster = made.cluster()
    for flow in flows:
        unit = amounts_of(shape_with_executor(flow.kind, WARM_SHARE))
        assume(any(cluster.free(agent) >= unit for agent in agents))
    return made
