"""The DAG scheduler: events in, effects out.

    submitted job -> which stages lack outputs (demand) -> which waiting task goes where (placing)
         ^                                                        |
         +--- what follows when a task ends (endings) <-----------+

Rules. A task is launched only while every output of every shuffle that it reads is there, and only for a job that has not ended.
Each result of a job, and each output of a shuffle that is missing, is accepted once; whatever else tasks leave is dropped. What
is said of unknown tasks, jobs and executors changes nothing. All that is iterated is in order: the same
events lead to the same effects.

It must not know what functions do, how tasks travel, or what time it is: that is the shell's.
"""

from collections.abc import Sequence
from typing import assert_never

from mesolite.executors.sparklite.shuffle_data import MapOutput

from ..errors import JobCancelled, JobFailed
from . import faults
from .books import Books
from .check import check
from .demand import Demand
from .effects import DagEffect, JobEnded, StageSkipped, WantWorkers
from .endings import Endings
from .events import (
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
from .placing import Placing
from .records import Job, Run, Stage
from .settings import DagSettings
from .speculation import Speculation
from .view import PlanView

#: The largest number in `WantWorkers`: no cluster gives one application more, and above it the number need not follow every task.
MAX_WANTED = 10_000


class DagCore:
    """The DAG scheduler of one context.

    Args:
        settings: What it goes by.
        view: The plan; asked while an event is applied.
    """

    def __init__(self, settings: DagSettings, view: PlanView) -> None:
        self._books = Books(settings, view)
        self._demand = Demand(self._books)
        self._placing = Placing(self._books, self._demand)
        self._endings = Endings(self._books, self._demand)
        self._speculation = Speculation(self._books)
        self._wanted = 0

    def apply(self, event: DagEvent) -> list[DagEffect]:
        """Take in an event, and return what is to be done, in order."""
        books = self._books
        books.now_ms = max(books.now_ms, event.now_ms)
        self._take_in(event)
        self._speculation.look()
        self._settle()
        wanted = min(books.running + books.runnable, MAX_WANTED)
        if wanted != self._wanted:
            self._wanted = wanted
            books.effects.append(WantWorkers(tasks=wanted))
        effects, books.effects = books.effects, []
        return effects

    def next_deadline_ms(self) -> int | None:
        """Return when to send `Ticked` at the latest; None: not before another event."""
        deadlines = [self._placing.deadline_ms, self._speculation.deadline_ms()]
        return min((each for each in deadlines if each is not None), default=None)

    def outputs(self, shuffle_id: int) -> Sequence[MapOutput | None]:
        """Return a shuffle's outputs in order of map partitions: all there when a task that reads it is launched."""
        return self._books.outputs.of(shuffle_id)

    def check(self) -> None:
        """Assert all invariants; costs as much as there is in the books."""
        check(self._books)

    def _take_in(self, event: DagEvent) -> None:
        match event:
            case TaskSucceeded():
                self._endings.succeeded(event)
            case TaskBegan():
                launched = self._books.tasks.get(event.task_id)
                if launched is not None and launched.began_ms is None:
                    launched.began_ms = event.now_ms
            case TaskFailed():
                self._endings.failed(event)
            case TaskLost():
                self._endings.lost(event)
            case FetchMissed():
                self._endings.fetch_missed(event)
            case InputMissed():
                self._endings.input_missed(event)
            case JobSubmitted():
                self._submitted(event)
            case JobsCancelled():
                for job_id in sorted(set(event.job_ids) & set(self._books.jobs)):
                    self._endings.end_job(job_id, JobCancelled(event.reason))
            case ExecutorChanged():
                self._executor_changed(event)
            case ExecutorOver():
                self._executor_over(event.executor_id)
            case AgentLost():
                self._agent_lost(event.agent_id)
            case AgentReturned():
                self._books.lost_agents.pop(event.agent_id, None)
            case ShufflesForgotten():
                self._endings.forget(event.shuffle_ids)
            case ClusterRefused():
                for job_id in sorted(self._books.jobs):
                    self._endings.end_job(job_id, JobFailed(event.reason))
            case Ticked():
                pass
            case _:
                assert_never(event)

    def _settle(self) -> None:
        """Launch what can be launched; jobs that turn out to have no way on fail."""
        self._placing.launch()
        while self._demand.broken or self._placing.hopeless:
            broken, self._demand.broken = self._demand.broken, []
            hopeless, self._placing.hopeless = self._placing.hopeless, []
            workers = self._books.executors.workers
            for run, error in [*broken, *((run, faults.too_small(run, workers)) for run in hopeless)]:
                if self._books.runs.get(run.stage_id) is run:
                    self._endings.fail(run, error)
            self._placing.launch()

    def _submitted(self, event: JobSubmitted) -> None:
        books, spec = self._books, event.result_stage
        if event.job_id in books.jobs:
            return
        if spec.stage_id in books.runs:
            error = JobFailed(f"stage {spec.stage_id} runs already: stages of results are of one job each")
            books.effects.append(JobEnded(job_id=event.job_id, error=error))
            return
        shuffle_ids = frozenset(each.shuffle_id for each in event.map_stages if each.shuffle_id is not None)
        job = books.jobs[event.job_id] = Job(event.job_id, event.pool, {spec.stage_id}, shuffle_ids)
        for each in event.map_stages:
            if each.shuffle_id is not None:
                books.stages.setdefault(each.shuffle_id, Stage(each))
                books.outputs.know(each.shuffle_id, each.partitions)
        total = len(event.partitions)
        run = Run(
            stage=Stage(spec),
            attempt=0,
            total=total,
            left=total,
            depth=0,
            jobs={event.job_id},
            partitions=event.partitions,
        )
        books.runs[spec.stage_id] = run
        self._demand.wait(run, range(total))
        self._demand.require(run)
        books.effects.extend(
            StageSkipped(stage_id=each.stage_id, job_id=event.job_id)
            for each in sorted(event.map_stages, key=lambda each: each.stage_id)
            if each.stage_id not in job.stage_ids
        )
        if not total:
            self._demand.end(run)
            self._endings.end_job(event.job_id, None)

    def _executor_changed(self, event: ExecutorChanged) -> None:
        books = self._books
        if event.agent_id in books.lost_agents:
            return
        before = books.executors.get(event.executor_id)
        books.executors.change(event.executor_id, event.agent_id, event.workers)
        if before is not None:
            self._agent_may_have_left(before.agent_id)

    def _executor_over(self, executor_id: str) -> None:
        executor = self._books.executors.over(executor_id)
        if executor is not None:
            self._agent_may_have_left(executor.agent_id)

    def _agent_may_have_left(self, agent_id: str) -> None:
        live = self._books.executors.agents
        if agent_id not in live:
            for run in self._books.runs.values():
                for group in run.ready:
                    group.agent_left(agent_id, live)

    def _agent_lost(self, agent_id: str) -> None:
        books = self._books
        books.lose_agent(agent_id)
        for executor in books.executors.all():
            if executor.agent_id == agent_id:
                self._executor_over(executor.executor_id)
        gone = books.outputs.at(agent_id)
        for shuffle_id, partition in gone:
            books.outputs.remove(shuffle_id, partition)
        self._endings.outputs_lost(gone)
