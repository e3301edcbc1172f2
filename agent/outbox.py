"""What the core has decided within one event, gathered so that everything of a kind leaves as one effect.

Changed tasks are written and their heads reported as they are at the end of the event, not once per step in it: a task that
starts and ends within one batch costs one record.
"""

from mesolite.ids import ContainerId, FrameworkId
from mesolite.protocol import AgentHeartbeat, ExecutorEvent, ExecutorResized, Report, UnregisterAgent

from .containerizer.contract import ContainerSpec
from .effects import (
    AgentEffect,
    Checkpoint,
    CloseLinks,
    DropFramework,
    HangUp,
    KillContainer,
    LaunchContainers,
    LaunchExecutors,
    OpenLinks,
    Refusal,
    Rejected,
    ResizeContainer,
    SendReports,
    ShowTasks,
    ShowTotals,
    StopAgent,
    TaskChange,
    TellExecutor,
    TotalsChange,
)
from .executor import Executor
from .records import Record
from .task import Task, TaskKey


class Outbox:
    """Decisions waiting for the end of the event."""

    def __init__(self) -> None:
        #: What was put and dropped, in that order; the progress of changed tasks is written after it.
        self.records: list[Record] = []
        #: Tasks whose progress is to be written.
        self.changed: dict[TaskKey, Task] = {}
        #: Executors whose record is to be written.
        self.changed_executors: dict[ContainerId, Executor] = {}
        #: Tasks whose head leaves.
        self.heads: dict[TaskKey, Task] = {}
        #: Executors whose end is said.
        self.exits: dict[ContainerId, Executor] = {}
        self.reports: list[Report] = []
        #: A report leaves even if there is nothing but its header to say.
        self.must_report = False
        self.gap = False
        self.opened: list[tuple[ContainerId, FrameworkId]] = []
        self.launches: list[ContainerSpec] = []
        #: Executors that are launched; the limits of their containers are what they need at the end of the event.
        self.launched_executors: list[Executor] = []
        self.executor_launches: list[ContainerSpec] = []
        #: Executors whose container gets other limits.
        self.resized: dict[ContainerId, Executor] = {}
        self._told: dict[tuple[ContainerId, int], list[ExecutorEvent]] = {}
        self.hung_up: list[HangUp] = []
        self.closed: list[ContainerId] = []
        self.kills: list[KillContainer] = []
        self.dropped_frameworks: list[FrameworkId] = []
        self.shown: list[TaskChange] = []
        self.totals: list[TotalsChange] = []
        self.rejected: list[Rejected] = []
        self.stop: StopAgent | None = None

    def reject(self, refusal: Refusal, message: str) -> None:
        """Note a refused input."""
        self.rejected.append(Rejected(refusal=refusal, message=message))

    def beat(self) -> None:
        """Let the master hear from this agent."""
        self.reports.append(AgentHeartbeat())

    def tell(self, executor: Executor, event: ExecutorEvent) -> None:
        """Say something on an executor's newest connection."""
        self.tell_on(executor, executor.connection, event)

    def tell_on(self, executor: Executor, connection: int, event: ExecutorEvent) -> None:
        """Say something on a connection of an executor's."""
        key = (executor.container_id, connection)
        told = self._told.get(key)
        if told is None:
            self._told[key] = [event]
        else:
            told.append(event)

    def effects(self, *, epoch: int, confirmed: int) -> list[AgentEffect]:
        """Return everything in the order of the effects' contract."""
        effects: list[AgentEffect] = []
        records = (
            *self.records,
            *(executor.record() for executor in self.changed_executors.values()),
            *(task.progress() for task in self.changed.values()),
        )
        if records:
            effects.append(Checkpoint(records=records))
        if self.speaks:
            reports = (
                *self.reports,
                *(task.update() for task in self.heads.values()),
                *(executor.exited() for executor in self.exits.values()),
            )
            if self.stop is not None and not self.stop.refused:
                # Last: whoever has left is not heard any more.
                reports = (*reports, UnregisterAgent())
            effects.append(SendReports(epoch=epoch, confirmed=confirmed, gap=self.gap, reports=reports))
        self._act(effects)
        if self.shown:
            effects.append(ShowTasks(changes=tuple(self.shown)))
        if self.totals:
            effects.append(ShowTotals(changes=tuple(self.totals)))
        effects.extend(self.rejected)
        if self.stop is not None:
            effects.append(self.stop)
        return effects

    def _act(self, effects: list[AgentEffect]) -> None:
        """Add what acts on containers and executors: first what must be there, limits before the tasks that need them."""
        if self.opened:
            effects.append(OpenLinks(executors=tuple(self.opened)))
        if self.launches:
            effects.append(LaunchContainers(specs=tuple(self.launches)))
        if self.executor_launches:
            effects.append(LaunchExecutors(specs=tuple(self.executor_launches)))
        for container_id, executor in self.resized.items():
            limits = executor.limits
            effects.append(
                ResizeContainer(container_id=container_id, cpus_milli=executor.quota_cpus_milli, mem_mib=limits.mem_mib)
            )
            if executor.connected:
                resized = ExecutorResized(limits.cpus_milli / 1000, limits.mem_mib)
                key = (container_id, executor.connection)
                self._told[key] = [resized, *self._told.get(key, ())]
        for (container_id, connection), events in self._told.items():
            effects.append(TellExecutor(container_id=container_id, connection=connection, events=tuple(events)))
        effects.extend(self.hung_up)
        effects.extend(self.kills)
        if self.closed:
            effects.append(CloseLinks(container_ids=tuple(self.closed)))
        effects.extend(DropFramework(framework_id=framework_id) for framework_id in self.dropped_frameworks)

    @property
    def speaks(self) -> bool:
        """A report will leave."""
        leaves = self.stop is not None and not self.stop.refused
        return self.must_report or bool(self.reports or self.heads or self.exits) or leaves
