"""What Flower makes of a context's events. Method: Celery's own picture of a cluster hears them, as Flower's does."""

import socket
from typing import Any

import pytest
from celery.events.state import State

from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.frameworks.sparklite import flower
from mesolite.frameworks.sparklite.flower import FlowerListener
from mesolite.frameworks.sparklite.flower_stories import MAX_ENDED, MAX_LIVE, SaidTasks
from mesolite.frameworks.sparklite.listener import SparkEvent, StageFinished
from mesolite.frameworks.sparklite.recorder import Recorder
from mesolite.transport.event_repeats import Event, Repeats

from .event_stories import MIB, T0, job_began, stage_began, task_finished, task_started, whole_job


class Publisher:
    """Takes the place of the thread that speaks to a broker."""

    def __init__(self, worker: str, *_: Any) -> None:
        self.worker = worker
        self.said: list[Event] = []
        self.life: list[str] = []

    def put(self, *events: Event) -> None:
        """Keep them."""
        self.said += events

    def start(self) -> None:
        """Note it."""
        self.life.append("start")

    def close(self) -> None:
        """Note it."""
        self.life.append("close")


class World:
    """A context that is told events, and Celery's picture of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shown_per_s: float = 1000.0) -> None:
        made: list[Publisher] = []

        def make(*arguments: Any) -> Publisher:
            made.append(Publisher(*arguments))
            return made[-1]

        monkeypatch.setattr(flower, "EventPublisher", make)
        # Nobody waits for the timer here.
        monkeypatch.setattr(flower, "START_DELAY_S", 3600.0)
        self._recorder = Recorder()
        self.listener = FlowerListener("redis://unused", "default", "app", self._recorder, shown_per_s)
        [self.publisher] = made

    def hear(self, *events: SparkEvent) -> None:
        """Something happens in the context."""
        for event in events:
            self._recorder.heard(event)
            self.listener.heard(event)

    def tasks(self) -> dict[str, Any]:
        """What Celery knows after all that was said."""
        state: Any = State()
        for clock, (kind, fields) in enumerate(self.publisher.said):
            event = {"hostname": self.publisher.worker, "clock": clock, "local_received": 1.0, **fields}
            state.event({"type": kind, **event})
        return dict(state.tasks.data)


def test_a_job_its_stage_and_its_tasks_are_shown_as_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.hear(*whole_job(tasks=2, metrics=TaskMetrics(items_in=1200, shuffle_write_bytes=3 * MIB)))
    tasks = world.tasks()
    job, stage, task = tasks["app/job-0"], tasks["app/stage-0.0"], tasks["app/task-1"]
    assert [each.state for each in (job, stage, task)] == ["SUCCESS"] * 3
    assert [each.name for each in (job, stage, task)] == [
        "sparklite job: collect at app.py:12",
        "sparklite stage: map at app.py:7",
        "sparklite: map at app.py:7",
    ]
    assert (task.parent_id, task.root_id, stage.parent_id) == ("app/stage-0.0", "app/job-0", "app/job-0")
    assert (task.worker.hostname, stage.worker.hostname) == ("mesolite@a-1", flower.driver_worker(socket.gethostname()))
    assert (task.args, task.runtime) == ("partition 1, attempt 0", 0.2)
    assert task.result == "items in 1,200, written 3.0 MiB"
    assert stage.result == "2 tasks, 0 failed, task time 300 ms, read -, written 6.0 MiB, spilled -"
    assert job.result == "1 stages, 0 of them skipped"


def test_failures_say_what_was_raised_and_lost_tasks_that_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.hear(job_began(), stage_began(tasks=3), task_started(1), task_started(2), task_started(3))
    world.hear(
        task_finished(1, outcome="failed", reason="Traceback:\n  x\nValueError: no"),
        task_finished(2, outcome="lost", reason="its agent is gone"),
        task_finished(3, outcome="killed", reason="nobody needs it"),
        StageFinished(at_ms=T0 + 2000, stage_id=0, attempt=0, reason="a task failed 4 times"),
    )
    tasks = world.tasks()
    assert (tasks["app/task-1"].state, tasks["app/task-1"].exception) == ("FAILURE", "ValueError: no")
    assert (tasks["app/task-2"].state, tasks["app/task-2"].exception) == ("FAILURE", "lost: its agent is gone")
    assert tasks["app/task-3"].state == "REVOKED"
    assert (tasks["app/stage-0.0"].state, tasks["app/stage-0.0"].exception) == ("FAILURE", "a task failed 4 times")
    assert tasks["app/job-0"].state == "STARTED"


def test_above_the_rate_things_are_left_out_but_failures_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, shown_per_s=10)
    world.hear(*whole_job(tasks=500), job_began(1, 1), stage_began(1, 1, job_id=1))
    world.hear(task_started(7_777, 1), task_finished(7_777, 1, outcome="failed", reason="no"))
    shown = world.tasks()
    assert 5 <= len(shown) <= 20
    assert shown["app/task-7777"].state == "FAILURE"
    assert all(task.state != "STARTED" for name, task in shown.items() if "task" in name), (
        "who was shown is shown to end"
    )


def test_what_speaks_of_the_unknown_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.hear(task_started(1), task_finished(1), StageFinished(at_ms=T0, stage_id=0, attempt=0, reason=""))
    assert world.publisher.said == []


def test_a_short_program_is_shown_when_it_ends_and_one_without_jobs_never(monkeypatch: pytest.MonkeyPatch) -> None:
    used, unused = World(monkeypatch), World(monkeypatch)
    used.hear(*whole_job())
    assert used.publisher.life == []
    used.listener.close()
    unused.listener.close()
    assert (used.publisher.life, unused.publisher.life) == (["start", "close"], [])


def test_all_is_said_again_to_a_flower_that_may_have_missed_it() -> None:
    said = SaidTasks()
    begun: list[Event] = [("task-received", {"uuid": "a"}), ("task-started", {"uuid": "a"})]
    said.began("a", begun)
    said.ended("b", ("task-succeeded", {"uuid": "b"}), ended_s=100.0)
    said.ended("old", ("task-succeeded", {"uuid": "old"}), ended_s=-1000.0)
    now_s = 0.0
    repeats = Repeats(said, 100.0, clock_s=lambda: now_s, wall_clock_s=lambda: 100.0 + now_s, random=lambda: 0.0)
    repeats.listener_came()
    now_s = repeats.due_s()
    assert repeats.take().begins
    assert repeats.take().events == [*begun, ("task-succeeded", {"uuid": "b"})]


def test_what_is_remembered_is_bounded() -> None:
    said = SaidTasks()
    for number in range(MAX_LIVE + MAX_ENDED + 10):
        said.began(f"live-{number}", [])
        said.ended(f"ended-{number}", ("task-succeeded", {}), ended_s=1.0)
    assert len(said.to_repeat(0.0)) == MAX_LIVE + MAX_ENDED
    assert said.story("ended-0") == []
