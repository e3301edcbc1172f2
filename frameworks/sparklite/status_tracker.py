"""`sc.statusTracker()`: how far jobs and stages are, by PySpark's names (`pyspark.StatusTracker`)."""

from typing import Final, NamedTuple

from .history import History
from .recorder import Recorder
from .records import DONE, RUNNING, SUCCEEDED


class SparkJobInfo(NamedTuple):
    """How far a job is."""

    jobId: int
    stageIds: tuple[int, ...]
    #: RUNNING, SUCCEEDED or FAILED.
    status: str


class SparkStageInfo(NamedTuple):
    """How far the newest attempt at a stage is."""

    stageId: int
    currentAttemptId: int
    name: str
    numTasks: int
    numActiveTasks: int
    numCompletedTasks: int
    numFailedTasks: int


class StatusTracker:
    """Asks the context's memory (`history`), which is not endless: what a job names may be unknown here."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Final = recorder

    def getJobIdsForGroup(self, jobGroup: str | None = None) -> list[int]:
        """Return the jobs of a group, those that have ended included; with None those of no group."""

        def ids(history: History) -> list[int]:
            return [job.job_id for job in history.jobs.values() if job.group == jobGroup]

        return self._recorder.read(ids)

    def getActiveStageIds(self) -> list[int]:
        """Return the stages that run now."""
        return self._recorder.read(lambda history: sorted(stage.began.stage_id for stage in history.active_stages()))

    def getActiveJobsIds(self) -> list[int]:
        """Return the jobs that run now."""
        return self._recorder.read(lambda history: sorted(job.job_id for job in history.active_jobs()))

    def getJobInfo(self, jobId: int) -> SparkJobInfo | None:
        """Return what is known of a job; None where nothing is."""

        def info(history: History) -> SparkJobInfo | None:
            job = history.jobs.get(jobId)
            return None if job is None else SparkJobInfo(job.job_id, job.stage_ids, _WORDS[job.status])

        return self._recorder.read(info)

    def getStageInfo(self, stageId: int) -> SparkStageInfo | None:
        """Return what is known of a stage's newest attempt; None where it has not begun, or is forgotten."""

        def info(history: History) -> SparkStageInfo | None:
            stage = history.stage(stageId)
            if stage is None:
                return None
            done = stage.outcomes[DONE]
            failed = stage.ended_tasks - done - stage.outcomes["killed"]
            began = stage.began
            return SparkStageInfo(stageId, began.attempt, began.name, began.tasks, stage.active, done, failed)

        return self._recorder.read(info)


_WORDS: Final = {RUNNING: "RUNNING", SUCCEEDED: "SUCCEEDED", "failed": "FAILED"}
