"""An agent's shell on a memory broker and a scripted machine, with the test as its master."""

from collections.abc import Sequence
from pathlib import Path

from mesolite.agent.checkpoint import CheckpointStore, MemoryCheckpoint
from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.containerizer.fake import FakeContainerizer, FakeHost
from mesolite.agent.core import AgentCore
from mesolite.agent.effects import TaskChange, TotalsChange
from mesolite.agent.executor_links.fake import FakeDoors, FakeExecutorLinks
from mesolite.agent.executor_links.fake_executors import FakeExecutors
from mesolite.agent.inbox import Inbox
from mesolite.agent.shell import AgentShell
from mesolite.clock import ManualClock
from mesolite.ids import AgentId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    AgentInfo,
    Command,
    CommandBatch,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    RegisterAgent,
    Registered,
    ReportBatch,
    RunTask,
    RunTasks,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    decode_reports,
    encode,
)
from mesolite.resources import Resources
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import agent_queue, reports_stream
from mesolite.transport.memory import MemoryBus, MemoryStore
from mesolite.transport.memory_broker import MemoryBroker

AGENT = AgentId("a1")
STREAM = reports_stream("default")


class Rig:
    """One machine; agents live and die on it."""

    def __init__(self, sandbox_root: Path, checkpoint: CheckpointStore | None = None) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.host = FakeHost(self.clock)
        self.doors = FakeDoors()
        self.executors = FakeExecutors(self.host, self.doors)
        self.checkpoint = checkpoint if checkpoint is not None else MemoryCheckpoint()
        self.sandbox_root = sandbox_root
        self.changes: list[TaskChange] = []
        self.totals: list[TotalsChange] = []
        self.epoch = 1
        self.lives = 0
        self.next_number = 1
        self._bus = MemoryBus(self.broker)
        self._store = MemoryStore(self.broker)
        self._read = BEGINNING
        #: Every batch read so far.
        self.batches: list[ReportBatch] = []
        self.start()

    def start(self, *, recover: bool = True) -> None:
        """Begin a life of the agent with what the former left; where its shell is to run by itself, it recovers by itself."""
        self.lives += 1
        self.next_number = 1
        inbox = self.inbox = Inbox()
        self.containerizer = FakeContainerizer(self.host, inbox.put)
        self.links = FakeExecutorLinks(self.doors, inbox.put)
        core = AgentCore.recover(
            self.checkpoint.load(),
            AgentInfo(agent_id=AGENT, hostname="host", resources=tuple(Resources.parse("cpus:4;mem:1024"))),
            session=SessionId(f"life-{self.lives}"),
            life=self.lives.to_bytes(8, "big"),
            boot_id="boot",
            sandbox_root=self.sandbox_root,
        )
        self.shell = AgentShell(
            core=core,
            store=MemoryStore(self.broker),
            bus=MemoryBus(self.broker),
            containerizer=self.containerizer,
            inbox=inbox,
            checkpoint=self.checkpoint,
            clock=self.clock,
            random=lambda: 0.5,
            principal="default",
            cluster="default",
            make_sandbox=self.make_sandbox,
            observers=[self],
            links=self.links,
            bundle_dir=Path("/bundle"),
            executor_observers=[self],
        )
        if recover:
            self.shell.recover()

    def make_sandbox(self, spec: ContainerSpec) -> None:
        spec.sandbox.mkdir(parents=True)

    def tasks_changed(self, changes: object) -> None:
        assert isinstance(changes, tuple)
        self.changes.extend(changes)

    def totals_changed(self, changes: Sequence[TotalsChange]) -> None:
        self.totals.extend(changes)

    def crash(self) -> None:
        """The agent's process dies; its containers run on."""
        self.containerizer.close()
        self.links.stop()

    def join(self) -> None:
        """Register the agent."""
        self.go()
        self.say(Registered(heartbeat_interval_ms=5000))

    def go(self, after_ms: int = 0) -> None:
        """Let time pass in steps in which everybody does what is due."""
        end_ms = self.clock.now_ms() + after_ms
        while True:
            self._poll()
            while self.shell.step():
                self._poll()
            due = [
                each
                for each in (
                    self.shell.core.next_deadline_ms(),
                    self.containerizer.next_due_ms(),
                    self.executors.next_due_ms(),
                    end_ms,
                )
                if each is not None and each > self.clock.now_ms()
            ]
            if not due or self.clock.now_ms() >= end_ms:
                break
            self.clock.advance(min(*due, end_ms) - self.clock.now_ms())

    def _poll(self) -> None:
        self.containerizer.poll(self.clock.now_ms())
        self.executors.poll(self.clock.now_ms())

    def say(self, *commands: Command, first: int | None = None) -> None:
        """Speak as the master, and let the agent hear it."""
        if first is None:
            first = self.next_number
            self.next_number += len(commands)
        batch = CommandBatch(
            agent_id=AGENT,
            session=SessionId(f"life-{self.lives}"),
            epoch=self.epoch,
            first_number=first,
            commands=commands,
        )
        self._bus.send(agent_queue(AGENT), encode(batch))
        self.go()

    def send_bytes(self, payload: bytes) -> None:
        self._bus.send(agent_queue(AGENT), payload)

    def run(self, name: str, command: str, *, cpus: int = 1) -> None:
        info = TaskInfo(
            task_id=TaskId(name),
            agent_id=AGENT,
            resources=tuple(Resources.parse(f"cpus:{cpus};mem:64")),
            command=CommandInfo(value=command),
        )
        self.say(RunTask(FrameworkInfo(framework_id=FrameworkId("f"), name="f"), info))

    def run_under(self, *tasks: tuple[str, str], launch: bool = False, executor: str = "e") -> None:
        """Launch tasks, each a name and what it does, under an executor."""
        info = ExecutorInfo(
            executor_id=ExecutorId(executor),
            command=CommandInfo(value="sleep 1000000"),
            resources=tuple(Resources.parse("cpus:0.1;mem:32")),
        )
        infos = tuple(
            TaskInfo(
                task_id=TaskId(name),
                agent_id=AGENT,
                resources=tuple(Resources.parse("cpus:0.1;mem:16")),
                data=does.encode(),
            )
            for name, does in tasks
        )
        self.say(RunTasks(FrameworkInfo(framework_id=FrameworkId("f"), name="f"), info, infos, launch))

    def heard(self) -> list[ReportBatch]:
        """Read what the agent reported since the last time."""
        entries = self._store.read({STREAM: self._read}, limit=10_000, wait_ms=0)
        fresh: list[ReportBatch] = []
        for entry in entries:
            self._read = entry.entry_id
            batch, malformed = decode_reports(entry.payload)
            assert malformed == []
            fresh.append(batch)
        self.batches.extend(fresh)
        return fresh

    def updates(self) -> list[StatusUpdate]:
        return [report for batch in self.heard() for report in batch.reports if isinstance(report, StatusUpdate)]

    def registrations(self) -> list[RegisterAgent]:
        return [report for batch in self.heard() for report in batch.reports if isinstance(report, RegisterAgent)]

    def acknowledge(self, *updates: StatusUpdate) -> None:
        acknowledgements = tuple(
            StatusAcknowledgement(update.framework_id, update.status.task_id, update.status.uuid or b"")
            for update in updates
        )
        self.say(AcknowledgeStatuses(acknowledgements))

    def settle(self, after_ms: int) -> list[StatusUpdate]:
        """Let time pass and acknowledge every update; return them, without repetitions."""
        seen: dict[bytes, StatusUpdate] = {}
        self.go(after_ms)
        while updates := self.updates():
            seen.update({update.status.uuid or b"": update for update in updates})
            self.acknowledge(*updates)
        return list(seen.values())
