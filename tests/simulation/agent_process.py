"""An agent: the real shell and core on a machine of the simulator's, and the ways in which it can come to harm."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mesolite.agent.checkpoint import MemoryCheckpoint
from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.containerizer.fake import FakeContainerizer, FakeHost
from mesolite.agent.core import LIFE_BYTES, AgentCore
from mesolite.agent.events import ShutdownRequested, TaskEndRequested
from mesolite.agent.inbox import Inbox
from mesolite.agent.launch import LABEL_FRAMEWORK, LABEL_TASK
from mesolite.agent.records import Put, Record, outlives_machine
from mesolite.agent.shell import AgentShell
from mesolite.errors import CheckpointFailed, RedisUnavailable
from mesolite.ids import AgentId, ContainerId, FrameworkId, SessionId, TaskId
from mesolite.protocol import AgentInfo, decode_commands
from mesolite.resources import scalars
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL

from .executors import Executors, WatchedLinks
from .fuse import Fuse
from .journal import Journal
from .plan import AgentShape
from .process import Process
from .wires import WiredBus
from .world import World

#: The real one looks more often, at nothing: here it is woken by whatever concerns it.
LOOK_MS: Final = 3000


class Disk:
    """The checkpoint, which outlives the process: where an agent may die before or after a write, or have no room for it."""

    def __init__(self, agent_id: AgentId, fuse: Fuse, journal: Journal) -> None:
        self._agent_id: Final = agent_id
        self._fuse: Final = fuse
        self._journal: Final = journal
        #: What the process sees, what a machine that goes down leaves for certain, and what more it may leave.
        self._kept = MemoryCheckpoint()
        self._synced: Final = MemoryCheckpoint()
        self._unsynced: Final[list[Sequence[Record]]] = []
        #: It takes nothing.
        self.full = False

    def load(self) -> list[Put]:
        """See `CheckpointStore`."""
        return self._kept.load()

    def save(self, records: Sequence[Record]) -> None:
        """See `CheckpointStore`."""
        self._fuse.burn()
        if self.full:
            raise CheckpointFailed("the simulated disk is full")
        self._kept.save(records)
        self._unsynced.append(records)
        if any(map(outlives_machine, records)):
            self._sync(len(self._unsynced))
        self._journal.saved(self._agent_id, records)
        self._fuse.burn()

    def clear(self) -> None:
        """See `CheckpointStore`."""
        self._kept.clear()
        self._synced.clear()
        self._unsynced.clear()

    def lose_power(self, left: float) -> None:
        """Lose the newest of what was not synced: so great a part of it is left."""
        self._sync(int(left * (len(self._unsynced) + 1)))
        self._kept = MemoryCheckpoint()
        self._kept.save(self._synced.load())
        for records in self._unsynced:
            self._journal.lost(records, self._kept.load())
        self._unsynced.clear()

    def _sync(self, count: int) -> None:
        for records in self._unsynced[:count]:
            self._synced.save(records)
        del self._unsynced[:count]

    def close(self) -> None:
        """See `CheckpointStore`."""


class WatchedBus:
    """The agent's end of kombu, with a journal of what it is told."""

    def __init__(self, bus: WiredBus, agent_id: AgentId, journal: Journal) -> None:
        self._agent_id: Final = agent_id
        self._bus: Final = bus
        self._journal: Final = journal
        self.send: Final = bus.send
        self.send_many: Final = bus.send_many
        self.delete: Final = bus.delete
        self.close: Final = bus.close

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """See `CommandBus`."""
        messages = self._bus.receive(queue, limit=limit, wait_ms=wait_ms)
        for message in messages:
            self._journal.commanded(self._agent_id, decode_commands(message))
        return messages


class WatchedContainerizer:
    """The fake one, with a journal, and with a fuse that may end the agent before or after each thing asked of it."""

    def __init__(self, host: FakeHost, inbox: Inbox, agent_id: AgentId, fuse: Fuse, journal: Journal) -> None:
        self.fake: Final = FakeContainerizer(host, inbox.put)
        self._host: Final = host
        self._agent_id: Final = agent_id
        self._fuse: Final = fuse
        self._journal: Final = journal
        self._tasks: Final[dict[ContainerId, tuple[FrameworkId, TaskId]]] = {
            container_id: _task_of(container.spec)
            for container_id, container in (host.containers | host.ended).items()
            if LABEL_TASK in container.spec.labels
        }

    @property
    def name(self) -> str:
        """See `Containerizer`."""
        return self.fake.name

    @property
    def trouble(self) -> str:
        """See `Containerizer`."""
        return self.fake.trouble

    def launch(self, spec: ContainerSpec) -> None:
        """See `Containerizer`."""
        self._fuse.burn()
        if LABEL_TASK in spec.labels:
            key = self._tasks[spec.container_id] = _task_of(spec)
            self._journal.task(key).launches.append((self._agent_id, spec.container_id))
        self.fake.launch(spec)
        self._fuse.burn()

    def kill(self, container_id: ContainerId, *, grace_ms: int) -> None:
        """See `Containerizer`."""
        self._fuse.burn()
        key, container = self._tasks.get(container_id), self._host.containers.get(container_id)
        over = container is not None and container.ends_ms <= self._host.clock.now_ms()
        if key is not None and not over and container_id not in self._host.ended:
            self._journal.task(key).killed = True
        self.fake.kill(container_id, grace_ms=grace_ms)

    def resize(self, container_id: ContainerId, *, cpus_milli: int, mem_mib: int) -> None:
        """See `Containerizer`."""
        self._fuse.burn()
        self.fake.resize(container_id, cpus_milli=cpus_milli, mem_mib=mem_mib)
        self._fuse.burn()

    def recover(self) -> list[ContainerId]:
        """See `Containerizer`."""
        return self.fake.recover()

    def forget(self, container_ids: Sequence[ContainerId]) -> None:
        """See `Containerizer`."""
        if container_ids:
            self._fuse.burn()
        self.fake.forget(container_ids)

    def close(self) -> None:
        """See `Containerizer`."""
        self.fake.close()


class AgentProcess(Process):
    """One agent, through all its lives."""

    def __init__(self, world: World, agent_id: AgentId, shape: AgentShape) -> None:
        super().__init__(world, agent_id)
        self.disk: Final = Disk(agent_id, self.fuse, world.journal)
        self.host: Final = FakeHost(world.clock, start_ms=shape.start_ms)
        self.executors: Final = Executors(world, agent_id, self.host)
        self.executors.agent = self
        self.shape: Final = shape
        self.info: Final = AgentInfo(
            agent_id=agent_id,
            hostname=f"{agent_id}.example",
            resources=scalars(cpus=shape.cpus, mem_mib=shape.mem_mib).to_wire(),
        )
        self.boots = 1
        self.shell: AgentShell | None = None
        self._containers: WatchedContainerizer | None = None
        self._inbox: Inbox | None = None
        self._links: WatchedLinks | None = None

    def lose_memory(self) -> None:
        """See `Process`: the checkpoint stays, and so do the containers."""
        if self._containers is not None:
            self._containers.close()
        if self._links is not None:
            self._links.stop()
            self._links = None
            self.executors.look()
        self.shell = self._containers = self._inbox = None

    def end_task(self, framework_id: FrameworkId, task_id: TaskId) -> None:
        """Let somebody at the machine end a task, as Flower's button does."""
        if self._inbox is not None:
            self._inbox.put(TaskEndRequested(now_ms=self.clock.now_ms(), task_id=task_id, framework_id=framework_id))

    def leave(self) -> None:
        """End all tasks and leave the cluster for good."""
        if self.shell is None or self._inbox is None:
            return
        for key in self.shell.core.book.tasks:
            self.world.journal.task(key).may_be_killed = True
        self._inbox.put(ShutdownRequested(now_ms=self.clock.now_ms(), message="the operator wants it"))

    @property
    def left(self) -> bool:
        """Whether it left for good."""
        return self.info.agent_id in self.world.journal.left

    def reboot(self) -> None:
        """End everything on the machine."""
        self.die("its machine reboots")
        self.host.reboot()
        self.disk.lose_power(self.world.rng.random())
        self.executors.look()
        self.boots += 1

    def heal(self) -> None:
        """See `Process`."""
        super().heal()
        self.disk.full = False

    def begin(self, now_ms: int) -> None:
        """See `Process`."""
        world, rng = self.world, self.world.rng
        session = SessionId(f"{self.name}-{rng.getrandbits(32):08x}")
        self.session = session
        world.note(self.name, f"begins as {session}")
        core = AgentCore.recover(
            self.disk.load(),
            self.info,
            session=session,
            life=rng.randbytes(LIFE_BYTES),
            boot_id=f"boot-{self.boots}",
            sandbox_root=Path("/sandboxes"),
        )
        inbox = self._inbox = Inbox()
        self._containers = WatchedContainerizer(self.host, inbox, self.info.agent_id, self.fuse, world.journal)
        self._links = self.executors.links(inbox.put, self.fuse)
        self.shell = AgentShell(
            core=core,
            store=self.wire.store,
            bus=WatchedBus(self.wire.bus, self.info.agent_id, world.journal),
            containerizer=self._containers,
            inbox=inbox,
            checkpoint=self.disk,
            clock=self.clock,
            random=rng.random,
            principal=DEFAULT_PRINCIPAL,
            cluster=DEFAULT_CLUSTER,
            make_sandbox=lambda spec: None,
            links=self._links,
        )
        self._carefully(self.shell.recover)

    def live(self, now_ms: int) -> None:
        """See `Process`."""
        if self.left:
            self.wake_ms = None
        elif self.shell is not None:
            self._carefully(self._step)

    def _carefully(self, do: Callable[[], None]) -> None:
        """Do something that ends the process where the disk takes nothing."""
        try:
            do()
        except CheckpointFailed:
            self.die("died: its disk is full")

    def _step(self) -> None:
        assert self.shell is not None
        assert self._containers is not None
        self._containers.fake.poll(self.world.now_ms)
        try:
            self.shell.step()
        except RedisUnavailable:
            self.shell.work(0)
        self.shell.core.check()
        self.executors.look()
        if self.shell.left:
            self.world.note(self.name, "left for good")
            self.world.journal.left.add(self.info.agent_id)
            self.wake_ms = None
            return
        self.wake_at(self.clock.now_ms() + LOOK_MS, self.shell.core.next_deadline_ms())
        news_ms = self._containers.fake.next_due_ms()
        if news_ms is not None and self.wake_ms is not None:
            self.wake_ms = max(self.world.now_ms + 1, min(self.wake_ms, news_ms))


def _task_of(spec: ContainerSpec) -> tuple[FrameworkId, TaskId]:
    return FrameworkId(spec.labels[LABEL_FRAMEWORK]), TaskId(spec.labels[LABEL_TASK])
