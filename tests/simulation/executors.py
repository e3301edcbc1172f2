"""What runs in executors' containers on a machine: scripted executors, which take turns of their own and outlive their agent."""

from collections.abc import Sequence
from typing import Final

from mesolite.agent.containerizer.fake import FakeHost
from mesolite.agent.executor_links.contract import LinkSink
from mesolite.agent.executor_links.fake import FakeDoors, FakeExecutorLinks
from mesolite.agent.executor_links.fake_executors import FakeExecutor, FakeExecutors, Manners
from mesolite.agent.launch import LABEL_EXECUTOR, LABEL_FRAMEWORK
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import CommandInfo, ExecutorEvent, ExecutorInfo, ExecutorKill
from mesolite.resources import Resources, scalars

from .actor import Actor
from .fuse import Fuse
from .world import World

#: Each executor id that frameworks use here, and what it asks for itself.
OWN: Final[dict[ExecutorId, Resources]] = {
    ExecutorId("x"): scalars(cpus=0.1, mem_mib=32),
    ExecutorId("y"): scalars(cpus=0.5, mem_mib=64),
}
_SIGKILL_CODE: Final = 137
_MILLI: Final = 1000


def executor_info(executor_id: ExecutorId) -> ExecutorInfo:
    """Describe an executor."""
    return ExecutorInfo(
        executor_id=executor_id, command=CommandInfo(value="sleep 1000000"), resources=OWN[executor_id].to_wire()
    )


class WatchedLinks:
    """The fake ones, with a fuse that may end the agent before or after each thing that it says."""

    def __init__(self, doors: FakeDoors, sink: LinkSink, fuse: Fuse) -> None:
        self._fake: Final = FakeExecutorLinks(doors, sink)
        self._fuse: Final = fuse
        self.socket_dir: Final = self._fake.socket_dir
        self.hang_up: Final = self._fake.hang_up
        self.close: Final = self._fake.close
        self.stop: Final = self._fake.stop

    def open(self, container_id: ContainerId, framework_id: FrameworkId) -> None:
        """See `ExecutorLinks`."""
        self._fuse.burn()
        self._fake.open(container_id, framework_id)

    def send(self, container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        """See `ExecutorLinks`."""
        self._fuse.burn()
        self._fake.send(container_id, connection, events)
        self._fuse.burn()


class Executors(Actor):
    """All executors of a machine."""

    def __init__(self, world: World, agent_id: AgentId, host: FakeHost) -> None:
        super().__init__(f"{agent_id}'s executors", None)
        self.doors: Final = FakeDoors()
        self.agent: Actor | None = None
        self._world: Final = world
        self._agent_id: Final = agent_id
        self._host: Final = host
        self._fake: Final = FakeExecutors(host, self.doors, on_started=self._started)
        #: How much of what each was told the journal has.
        self._noted: Final[dict[ContainerId, int]] = {}

    @property
    def running(self) -> dict[ContainerId, FakeExecutor]:
        """Those whose containers run, as of their last turn."""
        return self._fake.running

    def links(self, sink: LinkSink, fuse: Fuse) -> WatchedLinks:
        """Make the agent's ends, for one life of it."""
        return WatchedLinks(self.doors, sink, fuse)

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        self._fake.poll(now_ms)
        self._note_kills()
        self.look()
        if self.agent is not None:
            soon_ms = now_ms + 1
            self.agent.wake_ms = soon_ms if self.agent.wake_ms is None else min(self.agent.wake_ms, soon_ms)

    def look(self) -> None:
        """Want a turn when there is something to do, and not in this millisecond."""
        due_ms = self._fake.next_due_ms()
        self.wake_ms = None if due_ms is None else max(self._world.now_ms + 1, due_ms)

    def behave(self, manners: Manners) -> None:
        """Let executors that start from now on have these manners."""
        self._fake.manners = manners

    def crash(self) -> None:
        """Let one of them be killed by SIGKILL, as by the kernel or an operator."""
        if (executor := self._any()) is not None:
            self._world.note(self.name, f"the executor in {executor.container_id} is killed")
            container = self._host.containers[executor.container_id]
            if container.ends_ms > self._world.now_ms:
                executor.exits = (_SIGKILL_CODE, False)
                container.end(self._world.now_ms, _SIGKILL_CODE)
            executor.hang_up(None)
            executor.tasks.clear()

    def hang_up(self) -> None:
        """Let the connection of one of them break; it comes back after a while, which may be too long."""
        if (executor := self._any()) is not None:
            pause_ms = self._world.rng.choice((100, 1_000, 20_000))
            self._world.note(self.name, f"the executor in {executor.container_id} hangs up for {pause_ms} ms")
            executor.hang_up(self._world.now_ms + pause_ms)
            self.look()

    def held_milli(self, container_id: ContainerId, now_ms: int) -> tuple[int, int]:
        """Return the thousandths of CPUs and of MiB that an executor and its tasks hold, by what it was asked to do."""
        own = OWN[ExecutorId(self._host.containers[container_id].spec.labels[LABEL_EXECUTOR])]
        cpus_milli, mem_milli = own.scalar("cpus"), own.scalar("mem")
        executor = self.running.get(container_id)
        for task in executor.tasks.values() if executor is not None else ():
            if task.ends_ms is None or task.ends_ms > now_ms:
                cpus_milli += round(task.task.resources.get("cpus", 0) * _MILLI)
                mem_milli += round(task.task.resources.get("mem", 0) * _MILLI)
        return cpus_milli, mem_milli

    def _any(self) -> FakeExecutor | None:
        living = [
            executor
            for container_id, executor in sorted(self.running.items())
            if container_id in self._host.containers and executor.exits is None
        ]
        return self._world.rng.choice(living) if living else None

    def _started(self, container_id: ContainerId, task_id: TaskId) -> None:
        key = (self._framework_of(container_id), task_id)
        self._world.journal.task(key).launches.append((self._agent_id, container_id))

    def _note_kills(self) -> None:
        for container_id, executor in self.running.items():
            for event in executor.heard[self._noted.get(container_id, 0) :]:
                if isinstance(event, ExecutorKill):
                    self._killed(container_id, event.task_id)
            self._noted[container_id] = len(executor.heard)

    def _killed(self, container_id: ContainerId, task_id: TaskId) -> None:
        framework_id = self._framework_of(container_id)
        executor_id = ExecutorId(self._host.containers[container_id].spec.labels[LABEL_EXECUTOR])
        if (framework_id, self._agent_id, executor_id) not in self._world.journal.shut_down:
            self._world.journal.task((framework_id, task_id)).killed = True

    def _framework_of(self, container_id: ContainerId) -> FrameworkId:
        return FrameworkId(self._host.containers[container_id].spec.labels[LABEL_FRAMEWORK])
