"""Tells listeners what happens: makes `SparkEvent`s of what the scheduler's shell does."""

import time
from typing import Final

from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.logs import get_logger

from .dag.effects import JobEnded, LaunchTask, StageEnded, StageSkipped, StageStarted
from .jobs import DESCRIPTION, Job
from .listener import (
    ExecutorSeen,
    JobBegan,
    JobFinished,
    SparkEvent,
    SparkListener,
    StageBegan,
    StageFinished,
    StageWasSkipped,
    TaskFinished,
    TaskStarted,
)
from .plan import Plan

_log = get_logger("mesolite.sparklite")


class Announcements:
    """Everything that listeners hear. For the scheduler's thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan: Final = plan
        self.listeners: Final[list[SparkListener]] = []
        #: The attempt that runs, of each stage that began.
        self._attempts: Final[dict[int, int]] = {}

    def job_began(self, job: Job) -> None:
        """A job was submitted."""
        event = JobBegan(
            at_ms=_wall_ms(),
            job_id=job.job_id,
            name=job.name,
            group=job.group,
            description=job.properties.get(DESCRIPTION),
            stage_ids=tuple(stage.stage_id for stage in (*job.plan.maps, job.plan.result)),
        )
        self._tell(event)

    def job_ended(self, effect: JobEnded, error: str) -> None:
        """A job is over."""
        self._tell(JobFinished(at_ms=_wall_ms(), job_id=effect.job_id, error=error))

    def stage_started(self, effect: StageStarted) -> None:
        """A stage runs tasks."""
        stage = self._plan.stage(effect.stage_id)
        if stage is None:
            return
        self._attempts[effect.stage_id] = effect.attempt
        event = StageBegan(
            at_ms=_wall_ms(),
            job_id=effect.job_id,
            stage_id=effect.stage_id,
            attempt=effect.attempt,
            name=stage.name,
            tasks=effect.tasks,
            rdds=tuple(f"{each.name} [{rdd_id}]" for rdd_id, each in stage.lineages.items()),
            parents=self._plan.parents_of(stage),
        )
        self._tell(event)

    def stage_ended(self, effect: StageEnded) -> None:
        """A stage is through, or not wanted any more."""
        self._attempts.pop(effect.stage_id, None)
        event = StageFinished(at_ms=_wall_ms(), stage_id=effect.stage_id, attempt=effect.attempt, reason=effect.reason)
        self._tell(event)

    def stage_skipped(self, effect: StageSkipped) -> None:
        """A stage did not have to run."""
        stage = self._plan.stage(effect.stage_id)
        name = "" if stage is None else stage.name
        self._tell(StageWasSkipped(at_ms=_wall_ms(), job_id=effect.job_id, stage_id=effect.stage_id, name=name))

    def task_started(self, launch: LaunchTask, agent_id: str, host: str) -> None:
        """A task is sent."""
        event = TaskStarted(
            at_ms=_wall_ms(),
            stage_id=launch.stage_id,
            stage_attempt=self._attempts.get(launch.stage_id, 0),
            task_id=launch.task_id,
            partition=launch.partition,
            attempt=launch.attempt,
            executor_id=launch.executor_id,
            agent_id=agent_id,
            host=host,
            speculative=launch.speculative,
            local=launch.local,
        )
        self._tell(event)

    def task_ended(self, launch: LaunchTask, outcome: str, reason: str, metrics: TaskMetrics) -> None:
        """A task ended."""
        event = TaskFinished(
            at_ms=_wall_ms(),
            stage_id=launch.stage_id,
            task_id=launch.task_id,
            partition=launch.partition,
            outcome=outcome,
            reason=reason,
            metrics=metrics,
        )
        self._tell(event)

    def executor_seen(self, executor_id: str, agent_id: str, host: str, workers: int) -> None:
        """An executor has so many workers."""
        event = ExecutorSeen(at_ms=_wall_ms(), executor_id=executor_id, agent_id=agent_id, host=host, workers=workers)
        self._tell(event)

    def close(self) -> None:
        """Nothing happens any more."""
        for listener in self.listeners:
            try:
                listener.close()
            # As below.
            except Exception as error:  # noqa: BLE001
                _log.warning("sparklite.listener_failed", reason=f"{type(error).__name__}: {error}")

    def _tell(self, event: SparkEvent) -> None:
        for listener in list(self.listeners):
            try:
                listener.heard(event)
            # Whoever looks on must not end what it looks at.
            except Exception as error:  # noqa: BLE001
                _log.warning("sparklite.listener_failed", reason=f"{type(error).__name__}: {error}")


def _wall_ms() -> int:
    return int(time.time() * 1000)
