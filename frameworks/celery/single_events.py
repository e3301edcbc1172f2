"""What the core of runs that are tasks of their own hears, and what it wants done."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.executors.python.calls import Outcome
from mesolite.ids import OfferId, TaskId
from mesolite.protocol import TaskInfo, TaskStatus

from ..futures.effects import ClusterEffect
from ..futures.engine_call import Lost
from ..futures.errors import CallError
from ..futures.events import ClusterEvent
from ..futures.options import Kind


@dataclass(frozen=True, slots=True)
class SingleRun:
    """A run that is to be a task."""

    #: See `TaskCall.name`.
    name: str
    #: Of the Celery task, for people.
    shown: str
    kind: Kind
    #: `TaskInfo.data`.
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsArrived:
    """Runs were submitted."""

    now_ms: int
    runs: tuple[SingleRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsAttached:
    """Ends of runs are asked for that an earlier life may have launched."""

    now_ms: int
    runs: tuple[SingleRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    """A run is to end."""

    now_ms: int
    name: str
    #: Though it was launched.
    kill: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """See `calls.Place`."""

    agent_id: str
    hostname: str
    executor_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRuns:
    """Launch these."""

    offer_ids: tuple[OfferId, ...]
    tasks: tuple[TaskInfo, ...]
    #: Which runs they are, and where, one for each.
    names: tuple[str, ...]
    places: tuple[RunPlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFor:
    """Ask the master what became of these."""

    task_ids: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeUpdates:
    """Agents need not say these again."""

    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRun:
    """A run has begun."""

    name: str
    place: RunPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """A run has ended so."""

    name: str
    ending: Outcome | Lost | CallError
    place: RunPlace | None


SingleEvent: TypeAlias = ClusterEvent | RunsArrived | RunsAttached | RunCancelled
#: What is not the driver's to do.
SingleRest: TypeAlias = LaunchRuns | AskFor | AcknowledgeUpdates | BeginRun | EndRun
SingleEffect: TypeAlias = ClusterEffect | SingleRest
