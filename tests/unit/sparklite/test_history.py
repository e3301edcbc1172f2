"""A context's past: what is counted, what is kept, and what goes when room gets scarce."""

import pytest

from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.frameworks.sparklite import records
from mesolite.frameworks.sparklite.history import History
from mesolite.frameworks.sparklite.listener import ExecutorSeen, JobFinished, SparkEvent, StageFinished, StageWasSkipped

from .event_stories import MIB, T0, job_began, stage_began, task_finished, task_started, whole_job


def history_of(*events: SparkEvent, **limits: int) -> History:
    """A past in which this happened."""
    history = History(**limits)
    for event in events:
        history.apply(event)
    return history


def test_a_job_that_went_well_is_counted_task_by_task() -> None:
    history = history_of(*whole_job(tasks=5, metrics=TaskMetrics(shuffle_write_bytes=MIB, peak_memory_bytes=7)))
    [stage] = history.stages.values()
    assert (stage.status, stage.active, stage.outcomes["done"]) == ("succeeded", 0, 5)
    assert (stage.sums.shuffle_write_bytes, stage.sums.run_ms, stage.sums.peak_memory_bytes) == (5 * MIB, 1500.0, 7)
    assert stage.spread() == (100.0, 200.0, 300.0, 400.0, 500.0, 500.0)
    assert [task.run_ms for task in stage.slowest()] == [500.0, 400.0, 300.0, 200.0, 100.0]
    assert (history.jobs[0].status, history.jobs[0].ended_ms) == ("succeeded", T0 + 500)
    assert history.executors["e-1"].outcomes["done"] == 5
    assert history.running == {}


def test_what_runs_is_counted_as_active_and_what_failed_is_kept_with_its_reason() -> None:
    history = history_of(
        job_began(0, 0),
        stage_began(0, 2),
        task_started(1, partition=0),
        task_started(2, partition=1),
        task_finished(1, outcome="failed", reason="ValueError: no"),
        task_started(3, partition=0, attempt=1),
    )
    stage = history.stage(0)
    assert stage is not None
    assert (stage.status, stage.active, stage.retried) == ("running", 2, 1)
    assert [(task.outcome, task.reason) for task in stage.failures] == [("failed", "ValueError: no")]
    assert [job.job_id for job in history.active_jobs()] == [0]


def test_a_second_attempt_at_a_stage_stands_beside_the_first() -> None:
    history = history_of(
        job_began(0, 0),
        stage_began(0, 1),
        StageFinished(at_ms=T0, stage_id=0, attempt=0, reason="outputs were lost"),
        stage_began(0, 1, attempt=1),
    )
    assert [stage.status for stage in history.stages.values()] == ["failed", "running"]
    newest = history.stage(0)
    assert newest is not None
    assert newest.began.attempt == 1


def test_what_speaks_of_the_unknown_changes_nothing() -> None:
    history = history_of(
        task_started(1),
        task_finished(1),
        task_finished(99),
        StageFinished(at_ms=T0, stage_id=4, attempt=0, reason=""),
        StageWasSkipped(at_ms=T0, job_id=4, stage_id=1, name="map"),
        JobFinished(at_ms=T0, job_id=4, error=""),
        ExecutorSeen(at_ms=T0, executor_id="e", agent_id="a", host="h", workers=0),
    )
    assert (history.jobs, history.stages, history.executors, history.running) == ({}, {}, {}, {})


def test_a_task_is_shown_when_it_ran_not_when_it_was_sent() -> None:
    """An executor has a task more than workers; that one waits behind another."""
    history = history_of(
        job_began(),
        stage_began(),
        task_started(1, at_ms=T0),
        task_finished(1, at_ms=T0 + 1000, metrics=TaskMetrics(run_ms=400.0)),
    )
    [task] = history.stages[0, 0].tasks
    assert (task.began_ms, task.run_ms) == (T0 + 600, 400.0)


@pytest.mark.parametrize(
    ("said_ms", "shown_ms"),
    [(T0 + 200, T0 + 200), (T0 - 5000, T0), (T0 + 90_000, T0 + 600)],
    ids=["it fits", "its clock is behind", "its clock is ahead"],
)
def test_a_worker_says_when_a_task_began_as_far_as_that_can_be(said_ms: int, shown_ms: int) -> None:
    metrics = TaskMetrics(run_ms=400.0, began_ms=said_ms)
    history = history_of(
        job_began(), stage_began(), task_started(1), task_finished(1, at_ms=T0 + 1000, metrics=metrics)
    )
    assert history.stages[0, 0].tasks[0].began_ms == shown_ms


def test_quantiles_are_exact_up_to_a_limit_and_of_a_fair_sample_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_TASKS_OF_STAGE", 100)
    few, many = history_of(*whole_job(tasks=100)), history_of(*whole_job(tasks=2000))
    assert few.stages[0, 0].exact
    assert few.stages[0, 0].spread().largest == 10_000.0
    stage = many.stages[0, 0]
    assert not stage.exact
    assert (len(stage.tasks), stage.outcomes["done"]) == (100, 2000)
    assert stage.spread().median == pytest.approx(100_000, rel=0.25)
    assert (stage.slowest()[0].run_ms, stage.spread().largest) == (200_000.0, 200_000.0), "the slowest are always known"


def test_single_tasks_of_old_stages_go_first_and_their_figures_stay() -> None:
    events = [event for number in range(10) for event in whole_job(number, number, tasks=100)]
    history = history_of(*events, max_tasks=450)
    assert sum(len(stage.tasks) for stage in history.stages.values()) <= 450
    oldest = history.stages[0, 0]
    assert len(oldest.tasks) == records.SLOWEST_KEPT
    assert oldest.spread() == history.stages[9, 0].spread()
    assert len(history.stages[9, 0].tasks) == 100


def test_old_jobs_and_stages_go_but_never_what_runs() -> None:
    begun: list[SparkEvent] = [job_began(100, 100), stage_began(100, 1, job_id=100)]
    events = [event for number in range(10) for event in whole_job(number, number)]
    history = history_of(*begun, *events, max_jobs=3, max_stages=3)
    assert list(history.jobs) == [100, 8, 9]
    assert list(history.stages) == [(100, 0), (8, 0), (9, 0)]
    assert (history.forgotten_jobs, history.forgotten_stages) == (8, 8)
    assert history.stage(0) is None


def test_a_long_reason_is_cut_in_its_middle() -> None:
    cut = records.shortened("begin" + "x" * 100_000 + "end")
    assert cut.startswith("begin")
    assert cut.endswith("end")
    assert len(cut) < records.MAX_REASON_CHARS + 100


def test_an_executor_that_is_over_keeps_its_figures() -> None:
    seen = ExecutorSeen(at_ms=T0, executor_id="e-1", agent_id="a", host="h", workers=3)
    over = ExecutorSeen(at_ms=T0 + 900, executor_id="e-1", agent_id="a", host="h", workers=0)
    executor = history_of(seen, *whole_job(), over).executors["e-1"]
    assert (executor.workers, executor.ended_ms, executor.outcomes["done"]) == (3, T0 + 900, 4)
