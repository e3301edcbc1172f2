"""How many short tasks of one executor an agent carries, in its core alone and with its shell and a checkpoint on disk.

Every task goes the whole way through the agent: RUN_TASKS decoded, launched, told to the executor in JSON, one last update in
JSON taken, checkpointed, acknowledged to the executor, reported, acknowledged by the master, forgotten. The executor and the
master answer at once, and their part is not counted. One process, one core.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mesolite.agent.checkpoint import CheckpointStore, MemoryCheckpoint, SqliteCheckpoint
from mesolite.agent.containerizer.contract import ContainerStarted
from mesolite.agent.containerizer.fake import FakeContainerizer, FakeHost
from mesolite.agent.core import AgentCore
from mesolite.agent.executor_links.contract import ExecutorSpoke
from mesolite.agent.inbox import Inbox
from mesolite.agent.shell import AgentShell
from mesolite.clock import ManualClock
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    AgentInfo,
    Command,
    CommandBatch,
    CommandInfo,
    ExecutorAcknowledged,
    ExecutorCall,
    ExecutorEvent,
    ExecutorInfo,
    ExecutorLaunch,
    ExecutorSubscribe,
    ExecutorUpdate,
    FrameworkInfo,
    Registered,
    RunTasks,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    TaskState,
    decode_commands,
    decode_reports,
    encode,
)
from mesolite.resources import scalars
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import agent_queue, reports_stream
from mesolite.transport.memory import MemoryBus, MemoryStore
from mesolite.transport.memory_broker import MemoryBroker

from .figures import Figure, Outcome, main

TASKS = 20_000
#: Tasks that are launched, and acknowledged, in one pass of the shell.
BATCH = 100
AGENT = AgentId("a")
FRAMEWORK = FrameworkInfo(framework_id=FrameworkId("f"), name="f")
SHAPE = scalars(cpus=0.01, mem_mib=1).to_wire()
EXECUTOR = ExecutorInfo(
    executor_id=ExecutorId("e"),
    command=CommandInfo(value="sleep 1000000"),
    resources=scalars(cpus=0.1, mem_mib=32).to_wire(),
)
DATA = b"C" + b"x" * 100


class JsonLinks:
    """The links' share of the work, without their sockets: JSON both ways."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._encoder = msgspec.json.Encoder()
        self._calls = msgspec.json.Decoder(ExecutorCall)
        self._events = msgspec.json.Decoder(ExecutorEvent)
        self.container_id = ContainerId("")
        self.sent = b""

    def socket_dir(self, container_id: ContainerId) -> Path:
        return Path("/sockets")

    def open(self, container_id: ContainerId, framework_id: FrameworkId) -> None:
        self.container_id = container_id

    def send(self, container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        self.sent += self._encoder.encode_lines(events)

    def hang_up(self, container_id: ContainerId, connection: int) -> None:
        raise AssertionError("nothing is wrong")

    def close(self, container_id: ContainerId) -> None:
        raise AssertionError("it goes on")

    def stop(self) -> None:
        """Nothing is open."""

    def hear(self, lines: bytes) -> None:
        """Take what the executor says."""
        calls = tuple(self._calls.decode_lines(lines))
        self._inbox.put(ExecutorSpoke(container_id=self.container_id, connection=1, calls=calls))

    def take(self) -> list[ExecutorEvent]:
        """What the executor was told; its own work."""
        sent, self.sent = self.sent, b""
        return self._events.decode_lines(sent)


class Rig:
    """An agent, and those who answer it."""

    def __init__(self, checkpoint: CheckpointStore, work_dir: Path) -> None:
        clock = ManualClock()
        broker = MemoryBroker(clock)
        self._store, self._bus = MemoryStore(broker), MemoryBus(broker)
        inbox = Inbox()
        self.links = JsonLinks(inbox)
        info = AgentInfo(agent_id=AGENT, hostname="h", resources=scalars(cpus=64, mem_mib=65536).to_wire())
        core = AgentCore(info, session=SessionId("s"), life=b"lifelife", boot_id="boot", sandbox_root=work_dir)
        self.shell = AgentShell(
            core=core,
            store=self._store,
            bus=self._bus,
            containerizer=FakeContainerizer(FakeHost(clock), inbox.put),
            inbox=inbox,
            checkpoint=checkpoint,
            clock=clock,
            random=lambda: 0.5,
            principal="default",
            cluster="default",
            make_sandbox=lambda spec: None,
            links=self.links,
        )
        self._number = 1
        self._read = BEGINNING
        self._unacknowledged: list[StatusUpdate] = []
        #: Seconds of the agent's own, so far.
        self.busy_s = 0.0
        self.ended = 0
        self.shell.recover()
        self.command(Registered(heartbeat_interval_ms=60_000), RunTasks(FRAMEWORK, EXECUTOR, (task("first"),), True))
        self.work(lambda: inbox.put(ContainerStarted(container_id=self.links.container_id)))
        self.hear(ExecutorSubscribe())
        assert len(self.links.take()) > 1, "it is told its first task"

    def command(self, *commands: Command) -> None:
        """Speak as the master, and let the agent work."""
        batch = CommandBatch(
            agent_id=AGENT, session=SessionId("s"), epoch=1, first_number=self._number, commands=commands
        )
        self._number += len(commands)
        payload = encode(batch)
        assert decode_commands(payload) == batch
        self._bus.send(agent_queue(AGENT), payload)
        self.work()

    def hear(self, *calls: ExecutorCall) -> None:
        """Speak as the executor, and let the agent work."""
        lines = msgspec.json.Encoder().encode_lines(calls)
        self.work(lambda: self.links.hear(lines))

    def work(self, first: Callable[[], None] | None = None) -> None:
        """Let the agent work, and count its time."""
        began_s = time.process_time()
        if first is not None:
            first()
        while self.shell.step():
            pass
        self.busy_s += time.process_time() - began_s

    def turn(self, names: Sequence[str]) -> None:
        """Launch tasks, acknowledge what ended, and let the executor end what it was told."""
        entries = self._store.read({reports_stream("default"): self._read}, limit=10_000, wait_ms=0)
        acknowledgements: list[StatusAcknowledgement] = []
        for entry in entries:
            self._read = entry.entry_id
            for report in decode_reports(entry.payload)[0].reports:
                if isinstance(report, StatusUpdate):
                    status = report.status
                    acknowledgements.append(
                        StatusAcknowledgement(report.framework_id, status.task_id, status.uuid or b"")
                    )
        self.ended += len(acknowledgements)
        self.command(
            AcknowledgeStatuses(tuple(acknowledgements)),
            RunTasks(FRAMEWORK, EXECUTOR, tuple(task(name) for name in names)),
        )
        launched = [event.task.task_id for event in self.links.take() if isinstance(event, ExecutorLaunch)]
        if launched:
            self.hear(
                *(
                    ExecutorUpdate(task_id=task_id, state=TaskState.FINISHED, update_id="1", data=b"R" * 50)
                    for task_id in launched
                )
            )
            acknowledged = [event for event in self.links.take() if isinstance(event, ExecutorAcknowledged)]
            assert len(acknowledged) == len(launched)


def task(name: str) -> TaskInfo:
    """A short one."""
    return TaskInfo(task_id=TaskId(name), agent_id=AGENT, name="call", resources=SHAPE, data=DATA)


def once(checkpoint: CheckpointStore) -> float:
    """Run all tasks; return the agent's microseconds a task."""
    rig = Rig(checkpoint, Path("/sandboxes"))
    rig.busy_s = 0.0
    for start in range(0, TASKS, BATCH):
        rig.turn([f"task-{number:08d}" for number in range(start, start + BATCH)])
    while rig.ended < TASKS:
        rig.turn([])
    return rig.busy_s / TASKS * 1_000_000


def measure(runs: int) -> Outcome:
    """Measure."""
    in_memory: list[float] = []
    on_disk: list[float] = []
    for _ in range(runs):
        in_memory.append(once(MemoryCheckpoint()))
        with tempfile.TemporaryDirectory() as directory:
            checkpoint = SqliteCheckpoint(Path(directory) / "checkpoint.sqlite")
            on_disk.append(once(checkpoint))
            checkpoint.close()
    return Outcome(
        figures=[
            Figure(name="agent, checkpoint in memory", unit="us/task", values=in_memory),
            Figure(name="agent, checkpoint on disk", unit="us/task", values=on_disk, goal=100),
        ],
        notes=[
            f"{TASKS:,} tasks in batches of {BATCH}; the agent's CPU time only, waiting for the disk is not in it",
            "master, executor, Redis and sockets are left out; messages are decoded and encoded as with them",
        ],
    )


if __name__ == "__main__":
    main("executor_tasks", measure)
