"""Both cores on one wire: what each promises the other, through loss, silence and a change of master.

No shells and no transport: batches go through the codec and into the other core, or get lost.
"""

from collections.abc import Sequence
from pathlib import Path

from mesolite.agent.containerizer.contract import ContainerExited, ContainerStarted
from mesolite.agent.core import AgentCore
from mesolite.agent.effects import AgentEffect, LaunchContainers, SendReports
from mesolite.agent.events import AgentEvent, CommandsArrived, ContainersRecovered, ContainersReported
from mesolite.agent.events import Tick as AgentTick
from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.master import MasterCore, MasterSettings
from mesolite.master.allocator import HierarchicalDrfAllocator
from mesolite.master.effects import CommandAgent, MasterEffect, TellFramework
from mesolite.master.events import CallsArrived, ReportsArrived
from mesolite.master.events import Tick as MasterTick
from mesolite.protocol import (
    Accept,
    Acknowledge,
    Acknowledgement,
    AgentInfo,
    Call,
    CallBatch,
    CommandInfo,
    Filters,
    FrameworkInfo,
    Heartbeat,
    LaunchOperation,
    Offer,
    Offers,
    ReportBatch,
    Subscribe,
    TaskInfo,
    TaskState,
    Update,
    decode_commands,
    decode_reports,
    encode,
)
from mesolite.resources import Resources

AGENT = AgentId("a1")
SESSION = SessionId("life-1")
FRAMEWORK = FrameworkId("f")
SETTINGS = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=5000)
S = TaskState


class Cluster:
    """One master, one agent, one framework that takes every offer it needs."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.epoch = 1
        #: Nothing passes between master and agent while False.
        self.connected = True
        #: Commands to lose before they pass again.
        self.lose_commands = 0
        self.master = MasterCore(epoch=1, settings=SETTINGS, allocator=HierarchicalDrfAllocator())
        self.states: dict[TaskId, list[TaskState]] = {}
        self.offers: list[Offer] = []
        self._reports = 0
        self._calls = 0
        self.launched: list[str] = []
        self.agent = AgentCore(
            AgentInfo(agent_id=AGENT, hostname="h", resources=tuple(Resources.parse("cpus:4;mem:1024"))),
            session=SESSION,
            life=b"12345678",
            boot_id="boot",
            sandbox_root=Path("/sandboxes"),
        )
        self._agent(ContainersRecovered(now_ms=self.now_ms))
        self.call(Subscribe(FrameworkInfo(framework_id=FRAMEWORK, name="f")))
        self.go(1000)

    def go(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self.now_ms < end_ms:
            self.now_ms += 100
            if self.now_ms % 1000 == 0:
                self.call(Heartbeat())
            self._agent(AgentTick(now_ms=self.now_ms, random=0.5))
            self._master(self.master.apply(MasterTick(now_ms=self.now_ms)))
            self.agent.check()
            self.master.check()

    def call(self, *calls: Call) -> None:
        self._calls += 1
        batch = CallBatch(
            framework_id=FRAMEWORK, session=SessionId("s"), epoch=self.epoch, number=self._calls, calls=calls
        )
        event = CallsArrived(now_ms=self.now_ms, principal="default", batch=batch)
        self._master([*self.master.apply(event), *self.master.apply(MasterTick(now_ms=self.now_ms))])

    def launch(self, *names: str) -> None:
        while not self.offers:
            self.go(100)
        offer = self.offers.pop()
        resources = tuple(Resources.parse("cpus:0.1;mem:32").allocated_to("*"))
        tasks = tuple(
            TaskInfo(task_id=TaskId(name), agent_id=AGENT, resources=resources, command=CommandInfo(value="x"))
            for name in names
        )
        self.call(Accept(offer_ids=(offer.offer_id,), operations=(LaunchOperation(tasks),), filters=Filters(0)))
        self.go(500)

    def finish(self, *names: str) -> None:
        for name in names:
            container_id = self.agent.book.tasks[FRAMEWORK, TaskId(name)].container_id
            ended = ContainerExited(container_id=container_id, exit_code=0, oom_killed=False, peak_mem_bytes=None)
            self._agent(ContainersReported(now_ms=self.now_ms, events=(ended,)))
        self.go(500)

    def change_master(self) -> None:
        registry: dict[str, bytes] = {}
        self.epoch += 1
        self.master = MasterCore(epoch=self.epoch, settings=SETTINGS, allocator=HierarchicalDrfAllocator())
        self.master.recover(registry, self.now_ms)
        self.call(Subscribe(FrameworkInfo(framework_id=FRAMEWORK, name="f")))

    def _agent(self, event: AgentEvent) -> None:
        self._agent_effects(self.agent.apply(event))

    def _agent_effects(self, effects: Sequence[AgentEffect]) -> None:
        for effect in effects:
            if isinstance(effect, SendReports) and self.connected:
                self._reports += 1
                batch = ReportBatch(
                    agent_id=AGENT,
                    session=SESSION,
                    number=self._reports,
                    epoch=effect.epoch,
                    confirmed=effect.confirmed,
                    gap=effect.gap,
                    reports=effect.reports,
                )
                decoded, malformed = decode_reports(encode(batch))
                assert malformed == []
                arrived = ReportsArrived(now_ms=self.now_ms, principal="default", batch=decoded)
                self._master(self.master.apply(arrived))
            elif isinstance(effect, LaunchContainers):
                self.launched.extend(spec.labels["mesolite.task_id"] for spec in effect.specs)
                started = tuple(ContainerStarted(container_id=spec.container_id) for spec in effect.specs)
                self._agent(ContainersReported(now_ms=self.now_ms, events=started))

    def _master(self, effects: Sequence[MasterEffect]) -> None:
        for effect in effects:
            if isinstance(effect, CommandAgent) and self.connected:
                if self.lose_commands > 0:
                    self.lose_commands -= 1
                    continue
                batch = decode_commands(encode(effect.batch))
                self._agent(CommandsArrived(now_ms=self.now_ms, batch=batch, random=0.5))
            elif isinstance(effect, TellFramework):
                for event in effect.batch.events:
                    if isinstance(event, Offers):
                        self.offers.extend(event.offers)
                    elif isinstance(event, Update):
                        self._update(event)

    def _update(self, event: Update) -> None:
        status = event.status
        heard = self.states.setdefault(status.task_id, [])
        if not heard or heard[-1] is not status.state:
            heard.append(status.state)
        if status.uuid is not None:
            self.call(Acknowledge((Acknowledgement(AGENT, status.task_id, status.uuid),)))


def test_a_task_passes_through_both_and_is_forgotten_by_both() -> None:
    cluster = Cluster()
    cluster.launch("t")
    cluster.finish("t")
    assert cluster.states == {"t": [S.RUNNING, S.FINISHED]}
    assert cluster.agent.book.tasks == {}
    assert cluster.master.state.agents[AGENT].tasks == {}


def test_lost_commands_are_sent_again_and_carried_out_once() -> None:
    cluster = Cluster()
    cluster.lose_commands = 1
    cluster.launch("t")
    assert cluster.launched == []
    cluster.go(10_000)
    assert cluster.launched == ["t"]
    assert cluster.states == {"t": [S.RUNNING]}


def test_an_agent_that_was_lost_and_comes_back_goes_on_counting() -> None:
    """The agent has confirmed many commands of this epoch when the master forgets it; both stay in their epoch."""
    cluster = Cluster()
    names = [f"t{number}" for number in range(10)]
    for name in names:
        cluster.launch(name)
    cluster.finish(*names[1:])
    assert cluster.agent.link.confirmed > 10
    cluster.connected = False
    cluster.go(10_000)
    assert AGENT in cluster.master.state.lost_agents
    assert cluster.states[TaskId("t0")][-1] is S.UNREACHABLE
    cluster.connected = True
    cluster.go(5_000)
    assert cluster.agent.link.registered
    assert cluster.states[TaskId("t0")][-1] is S.RUNNING
    cluster.launch("later")
    assert cluster.states[TaskId("later")] == [S.RUNNING]
    cluster.finish("t0", "later")
    assert cluster.states[TaskId("t0")][-1] is S.FINISHED


def test_a_new_master_learns_everything_from_the_agent() -> None:
    cluster = Cluster()
    cluster.launch("t")
    cluster.change_master()
    cluster.go(5_000)
    assert cluster.agent.link.epoch == 2
    assert TaskId("t") in {key[1] for key in cluster.master.state.agents[AGENT].tasks}
    cluster.finish("t")
    assert cluster.states[TaskId("t")][-1] is S.FINISHED
