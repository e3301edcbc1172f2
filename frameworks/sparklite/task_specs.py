"""What a task is sent: put together from the plan, the outputs of shuffles, and what all tasks have in common."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.task_data import BarrierPlace, TaskDone, TaskSpec

from .dag.effects import LaunchTask
from .drop_list import DropList
from .plan import Outputs, Plan
from .stage_plan import StagePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all tasks are sent of what the driver shares; the fields are those of `TaskSpec`."""

    broadcasts: dict[int, StoredBlock] = field(default_factory=dict[int, StoredBlock])
    files: dict[str, StoredBlock] = field(default_factory=dict[str, StoredBlock])
    py_files: tuple[str, ...] = ()
    dropped_broadcasts: tuple[tuple[int, int], ...] = ()


class Sharing(Protocol):
    """Broadcast values, files and accumulators, as the scheduler needs them; on its thread."""

    def shared(self) -> Shared:
        """What the next task is sent."""
        ...

    def accepted(self, done: TaskDone) -> None:
        """A task counts: its additions to accumulators are added."""
        ...

    def copied(self, done: TaskDone) -> None:
        """A task went through: what it has copied to stores is there, whether the task will count or not."""
        ...

    def lost(self, block: StoredBlock) -> None:
        """A worker could not read a block of these; put it anew where that is possible."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLimits:
    """What each task may take, and how it keeps things."""

    #: In memory before it spills.
    memory_bytes: int = 512 * 1024 * 1024
    #: Its worker in all; 0: not known.
    memory_limit_bytes: int = 0
    #: spark.rdd.compress
    compress_kept: bool = False


class TaskSpecs:
    """Makes specs.

    Args:
        app_id: The application's.
        plan: What tasks read.
        sharing: What all of them are sent.
        limits: What they may take.
    """

    def __init__(self, app_id: str, plan: Plan, sharing: Sharing, limits: TaskLimits) -> None:
        self._app_id: Final = app_id
        self._plan: Final = plan
        self._sharing: Final = sharing
        self._limits: Final = limits
        #: RDDs of which workers may still hold something that nobody wants.
        self.dropped_rdds: Final = DropList()

    def of(
        self,
        launch: LaunchTask,
        stage: StagePlan,
        job_id: int,
        properties: dict[str, str],
        outputs: Outputs,
        barrier: tuple[BarrierPlace, ...],
    ) -> TaskSpec:
        """A task's spec.

        Args:
            launch: Which task.
            stage: Of what.
            job_id: For whom it runs first.
            properties: Of the thread that submitted it.
            outputs: The outputs of a shuffle, all there.
            barrier: The tasks that run with it; empty where it runs for itself.

        Raises:
            Exception: Whatever reading an input's description raises.
        """
        inputs, kept = self._plan.inputs(stage, launch.partition, outputs)
        shared, limits = self._sharing.shared(), self._limits
        return TaskSpec(
            app_id=self._app_id,
            job_id=job_id,
            stage_id=launch.stage_id,
            attempt=launch.attempt,
            task_id=launch.task_id,
            partition=launch.partition,
            inputs=inputs,
            cached=kept,
            broadcasts=shared.broadcasts,
            files=shared.files,
            py_files=shared.py_files,
            properties=properties,
            memory_bytes=limits.memory_bytes,
            memory_limit_bytes=limits.memory_limit_bytes,
            compress_kept=limits.compress_kept,
            dropped_rdds=self.dropped_rdds.entries(),
            dropped_broadcasts=shared.dropped_broadcasts,
            barrier=barrier,
        )
