"""What the core has decided within one event, gathered so that everything of a kind leaves as one effect.

Changed tasks are written and their heads reported as they are at the end of the event, not once per step in it: a task that
starts and ends within one batch costs one record.
"""

from mesolite.protocol import AgentHeartbeat, Report, UnregisterAgent

from .containerizer.contract import ContainerSpec
from .effects import (
    AgentEffect,
    Checkpoint,
    KillContainer,
    LaunchContainers,
    Refusal,
    Rejected,
    SendReports,
    ShowTasks,
    StopAgent,
    TaskChange,
)
from .records import Record
from .task import Task, TaskKey


class Outbox:
    """Decisions waiting for the end of the event."""

    def __init__(self) -> None:
        #: What was put and dropped, in that order; the progress of changed tasks is written after it.
        self.records: list[Record] = []
        #: Tasks whose progress is to be written.
        self.changed: dict[TaskKey, Task] = {}
        #: Tasks whose head leaves.
        self.heads: dict[TaskKey, Task] = {}
        self.reports: list[Report] = []
        #: A report leaves even if there is nothing but its header to say.
        self.must_report = False
        self.gap = False
        self.launches: list[ContainerSpec] = []
        self.kills: list[KillContainer] = []
        self.shown: list[TaskChange] = []
        self.rejected: list[Rejected] = []
        self.stop: StopAgent | None = None

    def reject(self, refusal: Refusal, message: str) -> None:
        """Note a refused input."""
        self.rejected.append(Rejected(refusal=refusal, message=message))

    def beat(self) -> None:
        """Let the master hear from this agent."""
        self.reports.append(AgentHeartbeat())

    def effects(self, *, epoch: int, confirmed: int) -> list[AgentEffect]:
        """Return everything in the order of the effects' contract."""
        effects: list[AgentEffect] = []
        records = (*self.records, *(task.progress() for task in self.changed.values()))
        if records:
            effects.append(Checkpoint(records=records))
        if self.speaks:
            reports = (*self.reports, *(task.update() for task in self.heads.values()))
            if self.stop is not None and not self.stop.refused:
                # Last: whoever has left is not heard any more.
                reports = (*reports, UnregisterAgent())
            effects.append(SendReports(epoch=epoch, confirmed=confirmed, gap=self.gap, reports=reports))
        if self.launches:
            effects.append(LaunchContainers(specs=tuple(self.launches)))
        effects.extend(self.kills)
        if self.shown:
            effects.append(ShowTasks(changes=tuple(self.shown)))
        effects.extend(self.rejected)
        if self.stop is not None:
            effects.append(self.stop)
        return effects

    @property
    def speaks(self) -> bool:
        """A report will leave."""
        leaves = self.stop is not None and not self.stop.refused
        return self.must_report or bool(self.reports) or bool(self.heads) or leaves
