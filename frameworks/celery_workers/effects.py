"""What the core of elastic workers wants done."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import OfferId, TaskId
from mesolite.protocol import TaskInfo

from ..driver.scheduling import DeclineOffers, ReviveOffers, StateDemand
from .worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Keep these for the next life, and forget those. The first effect of its event, so that no launch goes before it."""

    kept: tuple[Worker, ...]
    forgotten: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWorkers:
    """Accept these offers with these tasks."""

    offer_ids: tuple[OfferId, ...]
    tasks: tuple[TaskInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """Ask a worker to finish what runs and end; its kill policy says how long it may take."""

    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """All workers are gone that were to go; said once."""


WorkersEffect: TypeAlias = Remember | LaunchWorkers | DeclineOffers | ReviveOffers | StateDemand | LetGo | Drained
