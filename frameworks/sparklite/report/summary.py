"""A context's past in figures: what all forms of the report show. Plain values that JSON can hold.

Times at which something happened are milliseconds since 1970 on the driver's clock; durations are milliseconds, sizes bytes.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from ..history import History
from ..records import DONE, FAILED, ExecutorRecord, JobRecord, Spread, StageRecord, Sums, TaskRecord

#: Raised whenever a field changes its meaning or goes.
VERSION: Final = 1

#: Failures listed for the whole program, newest last; each has at most `records.MAX_REASON_CHARS`.
MAX_FAILURES: Final = 100
#: Slowest tasks listed for the whole program.
MAX_SLOWEST: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Whose report it is."""

    name: str
    app_id: str = ""
    #: `spark.master`: where it ran.
    master: str = ""
    began_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """One attempt at one partition."""

    stage_id: int
    stage_attempt: int
    partition: int
    attempt: int
    outcome: str
    reason: str
    host: str
    executor_id: str
    speculative: bool
    began_ms: float
    run_ms: float
    fetch_wait_ms: float
    items_in: int
    shuffle_read_bytes: int
    shuffle_write_bytes: int
    spilled_bytes: int
    peak_memory_bytes: int
    memory_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSummary:
    """One attempt at a stage."""

    stage_id: int
    attempt: int
    job_id: int
    name: str
    #: running, succeeded or failed.
    status: str
    #: Why it did not come to its end.
    reason: str
    rdds: tuple[str, ...]
    parents: tuple[int, ...]
    began_ms: int
    duration_ms: int
    #: Partitions that it had to make.
    tasks: int
    #: Attempts at them, by how they are or ended.
    active: int
    done: int
    failed: int
    #: Missed their input, or lost their executor.
    lost: int
    killed: int
    retried: int
    speculative: int
    #: Sent where their input was not.
    remote: int
    totals: Sums
    spread: Spread
    #: Largest run time over the median one; 1 where there are not two to compare.
    skew: float
    #: Whether `spread` counts every task, or a sample of them.
    exact: bool
    slowest: tuple[TaskSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """One job."""

    job_id: int
    name: str
    group: str | None
    description: str | None
    status: str
    error: str
    began_ms: int
    duration_ms: int
    stage_ids: tuple[int, ...]
    #: Stages whose outputs were there already, by name.
    skipped: dict[int, str]
    tasks: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSummary:
    """One executor."""

    executor_id: str
    agent_id: str
    host: str
    workers: int
    began_ms: int
    #: None while it lives.
    ended_ms: int | None
    done: int
    failed: int
    #: Share of its workers' time in which tasks ran, 0 to 1.
    busy: float
    totals: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything, at one moment."""

    version: int
    application: Application
    at_ms: int
    jobs: tuple[JobSummary, ...]
    stages: tuple[StageSummary, ...]
    executors: tuple[ExecutorSummary, ...]
    slowest: tuple[TaskSummary, ...]
    failures: tuple[TaskSummary, ...]
    #: What there was no room to remember.
    forgotten_jobs: int
    forgotten_stages: int


def summarize(history: History, application: Application) -> Report:
    """Return the report as of now."""
    of_job: dict[int, list[StageRecord]] = defaultdict(list)
    for stage in history.stages.values():
        of_job[stage.began.job_id].append(stage)
    jobs = tuple(_job(job, of_job[job.job_id], history.now_ms) for job in history.jobs.values())
    stages = tuple(_stage(stage, history.now_ms) for stage in history.stages.values())
    failures = [task for stage in history.stages.values() for task in stage.failures]
    slowest = [task for stage in history.stages.values() for task in stage.slowest()]
    return Report(
        version=VERSION,
        application=application,
        at_ms=history.now_ms,
        jobs=jobs,
        stages=stages,
        executors=tuple(_executor(each, history.now_ms) for each in history.executors.values()),
        slowest=tuple(map(summary_of, sorted(slowest, key=lambda task: -task.run_ms)[:MAX_SLOWEST])),
        failures=tuple(map(summary_of, sorted(failures, key=lambda task: task.ended_ms)[-MAX_FAILURES:])),
        forgotten_jobs=history.forgotten_jobs,
        forgotten_stages=history.forgotten_stages,
    )


def summary_of(task: TaskRecord) -> TaskSummary:
    """Return what is shown of an attempt."""
    started, metrics = task.started, task.metrics
    return TaskSummary(
        stage_id=started.stage_id,
        stage_attempt=started.stage_attempt,
        partition=started.partition,
        attempt=started.attempt,
        outcome=task.outcome,
        reason=task.reason,
        host=started.host or metrics.host,
        executor_id=started.executor_id,
        speculative=started.speculative,
        began_ms=task.began_ms,
        run_ms=task.run_ms,
        fetch_wait_ms=metrics.fetch_wait_ms,
        items_in=metrics.items_in,
        shuffle_read_bytes=metrics.shuffle_read_bytes,
        shuffle_write_bytes=metrics.shuffle_write_bytes,
        spilled_bytes=metrics.spilled_bytes,
        peak_memory_bytes=metrics.peak_memory_bytes,
        memory_limit_bytes=metrics.memory_limit_bytes,
    )


def _job(job: JobRecord, ours: list[StageRecord], now_ms: int) -> JobSummary:
    return JobSummary(
        job_id=job.job_id,
        name=job.name,
        group=job.group,
        description=job.description,
        status=job.status,
        error=job.error,
        began_ms=job.began_ms,
        duration_ms=(now_ms if job.ended_ms is None else job.ended_ms) - job.began_ms,
        stage_ids=job.stage_ids,
        skipped=dict(job.skipped),
        tasks=sum(stage.began.tasks for stage in ours),
        done=sum(stage.outcomes[DONE] for stage in ours),
        failed=sum(_failed(stage) for stage in ours),
    )


def _failed(stage: StageRecord) -> int:
    return stage.outcomes[FAILED] + stage.outcomes["missed"] + stage.outcomes["lost"]


def _stage(stage: StageRecord, now_ms: int) -> StageSummary:
    began, outcomes, spread = stage.began, stage.outcomes, stage.spread()
    return StageSummary(
        stage_id=began.stage_id,
        attempt=began.attempt,
        job_id=began.job_id,
        name=began.name,
        status=stage.status,
        reason=stage.reason,
        rdds=began.rdds,
        parents=began.parents,
        began_ms=began.at_ms,
        duration_ms=(now_ms if stage.ended_ms is None else stage.ended_ms) - began.at_ms,
        tasks=began.tasks,
        active=stage.active,
        done=outcomes[DONE],
        failed=outcomes[FAILED],
        lost=outcomes["missed"] + outcomes["lost"],
        killed=outcomes["killed"],
        retried=stage.retried,
        speculative=stage.speculative,
        remote=stage.remote,
        totals=replace(stage.sums),
        spread=spread,
        skew=spread.largest / spread.median if outcomes[DONE] > 1 and spread.median > 0 else 1.0,
        exact=stage.exact,
        slowest=tuple(map(summary_of, stage.slowest())),
    )


def _executor(executor: ExecutorRecord, now_ms: int) -> ExecutorSummary:
    lived_ms = (now_ms if executor.ended_ms is None else executor.ended_ms) - executor.began_ms
    room_ms = lived_ms * max(1, executor.workers)
    outcomes = executor.outcomes
    return ExecutorSummary(
        executor_id=executor.executor_id,
        agent_id=executor.agent_id,
        host=executor.host,
        workers=executor.workers,
        began_ms=executor.began_ms,
        ended_ms=executor.ended_ms,
        done=outcomes[DONE],
        failed=outcomes[FAILED] + outcomes["missed"] + outcomes["lost"],
        busy=min(1.0, executor.sums.run_ms / room_ms) if room_ms > 0 else 0.0,
        totals=replace(executor.sums),
    )
