"""What our Flower does beside Flower's own: which events it takes in, and how long its queues are."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from celery.events.state import State

from mesolite.errors import RedisUnavailable
from mesolite.flower_app import QueueLengths
from mesolite.flower_intake import EventIntake, is_known
from mesolite.ports import LOOPBACK, free_port


class World:
    """Celery's own picture of a cluster, fed through the intake."""

    def __init__(self) -> None:
        self.state: Any = State()
        self._intake = EventIntake(SimpleNamespace(state=self.state))

    def hear(self, kind: str, at_s: float, *, repeated: bool = False, **fields: object) -> None:
        """An event arrives; its receiver noted the time."""
        event = {"type": kind, "hostname": "mesolite@a", "timestamp": at_s, "local_received": 1000.0, "clock": 1}
        event |= {"uuid": "f/t"} if kind.startswith("task-") else {}
        self._intake.apply({**event, **({"repeated": True} if repeated else {}), **fields})

    def task(self) -> Any:
        """The task as it is shown."""
        return self.state.tasks["f/t"]


def test_what_is_known_is_not_taken_in_again() -> None:
    """Flower's counters count events, and a repetition is none."""
    world = World()
    world.hear("task-received", 1.0, name="sleep")
    world.hear("task-started", 2.0)
    world.hear("task-succeeded", 3.0, result="0", runtime=1.0)
    counted = world.state.event_count
    for kind, at_s in (("task-received", 1.0), ("task-started", 2.0), ("task-succeeded", 3.0)):
        world.hear(kind, at_s, repeated=True)
    assert world.state.event_count == counted
    assert world.task().state == "SUCCESS"


def test_what_was_missed_is_taken_in() -> None:
    """The start is known, the end is not: nobody listened."""
    world = World()
    world.hear("task-received", 1.0, name="sleep")
    world.hear("task-started", 2.0)
    world.hear("task-failed", 3.0, repeated=True, exception="exit code 1")
    assert world.task().state == "FAILURE"
    assert world.task().failed == 3.0


def test_an_end_that_came_before_its_beginning_stays_the_end() -> None:
    """The end was heard, what came before it was not, and is repeated: Celery merges by rank, not by arrival."""
    world = World()
    world.hear("task-succeeded", 3.0, result="0", runtime=1.0)
    world.hear("task-received", 1.0, repeated=True, name="sleep")
    world.hear("task-started", 2.0, repeated=True)
    assert (world.task().state, world.task().name, world.task().started) == ("SUCCESS", "sleep", 2.0)


def test_old_words_are_no_sign_that_clocks_differ(caplog: pytest.LogCaptureFixture) -> None:
    """Goal: no alarm about clocks. Method: Celery warns, once for each worker, where an event's time is far from now."""
    world = World()
    world.hear("task-received", 1.0, repeated=True, name="sleep", hostname="mesolite@punctual")
    assert "mesolite@punctual" not in caplog.text
    assert world.task().state == "RECEIVED"
    world.hear("task-started", 1.0, hostname="mesolite@odd")
    assert "mesolite@odd" in caplog.text


@pytest.mark.parametrize(
    ("task", "event", "known"),
    [
        (None, {"type": "task-started"}, False),
        (SimpleNamespace(started=None), {"type": "task-started"}, False),
        (SimpleNamespace(started=2.0), {"type": "task-started"}, True),
        (SimpleNamespace(), {"type": "task-unheard-of"}, False),
        (SimpleNamespace(), {}, False),
    ],
)
def test_a_task_knows_what_it_has_a_time_of(task: object | None, event: dict[str, object], known: bool) -> None:
    assert is_known(task, event) is known


def test_a_redis_that_is_away_is_an_error_that_flower_shows_as_an_empty_page() -> None:
    with pytest.raises(RedisUnavailable):
        asyncio.run(QueueLengths(f"redis://{LOOPBACK}:{free_port()}/0").queues(["any"]))
