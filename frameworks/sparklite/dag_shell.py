"""Carries out what the DAG scheduler decides: events go in, tasks go to the backend, values go to jobs, listeners hear of it.

All of it runs on one thread (job_scheduler.py), in turns: what one turn comes to is sent at its end. Nothing here waits.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never
from urllib.parse import urlsplit

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.task_data import BarrierPlace, TaskDone, TaskMetrics, TaskMissed

from .announcements import Announcements
from .backend import Backend, Ending, Failed, Launch, Lost
from .dag.core import DagCore
from .dag.effects import (
    AcceptOutput,
    AcceptResult,
    CancelTask,
    DagEffect,
    DropResult,
    JobEnded,
    LaunchTask,
    StageEnded,
    StageSkipped,
    StageStarted,
    WantWorkers,
)
from .dag.events import (
    AgentLost,
    AgentReturned,
    ClusterRefused,
    DagEvent,
    ExecutorChanged,
    ExecutorOver,
    FetchMissed,
    InputMissed,
    JobsCancelled,
    JobSubmitted,
    ShufflesForgotten,
    TaskBegan,
    TaskFailed,
    TaskLost,
    TaskSucceeded,
    Ticked,
)
from .dag.settings import DagSettings
from .errors import JobFailed, TaskError
from .jobs import POOL, Job
from .plan import Plan
from .resting import Resting
from .stage_plan import StagePlan
from .task_specs import Sharing, TaskSpecs

_MEBIBYTE: Final = 1024 * 1024


class _Executor(NamedTuple):
    """An executor as the backend told of it."""

    agent_id: str
    host: str
    workers: int


#: Stands for one that is over.
_NOBODY: Final = _Executor("", "", 0)


@dataclass(slots=True, eq=False)
class _Task:
    """A task that was sent; until it has ended, or until the DAG scheduler says whether what it came to counts."""

    launch: LaunchTask
    stage: StagePlan
    agent_id: str
    host: str
    #: Nobody needs it any more.
    cancelled: bool = False
    #: It went through.
    done: TaskDone | None = None


class DagShell:
    """See the module.

    Args:
        backend: What runs tasks.
        plan: The stages, and what is kept.
        specs: What tasks are sent.
        sharing: Who hears of additions to accumulators, and of shared blocks that are lost.
        settings: Of the DAG scheduler.
        max_result_bytes: Of one job, in all.
    """

    def __init__(
        self,
        backend: Backend,
        plan: Plan,
        specs: TaskSpecs,
        sharing: Sharing,
        settings: DagSettings,
        max_result_bytes: int,
    ) -> None:
        self._backend: Final = backend
        self._plan: Final = plan
        self._specs: Final = specs
        self._sharing: Final = sharing
        self._max_result_bytes: Final = max_result_bytes
        self._dag: Final = DagCore(settings, plan)
        self.announcements: Final = Announcements(plan)
        #: Jobs that have not ended.
        self.jobs: Final[dict[int, Job]] = {}
        self._tasks: Final[dict[int, _Task]] = {}
        #: By id.
        self._executors: Final[dict[str, _Executor]] = {}
        self._resting: Final = Resting()
        #: Agents that were given up, and have not come back.
        self._lost_agents: Final[set[str]] = set()
        #: For which job a stage runs, first of all.
        self._job_of_stage: Final[dict[int, int]] = {}
        #: What goes to the backend at the end of a turn, in this order.
        self._wanted: int | None = None
        self._launches: list[Launch] = []
        self._cancels: list[int] = []
        self._drops: list[StoredBlock] = []
        #: Jobs whose results are more than the driver takes.
        self._too_large: list[int] = []
        #: Tasks that could not even be described.
        self._stillborn: list[tuple[int, Failed]] = []

    # What happens

    def submit(self, job: Job) -> None:
        """A job is to run."""
        self.jobs[job.job_id] = job
        self.announcements.job_began(job)
        self._apply(
            JobSubmitted(
                now_ms=_now_ms(),
                job_id=job.job_id,
                result_stage=job.plan.result.as_spec(),
                partitions=job.partitions,
                map_stages=tuple(stage.as_spec() for stage in job.plan.maps),
                pool=job.properties.get(POOL, "default"),
                group=job.group,
            )
        )

    def cancel(self, job_ids: Sequence[int], reason: str) -> None:
        """Jobs are not wanted any more."""
        self._apply(JobsCancelled(now_ms=_now_ms(), job_ids=tuple(job_ids), reason=reason))

    def executor_changed(self, executor_id: str, agent_id: str, host: str, workers: int) -> None:
        """See `BackendListener`."""
        if executor_id not in self._executors and agent_id in self._lost_agents:
            # The master had given it up too soon: its machine was asleep, or the network away.
            self._lost_agents.discard(agent_id)
            self._apply(AgentReturned(now_ms=_now_ms(), agent_id=agent_id))
        self._executors[executor_id] = _Executor(agent_id, host, workers)
        self.announcements.executor_seen(executor_id, agent_id, host, workers)
        self._tell_workers(executor_id)

    def executor_over(self, executor_id: str, reason: str) -> None:
        """See `BackendListener`."""
        self._resting.forget(executor_id)
        known = self._executors.pop(executor_id, None)
        if known is not None:
            self.announcements.executor_seen(executor_id, known.agent_id, known.host, 0)
        self._apply(ExecutorOver(now_ms=_now_ms(), executor_id=executor_id, reason=reason))

    def agent_lost(self, agent_id: str, reason: str) -> None:
        """See `BackendListener`."""
        self._plan.lost_agent(agent_id)
        self._lost_agents.add(agent_id)
        self._apply(AgentLost(now_ms=_now_ms(), agent_id=agent_id, reason=reason))

    def refused(self, reason: str) -> None:
        """See `BackendListener`."""
        self._apply(ClusterRefused(now_ms=_now_ms(), reason=reason))

    def task_began(self, task_id: int) -> None:
        """See `BackendListener`."""
        self._apply(TaskBegan(now_ms=_now_ms(), task_id=task_id))

    def task_ended(self, task_id: int, ending: Ending) -> None:
        """See `BackendListener`."""
        task = self._tasks.get(task_id)
        if task is None or task.done is not None:
            return
        match ending:
            case TaskDone():
                task.done = ending
                self._sharing.copied(ending)
                # Before the DAG scheduler decides by it: what it launches now must not count on these.
                for key in ending.uncached:
                    self._plan.lost(key)
                self._announce_end(task, "done", "", ending.metrics)
                self._apply(TaskSucceeded(now_ms=_now_ms(), task_id=task_id, output=ending.output))
            case TaskMissed():
                self._gone(task, "missed", ending.reason, ending.metrics)
                if ending.segment is None and ending.lost is None:
                    self._rest(task.launch.executor_id)
                self._apply(self._missed(task_id, ending))
            case Failed():
                self._gone(task, "failed", str(ending.error))
                error = _placed(ending.error, task)
                self._apply(TaskFailed(now_ms=_now_ms(), task_id=task_id, error=error, fatal=ending.fatal))
            case Lost():
                self._gone(task, "lost", ending.reason)
                self._apply(TaskLost(now_ms=_now_ms(), task_id=task_id, begun=ending.begun, reason=ending.reason))
            case _:
                assert_never(ending)

    def unpersist(self, rdd_id: int) -> None:
        """What is kept of an RDD is not wanted any more, by the user's word or because it was collected."""
        self._drops += self._plan.unpersist(rdd_id)
        self._specs.dropped_rdds.add(rdd_id)

    def forget_collected(self) -> None:
        """Drop what was left of RDDs that have been collected."""
        gone = self._plan.take_gone()
        for rdd_id in gone.rdd_ids:
            self.unpersist(rdd_id)
        for shuffle_id in gone.shuffle_ids:
            self._drops += [output.block for output in self._dag.outputs(shuffle_id) if output is not None]
        if gone.shuffle_ids:
            self._apply(ShufflesForgotten(now_ms=_now_ms(), shuffle_ids=gone.shuffle_ids))

    # Turns

    def end_turn(self) -> None:
        """Tell the time where it is due, and send what this turn has come to."""
        for executor_id in self._resting.take_rested(_now_ms()):
            self._tell_workers(executor_id)
        deadline_ms = self._dag.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= _now_ms():
            self._apply(Ticked(now_ms=_now_ms()))
        while self._stillborn:
            stillborn, self._stillborn = self._stillborn, []
            for task_id, failed in stillborn:
                self.task_ended(task_id, failed)
        if self._wanted is not None:
            self._backend.want(self._wanted)
            self._wanted = None
        launches, self._launches = self._launches, []
        if launches:
            self._backend.launch(launches)
        cancels, self._cancels = self._cancels, []
        for task_id in cancels:
            self._backend.cancel(task_id)
        drops, self._drops = self._drops, []
        if drops:
            self._backend.drop(drops)

    def wait_s(self) -> float | None:
        """How long nothing is due; None: until something happens."""
        deadlines = [each for each in (self._dag.next_deadline_ms(), self._resting.deadline_ms()) if each is not None]
        return max(0.0, (min(deadlines) - _now_ms()) / 1000) if deadlines else None

    def end_all(self, make_error: Callable[[], JobFailed]) -> None:
        """No job goes on."""
        for job in self.jobs.values():
            job.error = make_error()
        self.cancel(list(self.jobs), "the context is over")

    # Executors

    def _tell_workers(self, executor_id: str) -> None:
        """Tell the DAG scheduler how many workers an executor has for it."""
        known = self._executors.get(executor_id)
        if known is not None:
            workers = 0 if executor_id in self._resting else known.workers
            self._apply(
                ExecutorChanged(now_ms=_now_ms(), executor_id=executor_id, agent_id=known.agent_id, workers=workers)
            )

    def _rest(self, executor_id: str) -> None:
        """What an executor makes is lost: others get tasks, until it is tried again."""
        if executor_id in self._executors:
            self._resting.rest(executor_id, _now_ms())
            self._tell_workers(executor_id)

    # Ends of tasks

    def _missed(self, task_id: int, missed: TaskMissed) -> DagEvent:
        segment = missed.segment
        if segment is not None:
            return FetchMissed(
                now_ms=_now_ms(),
                task_id=task_id,
                shuffle_id=segment.shuffle_id,
                map_partition=segment.map_partition,
                block_id=segment.block.block_id,
                reason=missed.reason,
            )
        if missed.lost is not None and not self._plan.lost_block(missed.lost.block_id):
            self._sharing.lost(missed.lost)
        return InputMissed(now_ms=_now_ms(), task_id=task_id, reason=missed.reason)

    def _gone(self, task: _Task, outcome: str, reason: str, metrics: TaskMetrics | None = None) -> None:
        del self._tasks[task.launch.task_id]
        self._announce_end(task, "killed" if task.cancelled else outcome, reason, metrics or TaskMetrics())

    def _announce_end(self, task: _Task, outcome: str, reason: str, metrics: TaskMetrics) -> None:
        # Where it ran the driver knows best; what a worker says it is called may be its container.
        placed = metrics._replace(host=task.host, agent_id=task.agent_id)
        self.announcements.task_ended(task.launch, outcome, reason, placed)

    # Effects

    def _apply(self, event: DagEvent) -> None:
        effects = self._dag.apply(event)
        together = self._together([each for each in effects if isinstance(each, LaunchTask)])
        for effect in effects:
            self._carry_out(effect, together)
        too_large, self._too_large = self._too_large, []
        for job_id in too_large:
            # Only now: the effects above may still launch tasks of it.
            self.cancel([job_id], "its results are too large")

    def _carry_out(self, effect: DagEffect, together: dict[int, tuple[BarrierPlace, ...]]) -> None:
        match effect:
            case LaunchTask():
                self._launch(effect, together.get(effect.stage_id, ()))
            case CancelTask():
                self._cancels.append(effect.task_id)
                if effect.task_id in self._tasks:
                    self._tasks[effect.task_id].cancelled = True
            case AcceptResult():
                self._accept_result(effect)
            case AcceptOutput():
                self._accept(effect.task_id)
            case DropResult():
                self._drop(effect.task_id)
            case StageStarted():
                self._job_of_stage[effect.stage_id] = effect.job_id
                self.announcements.stage_started(effect)
            case StageEnded():
                self._job_of_stage.pop(effect.stage_id, None)
                self.announcements.stage_ended(effect)
            case StageSkipped():
                self.announcements.stage_skipped(effect)
            case JobEnded():
                self._job_ended(effect)
            case WantWorkers():
                self._wanted = effect.tasks
            case _:
                assert_never(effect)

    def _launch(self, launch: LaunchTask, together: tuple[BarrierPlace, ...]) -> None:
        stage = self._plan.stage(launch.stage_id)
        assert stage is not None, f"stage {launch.stage_id} is launched, and no job needs it"
        agent_id, host, _ = self._executors.get(launch.executor_id, _NOBODY)
        self._tasks[launch.task_id] = _Task(launch, stage, agent_id, host)
        self.announcements.task_started(launch, agent_id, host)
        job_id = self._job_of_stage.get(launch.stage_id, -1)
        job = self.jobs.get(job_id)
        properties = {} if job is None else job.properties
        try:
            spec = self._specs.of(launch, stage, job_id, properties, self._dag.outputs, together)
            code = stage.code()
        # What describes an input is a function of whoever made the RDD; and code is pickled anew where something was persisted.
        except Exception as error:  # noqa: BLE001
            failed = TaskError(f"it cannot be described: {type(error).__name__}: {error}")
            failed.__cause__ = error
            self._stillborn.append((launch.task_id, Failed(error=failed, fatal=True)))
            return
        self._launches.append(Launch(executor_id=launch.executor_id, spec=spec, code=code))

    def _together(self, launches: list[LaunchTask]) -> dict[int, tuple[BarrierPlace, ...]]:
        """Where the tasks of stages are that run together: all of a stage are launched at once."""
        places: dict[int, dict[int, BarrierPlace]] = {}
        for launch in launches:
            stage = self._plan.stage(launch.stage_id)
            if stage is not None and stage.barrier:
                agent_id, host, _ = self._executors.get(launch.executor_id, _NOBODY)
                url = self._backend.block_address(launch.executor_id)
                port = urlsplit(url).port if url.startswith("http") else None
                place = BarrierPlace(launch.task_id, f"{host}:{port or 0}", agent_id, url)
                places.setdefault(launch.stage_id, {})[launch.partition] = place
        return {stage_id: tuple(of[partition] for partition in sorted(of)) for stage_id, of in places.items()}

    def _accept(self, task_id: int) -> TaskDone:
        task = self._tasks.pop(task_id)
        assert task.done is not None, f"task {task_id} is accepted, and has not gone through"
        self._sharing.accepted(task.done)
        self._drops += self._plan.keep(task.stage, task.done.cached)
        return task.done

    def _accept_result(self, effect: AcceptResult) -> None:
        done = self._accept(effect.task_id)
        job = self.jobs.get(effect.job_id)
        if job is None:
            return
        job.results[effect.index] = done.value
        job.result_bytes += done.metrics.result_bytes
        if job.result_bytes > self._max_result_bytes and job.error is None:
            job.error = JobFailed(
                f"{job.name}: its results have more than {self._max_result_bytes / _MEBIBYTE:,.0f} MiB in all, which is "
                "what spark.driver.maxResultSize allows; write them to files, bring fewer to the driver, or raise it"
            )
            self._too_large.append(job.job_id)

    def _drop(self, task_id: int) -> None:
        task = self._tasks.pop(task_id, None)
        if task is None or task.done is None:
            return
        self._drops += self._plan.keep(task.stage, task.done.cached)
        if task.done.output is not None:
            self._drops.append(task.done.output.block)

    def _job_ended(self, effect: JobEnded) -> None:
        job = self.jobs.pop(effect.job_id, None)
        if job is None:
            return
        self._job_of_stage.pop(job.plan.result.stage_id, None)
        error = job.error or effect.error
        self.announcements.job_ended(effect, "" if error is None else str(error))
        if error is None:
            job.future.set_result(job.results)
        else:
            job.future.set_exception(error)


def _placed(error: TaskError, task: _Task) -> TaskError:
    """An error that knows where it was."""
    error.stage_id, error.partition = task.launch.stage_id, task.launch.partition
    error.attempt, error.host = task.launch.attempt, task.host
    return error


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
