"""A context's past: takes its events in, keeps as much of them as there is room for.

A core: no clock, no I/O, no threads. `recorder.Recorder` is its shell.

What goes when room gets scarce, oldest first: single tasks of ended stages (their counts, quantiles, slowest tasks and
failures stay), then whole stages, then whole jobs. What still runs never goes. How much went is counted.
"""

from typing import Final, assert_never

from .listener import (
    ExecutorSeen,
    JobBegan,
    JobFinished,
    SparkEvent,
    StageBegan,
    StageFinished,
    StageWasSkipped,
    TaskFinished,
    TaskStarted,
)
from .records import ExecutorRecord, JobRecord, StageRecord, ended, shortened

#: Jobs and attempts at stages that are kept, as `spark.ui.retainedJobs` and `spark.ui.retainedStages` have it.
MAX_JOBS: Final = 1_000
MAX_STAGES: Final = 1_000
#: Single tasks that are kept in all, as `spark.ui.retainedTasks` has it: some 50 MB.
MAX_TASKS: Final = 100_000
#: Executors that are kept; a long program may lose many.
MAX_EXECUTORS: Final = 1_000


class History:
    """Jobs, stages and executors by their ids, in the order in which they began."""

    def __init__(self, *, max_jobs: int = MAX_JOBS, max_stages: int = MAX_STAGES, max_tasks: int = MAX_TASKS) -> None:
        self._max_jobs: Final = max_jobs
        self._max_stages: Final = max_stages
        self._max_tasks: Final = max_tasks
        self.jobs: Final[dict[int, JobRecord]] = {}
        #: By stage and attempt.
        self.stages: Final[dict[tuple[int, int], StageRecord]] = {}
        self.executors: Final[dict[str, ExecutorRecord]] = {}
        #: Attempts that run, by task.
        self.running: Final[dict[int, TaskStarted]] = {}
        #: What there was no room for any more.
        self.forgotten_jobs = 0
        self.forgotten_stages = 0
        #: When the newest event was; 0 before there was any.
        self.now_ms = 0
        #: Newest attempt of each stage.
        self._attempts: Final[dict[int, int]] = {}
        #: Single tasks that are kept now.
        self._tasks = 0

    def apply(self, event: SparkEvent) -> None:
        """Take an event in. What speaks of something unknown, or forgotten, changes nothing."""
        self.now_ms = max(self.now_ms, event.at_ms)
        match event:
            case JobBegan():
                self._job_began(event)
            case StageBegan():
                self._stage_began(event)
            case TaskStarted():
                self._task_started(event)
            case TaskFinished():
                self._task_finished(event)
            case StageFinished():
                self._stage_finished(event)
            case StageWasSkipped():
                if job := self.jobs.get(event.job_id):
                    job.skipped[event.stage_id] = event.name
            case JobFinished():
                if job := self.jobs.get(event.job_id):
                    job.ended_ms, job.error = event.at_ms, shortened(event.error)
            case ExecutorSeen():
                self._executor_seen(event)
            case _:
                assert_never(event)

    def stage(self, stage_id: int) -> StageRecord | None:
        """Return a stage's newest attempt."""
        attempt = self._attempts.get(stage_id)
        return None if attempt is None else self.stages.get((stage_id, attempt))

    def active_stages(self) -> list[StageRecord]:
        """Return the stages that run, in the order in which they began."""
        return [stage for stage in self.stages.values() if stage.ended_ms is None]

    def active_jobs(self) -> list[JobRecord]:
        """Return the jobs that run, in the order in which they began."""
        return [job for job in self.jobs.values() if job.ended_ms is None]

    def _job_began(self, event: JobBegan) -> None:
        self.jobs[event.job_id] = JobRecord(
            job_id=event.job_id,
            name=event.name,
            group=event.group,
            description=event.description,
            stage_ids=event.stage_ids,
            began_ms=event.at_ms,
        )
        if len(self.jobs) > self._max_jobs:
            oldest = next((job.job_id for job in self.jobs.values() if job.ended_ms is not None), None)
            if oldest is not None:
                del self.jobs[oldest]
                self.forgotten_jobs += 1

    def _stage_began(self, event: StageBegan) -> None:
        self.stages[event.stage_id, event.attempt] = StageRecord(event)
        self._attempts[event.stage_id] = event.attempt
        if len(self.stages) > self._max_stages:
            oldest = next((key for key, stage in self.stages.items() if stage.ended_ms is not None), None)
            if oldest is not None:
                self._forget_stage(oldest)

    def _forget_stage(self, key: tuple[int, int]) -> None:
        self._tasks -= len(self.stages.pop(key).tasks)
        self.forgotten_stages += 1
        if self._attempts.get(key[0]) == key[1]:
            del self._attempts[key[0]]

    def _stage_finished(self, event: StageFinished) -> None:
        stage = self.stages.get((event.stage_id, event.attempt))
        if stage is not None:
            stage.ended_ms, stage.reason = event.at_ms, shortened(event.reason)

    def _task_started(self, event: TaskStarted) -> None:
        stage = self.stages.get((event.stage_id, event.stage_attempt))
        if stage is None or event.task_id in self.running:
            return
        self.running[event.task_id] = event
        stage.task_started(event)
        if event.executor_id not in self.executors:
            self._add_executor(event.executor_id, event.agent_id, event.host, event.at_ms)

    def _task_finished(self, event: TaskFinished) -> None:
        started = self.running.pop(event.task_id, None)
        if started is None:
            return
        task = ended(started, event)
        executor = self.executors.get(started.executor_id)
        if executor is not None:
            executor.outcomes[task.outcome] += 1
            executor.sums.add(task)
        stage = self.stages.get((started.stage_id, started.stage_attempt))
        if stage is not None:
            before = len(stage.tasks)
            stage.task_finished(task)
            self._tasks += len(stage.tasks) - before
            self._make_room()

    def _make_room(self) -> None:
        """Give up the single tasks of the oldest stages that have ended. Rare: a tenth of the room is made at once."""
        if self._tasks <= self._max_tasks:
            return
        for stage in self.stages.values():
            if stage.ended_ms is not None:
                self._tasks -= stage.give_up_tasks()
            if self._tasks <= self._max_tasks * 9 // 10:
                return

    def _executor_seen(self, event: ExecutorSeen) -> None:
        executor = self.executors.get(event.executor_id)
        if executor is None:
            if event.workers == 0:
                return
            executor = self._add_executor(event.executor_id, event.agent_id, event.host, event.at_ms)
        executor.workers = max(executor.workers, event.workers)
        executor.ended_ms = event.at_ms if event.workers == 0 else None

    def _add_executor(self, executor_id: str, agent_id: str, host: str, at_ms: int) -> ExecutorRecord:
        made = ExecutorRecord(executor_id=executor_id, agent_id=agent_id, host=host, began_ms=at_ms)
        self.executors[executor_id] = made
        if len(self.executors) > MAX_EXECUTORS:
            oldest = next((key for key, each in self.executors.items() if each.ended_ms is not None), None)
            if oldest is not None:
                del self.executors[oldest]
        return made
