"""A plan and a scheduler core for tests: events by short names, effects kept by kind."""

from collections.abc import Sequence
from typing import TypeVar

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.shuffle_data import MapOutput
from mesolite.frameworks.sparklite.dag.core import DagCore
from mesolite.frameworks.sparklite.dag.effects import CancelTask, DagEffect, JobEnded, LaunchTask
from mesolite.frameworks.sparklite.dag.events import (
    DagEvent,
    ExecutorChanged,
    FetchMissed,
    InputMissed,
    JobSubmitted,
    StageSpec,
    TaskBegan,
    TaskFailed,
    TaskLost,
    TaskSucceeded,
    Ticked,
)
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from mesolite.frameworks.sparklite.errors import JobFailed, TaskError

E = TypeVar("E")


class Plan:
    """What the driver would know: which shuffles each stage reads, what is kept where."""

    def __init__(self) -> None:
        #: By stage: shuffles.
        self.reads: dict[int, tuple[int, ...]] = {}
        #: By stage and partition: agents that keep it.
        self.kept: dict[tuple[int, int], tuple[str, ...]] = {}

    def shuffles_needed(self, stage_id: int, partition: int) -> tuple[int, ...]:
        return () if (stage_id, partition) in self.kept else self.reads.get(stage_id, ())

    def preferred_agents(self, stage_id: int, partition: int) -> tuple[str, ...]:
        return self.kept.get((stage_id, partition), ())


class Scene:
    """A core with executors, and a clock that stands still until it is moved."""

    def __init__(self, settings: DagSettings | None = None, **executors: int) -> None:
        self.plan = Plan()
        self.core = DagCore(settings or DagSettings(ahead=0), self.plan)
        self.now_ms = 0
        self.effects: list[DagEffect] = []
        self.launched: dict[int, LaunchTask] = {}
        self.stages: dict[int, StageSpec] = {}
        self.agents: dict[str, str] = {}
        #: Whether all invariants are looked at after each event: it costs as much as there is.
        self.checks = True
        #: Tasks whose end was told.
        self.ended: set[int] = set()
        for executor_id, workers in executors.items():
            self.executor(executor_id, workers)

    # The plan

    def map_stage(self, stage_id: int, partitions: int, *reads: int, barrier: bool = False) -> StageSpec:
        """A stage that makes the shuffle of the same number."""
        return self._stage(
            StageSpec(
                stage_id=stage_id, name=f"map {stage_id}", partitions=partitions, shuffle_id=stage_id, barrier=barrier
            ),
            reads,
        )

    def result_stage(self, stage_id: int, partitions: int, *reads: int, barrier: bool = False) -> StageSpec:
        return self._stage(
            StageSpec(
                stage_id=stage_id, name=f"result {stage_id}", partitions=partitions, shuffle_id=None, barrier=barrier
            ),
            reads,
        )

    def _stage(self, spec: StageSpec, reads: Sequence[int]) -> StageSpec:
        self.plan.reads[spec.stage_id] = tuple(reads)
        self.stages[spec.stage_id] = spec
        return spec

    # Events

    def apply(self, event: DagEvent) -> list[DagEffect]:
        effects = self.core.apply(event)
        if self.checks:
            self.core.check()
        if isinstance(event, TaskSucceeded | TaskFailed | TaskLost | FetchMissed | InputMissed):
            self.ended.add(event.task_id)
        self.effects += effects
        for effect in of(LaunchTask, effects):
            assert effect.task_id not in self.launched, "ids are never used again"
            self.launched[effect.task_id] = effect
            for shuffle_id in self.plan.shuffles_needed(effect.stage_id, effect.partition):
                assert None not in self.core.outputs(shuffle_id)
        return effects

    def executor(self, executor_id: str, workers: int, agent_id: str = "") -> list[DagEffect]:
        """Executors are on agents of their own names in capitals, unless said otherwise."""
        self.agents[executor_id] = agent_id or executor_id.upper()
        return self.apply(
            ExecutorChanged(
                now_ms=self.now_ms, executor_id=executor_id, agent_id=self.agents[executor_id], workers=workers
            )
        )

    def submit(
        self, job_id: int, result: StageSpec, partitions: Sequence[int] | None = None, pool: str = "default"
    ) -> list[DagEffect]:
        """A job with all map stages of the scene."""
        wanted = tuple(range(result.partitions) if partitions is None else partitions)
        maps = tuple(each for each in self.stages.values() if each.shuffle_id is not None)
        return self.apply(
            JobSubmitted(
                now_ms=self.now_ms, job_id=job_id, result_stage=result, partitions=wanted, map_stages=maps, pool=pool
            )
        )

    def done(self, task_id: int, sizes: Sequence[int] = (1,)) -> list[DagEffect]:
        """A task goes through; a map task leaves `sizes` bytes for reducers, at its executor's agent."""
        launch = self.launched[task_id]
        made = (
            None
            if self.stages[launch.stage_id].shuffle_id is None
            else output(launch, self.agents[launch.executor_id], sizes)
        )
        return self.apply(TaskSucceeded(now_ms=self.now_ms, task_id=task_id, output=made))

    def began(self, task_id: int) -> list[DagEffect]:
        return self.apply(TaskBegan(now_ms=self.now_ms, task_id=task_id))

    def failed(self, task_id: int, text: str = "boom", *, fatal: bool = False) -> list[DagEffect]:
        return self.apply(
            TaskFailed(now_ms=self.now_ms, task_id=task_id, error=TaskError(text, host="host-1"), fatal=fatal)
        )

    def lost(self, task_id: int, *, begun: bool) -> list[DagEffect]:
        return self.apply(TaskLost(now_ms=self.now_ms, task_id=task_id, begun=begun, reason="executor over"))

    def missed(self, task_id: int, shuffle_id: int, partition: int) -> list[DagEffect]:
        """A task misses an output as it is now."""
        known = self.core.outputs(shuffle_id)[partition]
        block_id = "old" if known is None else known.block.block_id
        return self.apply(
            FetchMissed(
                now_ms=self.now_ms,
                task_id=task_id,
                shuffle_id=shuffle_id,
                map_partition=partition,
                block_id=block_id,
                reason="gone",
            )
        )

    def tick(self, now_ms: int) -> list[DagEffect]:
        self.now_ms = now_ms
        return self.apply(Ticked(now_ms=now_ms))

    def finish(self, sizes: Sequence[int] = (1,)) -> None:
        """All that runs goes through, in order of ids, until nothing runs."""
        while running := self.running():
            self.done(running[0], sizes)

    # What came of it

    def running(self) -> list[int]:
        """Tasks that were launched and have not ended, without cancelled ones."""
        over = self.ended | {each.task_id for each in of(CancelTask, self.effects)}
        return [task_id for task_id in self.launched if task_id not in over]

    def error_of(self, job_id: int) -> JobFailed | None:
        """How a job ended; it must have."""
        [ended] = [each for each in of(JobEnded, self.effects) if each.job_id == job_id]
        return ended.error


def of(kind: type[E], effects: Sequence[object]) -> list[E]:
    """The effects of one kind."""
    return [each for each in effects if isinstance(each, kind)]


def output(launch: LaunchTask, agent_id: str, sizes: Sequence[int]) -> MapOutput:
    """What a map task left."""
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + size)
    block = StoredBlock(f"block-{launch.task_id}", offsets[-1], "url", agent_id)
    return MapOutput(block, tuple(offsets), tuple(1 for _ in sizes))


def launches(effects: Sequence[object]) -> list[tuple[int, int, str]]:
    """Stage, partition and executor of each launch."""
    return [(each.stage_id, each.partition, each.executor_id) for each in of(LaunchTask, effects)]
