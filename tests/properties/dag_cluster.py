"""A cluster as the DAG scheduler cannot see it: executors with queues, agents with blocks that go with them.

Every effect is judged when it comes. What a task reads is what the books say when it is launched, as the shell does it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.shuffle_data import MapOutput
from mesolite.frameworks.sparklite.dag.core import DagCore
from mesolite.frameworks.sparklite.dag.effects import (
    AcceptOutput,
    AcceptResult,
    CancelTask,
    DagEffect,
    DropResult,
    JobEnded,
    LaunchTask,
)
from mesolite.frameworks.sparklite.dag.events import (
    AgentLost,
    DagEvent,
    ExecutorChanged,
    ExecutorOver,
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
from mesolite.frameworks.sparklite.errors import JobCancelled, JobFailed, TaskError

#: Stages before shuffles of the same number: partitions, what they read, whether they are barrier stages.
MAPS: Final[Mapping[int, tuple[int, tuple[int, ...], bool]]] = {
    1: (3, (), False),
    2: (2, (1,), False),
    3: (2, (1, 2), False),
    4: (1, (), False),
    5: (2, (4,), True),
    6: (4, (3, 5), False),
}
#: What jobs may read.
WANTED: Final[Sequence[tuple[int, ...]]] = [(), (1,), (2,), (2, 3), (4,), (5,), (6,), (6, 1)]


@dataclass(slots=True)
class ModelTask:
    """A task at an executor."""

    launch: LaunchTask
    #: The blocks it reads: shuffle, map partition, block.
    reads: list[tuple[int, int, StoredBlock]]
    begun: bool = False
    cancelled: bool = False


@dataclass(slots=True)
class ModelExecutor:
    """An executor that is there."""

    agent_id: str
    workers: int
    tasks: dict[int, ModelTask] = field(default_factory=dict[int, ModelTask])


@dataclass(slots=True)
class ModelJob:
    """A job that was submitted and has not ended."""

    stage_id: int
    reads: tuple[int, ...]
    partitions: int
    accepted: set[int] = field(default_factory=set[int])


class DagCluster:
    """The world around a core, and its judge."""

    def __init__(self, settings: DagSettings) -> None:
        self.settings = settings
        self.core = DagCore(settings, self)
        self.now_ms = 0
        self.executors: dict[str, ModelExecutor] = {}
        #: Blocks that can be read.
        self.blocks: set[str] = set()
        self.jobs: dict[int, ModelJob] = {}
        self.ended: dict[int, JobFailed | None] = {}
        self.kept: dict[tuple[int, int], str] = {}
        self.launched: dict[int, LaunchTask] = {}
        self.attempts: set[tuple[int, int, int]] = set()
        #: What success left, until it counts or is dropped.
        self.open: dict[int, MapOutput | None] = {}
        self.numbers = 0

    # The plan

    def shuffles_needed(self, stage_id: int, partition: int) -> tuple[int, ...]:
        if (stage_id, partition) in self.kept:
            return ()
        if stage_id in MAPS:
            return MAPS[stage_id][1]
        return next(job.reads for job in self.jobs.values() if job.stage_id == stage_id)

    def preferred_agents(self, stage_id: int, partition: int) -> tuple[str, ...]:
        agent_id = self.kept.get((stage_id, partition))
        return () if agent_id is None else (agent_id,)

    # What happens

    def submit(self, reads: tuple[int, ...], partitions: int, pool: str, *, barrier: bool) -> None:
        self.numbers += 1
        job_id, stage_id = self.numbers, 1_000 + self.numbers
        self.jobs[job_id] = ModelJob(stage_id, reads, partitions)
        result = StageSpec(stage_id=stage_id, name="result", partitions=partitions, shuffle_id=None, barrier=barrier)
        maps = tuple(
            StageSpec(stage_id=number, name="map", partitions=count, shuffle_id=number, barrier=together)
            for number, (count, _, together) in MAPS.items()
        )
        self.apply(
            JobSubmitted(
                now_ms=self.now_ms,
                job_id=job_id,
                result_stage=result,
                partitions=tuple(range(partitions)),
                map_stages=maps,
                pool=pool,
            )
        )

    def join(self, agent_id: str, workers: int) -> None:
        self.numbers += 1
        name = f"e{self.numbers}"
        self.executors[name] = ModelExecutor(agent_id, workers)
        self.apply(ExecutorChanged(now_ms=self.now_ms, executor_id=name, agent_id=agent_id, workers=workers))

    def resize(self, name: str, workers: int) -> None:
        executor = self.executors[name]
        executor.workers = workers
        self.apply(ExecutorChanged(now_ms=self.now_ms, executor_id=name, agent_id=executor.agent_id, workers=workers))

    def executor_dies(self, name: str, *, told_first: bool) -> None:
        executor = self.executors.pop(name)
        over = ExecutorOver(now_ms=self.now_ms, executor_id=name, reason="died")
        lost = [
            TaskLost(now_ms=self.now_ms, task_id=task_id, begun=task.begun, reason="executor died")
            for task_id, task in executor.tasks.items()
        ]
        # What is launched at an executor that is dead already is lost before it begins.
        self.executors[name] = grave = ModelExecutor(executor.agent_id, executor.workers, dict(executor.tasks))
        events: list[DagEvent] = [over, *lost] if told_first else [*lost, over]
        for event in events:
            if isinstance(event, TaskLost):
                del grave.tasks[event.task_id]
            self.apply(event)
        while grave.tasks:
            self.apply(TaskLost(now_ms=self.now_ms, task_id=grave.tasks.popitem()[0], begun=False, reason="refused"))
        del self.executors[name]

    def agent_dies(self, agent_id: str, *, told: bool) -> None:
        """Blocks are gone; the core hears of it now or never (then it has to find out by misses)."""
        self.blocks = {block for block in self.blocks if not block.startswith(f"{agent_id}/")}
        self.kept = {key: place for key, place in self.kept.items() if place != agent_id}
        for name in [name for name, each in self.executors.items() if each.agent_id == agent_id]:
            self.executor_dies(name, told_first=told)
        if told:
            self.apply(AgentLost(now_ms=self.now_ms, agent_id=agent_id, reason="died"))

    def run(self, name: str, task_id: int, ending: str) -> None:
        """A task goes on: it misses what is not there, and else ends as it is said."""
        task = self.executors[name].tasks[task_id]
        if ending == "begins":
            task.begun = True
            self.apply(TaskBegan(now_ms=self.now_ms, task_id=task_id))
            return
        del self.executors[name].tasks[task_id]
        gone = [read for read in task.reads if read[2].block_id not in self.blocks]
        if task.cancelled and ending != "succeeds":
            self.apply(TaskLost(now_ms=self.now_ms, task_id=task_id, begun=task.begun, reason="killed"))
        elif gone:
            shuffle_id, partition, block = gone[0]
            self.apply(
                FetchMissed(
                    now_ms=self.now_ms,
                    task_id=task_id,
                    shuffle_id=shuffle_id,
                    map_partition=partition,
                    block_id=block.block_id,
                    reason="gone",
                )
            )
        else:
            self.apply(self.end_of(task, ending))

    def end_of(self, task: ModelTask, ending: str) -> DagEvent:
        task_id = task.launch.task_id
        match ending:
            case "fails":
                return TaskFailed(now_ms=self.now_ms, task_id=task_id, error=TaskError("boom"))
            case "fails for good":
                return TaskFailed(now_ms=self.now_ms, task_id=task_id, error=TaskError("boom"), fatal=True)
            case "misses input":
                return InputMissed(now_ms=self.now_ms, task_id=task_id, reason="gone")
            case "is refused":
                return TaskLost(now_ms=self.now_ms, task_id=task_id, begun=False, reason="refused")
            case _:
                return self.success_of(task_id)

    def success_of(self, task_id: int) -> TaskSucceeded:
        """Success; also what comes late, or twice."""
        launch = self.launched[task_id]
        self.open[task_id] = output = self.output_of(launch) if launch.stage_id in MAPS else None
        return TaskSucceeded(now_ms=self.now_ms, task_id=task_id, output=output)

    def output_of(self, launch: LaunchTask) -> MapOutput:
        """Stored with the executor's agent; a place that is gone by now takes it to its grave."""
        executor = self.executors.get(launch.executor_id)
        agent_id = "nowhere" if executor is None else executor.agent_id
        block_id = f"{agent_id}/{launch.task_id}"
        if executor is not None:
            self.blocks.add(block_id)
        return MapOutput(StoredBlock(block_id, 3, "url", agent_id), (0, 1, 3), (1, 1))

    def tick(self, later_ms: int) -> None:
        self.now_ms += later_ms
        self.apply(Ticked(now_ms=self.now_ms))

    # The judge

    def apply(self, event: DagEvent) -> None:
        effects = self.core.apply(event)
        self.core.check()
        for effect in effects:
            self.judge(effect)
        if isinstance(event, TaskSucceeded) and not self.is_held(event.task_id):
            assert event.task_id not in self.open, "success was neither taken nor dropped"

    def judge(self, effect: DagEffect) -> None:
        match effect:
            case LaunchTask():
                self.judge_launch(effect)
            case CancelTask():
                for executor in self.executors.values():
                    if effect.task_id in executor.tasks:
                        executor.tasks[effect.task_id].cancelled = True
            case DropResult():
                self.open.pop(effect.task_id, None)
            case AcceptResult():
                job = self.jobs[effect.job_id]
                assert effect.index not in job.accepted, "a result counts once"
                assert self.launched[effect.task_id].stage_id == job.stage_id
                job.accepted.add(effect.index)
                del self.open[effect.task_id]
            case AcceptOutput():
                assert self.core.outputs(effect.shuffle_id)[effect.partition] == self.open.pop(effect.task_id)
            case JobEnded():
                ended = self.jobs.pop(effect.job_id)
                assert effect.error is not None or len(ended.accepted) == ended.partitions
                self.ended[effect.job_id] = effect.error
            case _:
                pass

    def judge_launch(self, launch: LaunchTask) -> None:
        executor = self.executors[launch.executor_id]
        assert launch.task_id not in self.launched, "ids are never used again"
        assert len(executor.tasks) < executor.workers + self.settings.ahead, "more than is allowed"
        assert launch.stage_id in MAPS or any(job.stage_id == launch.stage_id for job in self.jobs.values())
        assert self.jobs, "nobody wants it"
        key = (launch.stage_id, launch.partition, launch.attempt)
        assert key not in self.attempts, "attempts differ"
        reads: list[tuple[int, int, StoredBlock]] = []
        for shuffle_id in self.shuffles_needed(launch.stage_id, launch.partition):
            for partition, output in enumerate(self.core.outputs(shuffle_id)):
                assert output is not None, "launched with an output missing"
                reads.append((shuffle_id, partition, output.block))
        self.attempts.add(key)
        self.launched[launch.task_id] = launch
        executor.tasks[launch.task_id] = ModelTask(launch, reads)

    def is_held(self, task_id: int) -> bool:
        """Whether a barrier stage may keep a success until all are through."""
        stage_id = self.launched[task_id].stage_id
        return stage_id not in MAPS or MAPS[stage_id][2]

    def running(self) -> list[tuple[str, int]]:
        """Executors and their tasks."""
        return [(name, task_id) for name, each in self.executors.items() for task_id in each.tasks]

    def heal(self) -> None:
        """No more faults: everything must come to its end, in bounded time."""
        self.join("healer-1", 4)
        self.join("healer-2", 4)
        for _ in range(5_000):
            if not self.jobs and not self.running():
                return
            if running := self.running():
                self.run(*running[0], "succeeds")
            else:
                deadline_ms = self.core.next_deadline_ms()
                assert deadline_ms is not None, "nothing runs, and nothing will"
                assert deadline_ms > self.now_ms, "a moment that has passed is no reminder"
                self.tick(deadline_ms - self.now_ms)
        raise AssertionError("it goes on for ever")

    def unexpected(self) -> list[JobFailed]:
        """Jobs that failed, though nobody cancelled them."""
        return [error for error in self.ended.values() if error is not None and not isinstance(error, JobCancelled)]
