"""`statusTracker` answers in PySpark's words."""

from mesolite.frameworks.sparklite.recorder import Recorder
from mesolite.frameworks.sparklite.status_tracker import SparkJobInfo, SparkStageInfo, StatusTracker

from .event_stories import job_began, stage_began, task_finished, task_started, tell, whole_job


def test_it_tells_how_far_jobs_and_stages_are() -> None:
    recorder = Recorder()
    tell(recorder, whole_job(0, 0))
    tell(recorder, [job_began(1, 1, 2, group="g"), stage_began(1, 3, job_id=1, name="map at app.py:7")])
    tell(recorder, [task_started(10, 1), task_started(11, 1), task_finished(10, 1), task_started(12, 1)])
    tell(recorder, [task_finished(11, 1, outcome="failed", reason="no")])
    tracker = StatusTracker(recorder)
    assert tracker.getJobIdsForGroup("g") == [1]
    assert tracker.getJobIdsForGroup() == [0]
    assert (tracker.getActiveJobsIds(), tracker.getActiveStageIds()) == ([1], [1])
    assert tracker.getJobInfo(0) == SparkJobInfo(0, (0,), "SUCCEEDED")
    assert tracker.getJobInfo(1) == SparkJobInfo(1, (1, 2), "RUNNING")
    assert tracker.getStageInfo(1) == SparkStageInfo(1, 0, "map at app.py:7", 3, 1, 1, 1)


def test_what_it_does_not_know_is_none() -> None:
    tracker = StatusTracker(Recorder())
    assert (tracker.getJobInfo(5), tracker.getStageInfo(5)) == (None, None)
    assert (tracker.getJobIdsForGroup("g"), tracker.getActiveStageIds()) == ([], [])
