"""Tasks that wait for an offer, grouped by what placement can tell apart: role, shape and constraints."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesolite.protocol import Demand, Offer
from mesolite.resources import Resource

from ..driver.placement import Constraint, Plan, Shape, Want, demands, place
from .job import Job, TaskSlot


@dataclass(frozen=True, slots=True)
class Group:
    """What tasks have in common that may stand in for each other."""

    role: str
    shape: Shape
    constraints: tuple[Constraint, ...]


class Backlog:
    """First in, first out within a group; groups in the order in which they came up."""

    def __init__(self) -> None:
        self._groups: dict[Group, deque[TaskSlot]] = {}

    def __len__(self) -> int:
        return sum(len(slots) for slots in self._groups.values())

    def __contains__(self, slot: TaskSlot) -> bool:
        return slot in self._groups.get(group_of(slot.job), ())

    def add(self, slots: Iterable[TaskSlot]) -> None:
        """Put tasks of one job behind the others of their group."""
        waiting: deque[TaskSlot] | None = None
        for slot in slots:
            if waiting is None:
                waiting = self._groups.setdefault(group_of(slot.job), deque())
            waiting.append(slot)

    def remove_job(self, job: Job) -> list[TaskSlot]:
        """Take all of a job's tasks out."""
        group = group_of(job)
        waiting = self._groups.get(group, deque[TaskSlot]())
        removed = [slot for slot in waiting if slot.job is job]
        if removed:
            self._keep(group, deque(slot for slot in waiting if slot.job is not job))
        return removed

    def remove_shape(self, role: str, shape: Iterable[Resource]) -> list[TaskSlot]:
        """Take all tasks of a shape out, whatever their constraints."""
        wanted = frozenset(shape)
        removed: list[TaskSlot] = []
        for group in [each for each in self._groups if each.role == role and frozenset(each.shape) == wanted]:
            removed += self._groups.pop(group)
        return removed

    def place(self, offers: Sequence[Offer]) -> Plan[Group]:
        """Say what goes where; `take` then takes it out."""
        return place(offers, self._wants())

    def take(self, group: Group, count: int) -> list[TaskSlot]:
        """Take out the oldest tasks of a group, which holds at least `count`."""
        waiting = self._groups[group]
        taken = [waiting.popleft() for _ in range(count)]
        self._keep(group, waiting)
        return taken

    def demands(self) -> tuple[Demand, ...]:
        """What would be needed to place everything."""
        return demands(self._wants())

    def _wants(self) -> list[Want[Group]]:
        return [
            Want(key=group, shape=group.shape, count=len(slots), role=group.role, constraints=group.constraints)
            for group, slots in self._groups.items()
        ]

    def _keep(self, group: Group, waiting: deque[TaskSlot]) -> None:
        if waiting:
            self._groups[group] = waiting
        else:
            del self._groups[group]


def group_of(job: Job) -> Group:
    """Return the group of a job's tasks."""
    task = job.spec.task
    return Group(task.role, task.shape, tuple(task.constraints))
