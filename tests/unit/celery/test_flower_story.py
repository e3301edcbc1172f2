"""What the cluster's Flower is told of a dispatcher's tasks, and what is counted."""

from dataclasses import dataclass, field
from typing import Any

from mesolite.executors.celery.protocol import TaskRun
from mesolite.flower_totals import TallyBook
from mesolite.frameworks.celery.calls import TaskOptions
from mesolite.frameworks.celery.flower_story import MAX_ENDED, MAX_LIVE, TaskStories
from mesolite.frameworks.celery.flower_words import MAX_TEXT_CHARS
from mesolite.frameworks.futures.options import Kind
from mesolite.transport.event_repeats import Event
from mesolite.transport.event_tally import EventTally

DISPATCHER = "celery@host"
AGENT = "mesolite@agent-1"


@dataclass(frozen=True)
class At:
    """A place."""

    agent_id: str = "agent-1"
    hostname: str = "host-a"
    executor_id: str = "celery-1"


@dataclass
class Call:
    """A run as the pool has it."""

    task_id: str
    place: At | None = None
    isolation: str = "worker"
    tag: str = "tag"
    name: str = field(init=False)
    options: TaskOptions = field(init=False)
    run: TaskRun = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.task_id}.{self.tag}"
        self.options = TaskOptions(kind=Kind(500, 256, "*", "app:1", None), isolation=self.isolation)
        request = {"delivery_info": {"routing_key": "reports", "exchange": ""}}
        self.run = TaskRun("shop.report", self.task_id, request, b"", None, None, None)


class World:
    """Stories under a clock of the test's own, and what they said."""

    def __init__(self, *, shown: bool = True, failures: bool = True) -> None:
        self.now_s = 100.0
        self.tally = EventTally("life")
        self.stories = TaskStories(
            DISPATCHER,
            "celery-shop",
            self.tally,
            admit=lambda: shown,
            admit_failure=lambda: failures,
            wall_clock_s=lambda: self.now_s,
        )
        self.said: list[Event] = []

    def told(self, kind: str, task_id: str = "t", **fields: Any) -> None:
        """Celery makes an event, a second after the last."""
        self.now_s += 1
        self.said += self.stories.told(kind, {"uuid": task_id, **fields})

    def received(self, task_id: str = "t", **fields: Any) -> None:
        self.told("task-received", task_id, **{"name": "shop.report", "args": "(1,)", "kwargs": "{}", **fields})

    def starts(self, task_id: str = "t", place: At | None = At()) -> Call:
        """A worker has it."""
        call = self.given(task_id)
        self.accepts(call, place)
        return call

    def given(self, task_id: str = "t", tag: str = "tag") -> Call:
        """It is given to be run."""
        call = Call(task_id, tag=tag)
        self.stories.given(call)
        return call

    def accepts(self, call: Call, place: At | None = At()) -> None:
        """A worker has it."""
        call.place = place
        self.stories.started(call)
        self.told("task-started", call.task_id)

    def ends(self, call: Call, kind: str, **fields: Any) -> None:
        """It is over."""
        self.stories.ended(call, None)
        self.told(f"task-{kind}", call.task_id, **fields)

    def words(self) -> list[tuple[str, object, object]]:
        """What was said, of whom and in whose name."""
        return [(kind, fields["uuid"], fields["hostname"]) for kind, fields in self.said]

    def counted(self) -> dict[tuple[str, str], int]:
        """By worker and kind of event."""
        counts: dict[tuple[str, str], int] = {}
        for grown in self._grown():
            for kind, count in grown.counts.items():
                counts[grown.worker, kind.removeprefix("task-")] = count
        return counts

    def waiting(self) -> int:
        """How many wait, as Flower's gauge says it."""
        return sum(grown.waiting for grown in self._grown())

    def _grown(self) -> list[Any]:
        self.tally.say_all()
        book = TallyBook()
        grown: list[Any] = []
        while (event := self.tally.take()) is not None:
            grown += book.take({"hostname": DISPATCHER, **event[1]})
        return grown


def test_a_task_waits_at_the_dispatcher_and_runs_at_an_agent() -> None:
    world = World()
    world.received()
    assert world.waiting() == 1
    call = world.starts()
    world.stories.ended(call, 31_949)
    world.told("task-succeeded", result="42", runtime=0.5)
    assert world.words() == [
        ("task-received", "t", DISPATCHER),
        ("task-started", "t", AGENT),
        ("task-succeeded", "t", AGENT),
    ]
    received, started, succeeded = (fields for _, fields in world.said)
    assert (received["name"], received["args"], received["timestamp"]) == ("shop.report", "(1,)", 101.0)
    assert started["timestamp"] == 102.0
    assert (succeeded["result"], succeeded["runtime"], succeeded["peak_memory"]) == ("42", 0.5, "31.2 MiB")
    assert succeeded["output"] == "mesolite logs celery-shop/celery-1/t.tag"
    assert (succeeded["resources"], succeeded["image"]) == ("cpus 0.5, mem 256 MiB", "app:1")
    assert (succeeded["agent"], succeeded["routing_key"]) == ("agent-1 (host-a)", "reports")
    assert world.waiting() == 0
    assert world.counted() == {(AGENT, "received"): 1, (AGENT, "started"): 1, (AGENT, "succeeded"): 1}


def test_one_in_a_container_of_its_own_has_a_task_of_its_own() -> None:
    world = World()
    world.received()
    call = Call("t", At(executor_id="t.tag"), "task")
    world.stories.given(call)
    world.told("task-started")
    assert world.said[-1][1]["output"] == "mesolite logs celery-shop/t.tag"
    assert world.said[-1][1]["isolation"] == "task"


def test_one_that_never_ran_was_received_by_the_dispatcher_and_ends_there() -> None:
    world = World()
    world.received()
    world.told("task-revoked", terminated=False, signum=None, expired=True)
    assert world.words()[-1] == ("task-revoked", "t", DISPATCHER)
    assert (world.counted(), world.waiting()) == ({(DISPATCHER, "received"): 1, (DISPATCHER, "revoked"): 1}, 0)


def test_one_that_waits_for_its_time_does_not_wait_for_a_worker() -> None:
    world = World()
    world.received(eta="2030-01-01T00:00:00")
    assert world.waiting() == 0
    world.starts()
    world.told("task-succeeded", result="1", runtime=1.0)
    assert world.waiting() == 0


def test_what_is_left_out_is_counted_all_the_same() -> None:
    world = World(shown=False)
    for number in range(3):
        world.received(f"t-{number}")
        world.starts(f"t-{number}")
        world.told("task-succeeded", f"t-{number}", result="1", runtime=1.0)
    assert world.said == []
    assert world.counted() == {(AGENT, "received"): 3, (AGENT, "started"): 3, (AGENT, "succeeded"): 3}
    assert world.stories.figures() == {"active": 0, "processed": 3}


def test_a_failure_of_what_was_left_out_is_told_from_its_beginning() -> None:
    world = World(shown=False)
    world.received()
    world.starts()
    world.told("task-failed", exception="ValueError('no')", traceback="T" * 20_000)
    assert [kind for kind, _, _ in world.words()] == ["task-received", "task-started", "task-failed"]
    assert world.said[-1][1]["exception"] == "ValueError('no')"
    assert len(str(world.said[-1][1]["traceback"])) < 10_000
    flood = World(shown=False, failures=False)
    flood.received()
    flood.starts()
    flood.told("task-failed", exception="ValueError('no')", traceback="")
    assert flood.said == []


def test_a_task_that_is_retried_is_received_again_and_repeated_as_it_is_now() -> None:
    world = World()
    world.received()
    world.ends(world.starts(), "retried", exception="OSError()", traceback="")
    assert [kind for kind, _ in world.stories.story("t")] == ["task-received", "task-started", "task-retried"]
    world.received(retries=1)
    assert world.stories.to_repeat(0.0) == ["t"]
    (again,) = world.stories.story("t")
    assert (again[0], again[1]["retries"], again[1]["timestamp"]) == ("task-received", 1, world.now_s)
    world.starts()
    world.told("task-succeeded", result="1", runtime=1.0)
    assert world.counted()[AGENT, "retried"] == 1
    assert world.counted()[AGENT, "started"] == 2
    assert world.waiting() == 0


def test_of_two_last_words_the_one_that_says_more_is_repeated() -> None:
    """Celery rejects what fails late, before it says that it failed."""
    for kinds in (("task-rejected", "task-failed"), ("task-failed", "task-rejected")):
        world = World()
        world.received()
        world.starts()
        for kind in kinds:
            world.told(kind, exception="E()", traceback="")
        assert [kind for kind, _ in world.said[-2:]] == list(kinds)
        assert [kind for kind, _ in world.stories.story("t")] == ["task-received", "task-started", "task-failed"]
        assert world.stories.figures()["active"] == 0


def test_one_that_was_revoked_before_it_came_is_told_of_as_celery_does() -> None:
    world = World()
    world.told("task-revoked", "early", terminated=False, signum=None, expired=False)
    assert world.words() == [("task-revoked", "early", DISPATCHER)]
    assert [kind for kind, _ in world.stories.story("early")] == ["task-revoked"]


def test_a_task_that_comes_twice_waits_once() -> None:
    """Two messages may have one id: a client published again what a broker had taken."""
    world = World()
    world.received()
    world.received()
    assert world.waiting() == 1


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for number in range(MAX_LIVE + 10):
        world.stories.told("task-received", {"uuid": f"live-{number}", "name": "n"})
    assert len(world.stories.to_repeat(0.0)) == MAX_LIVE
    assert world.waiting() == MAX_LIVE
    world = World()
    for number in range(MAX_ENDED + 10):
        world.received(f"t-{number}", args="x" * 10_000)
        world.starts(f"t-{number}")
        world.told("task-succeeded", f"t-{number}", result="1", runtime=1.0)
    assert len(world.stories.to_repeat(0.0)) == MAX_ENDED
    assert len(str(world.said[0][1]["args"])) == MAX_TEXT_CHARS


def test_ends_are_repeated_from_a_time_on() -> None:
    world = World()
    for task_id in ("old", "new"):
        world.received(task_id)
        world.starts(task_id)
        world.told("task-succeeded", task_id, result="1", runtime=1.0)
    assert world.stories.to_repeat(world.now_s) == ["new"]
    assert world.stories.to_repeat(0.0) == ["new", "old"]


def test_an_event_of_the_applications_own_is_passed_on_in_the_agents_name() -> None:
    world = World()
    world.received()
    world.starts()
    world.told("task-progress", percent=50)
    assert world.words()[-1] == ("task-progress", "t", AGENT)
    world.told("task-progress", "unknown", percent=50)
    assert world.words()[-1] == ("task-progress", "t", AGENT)


def test_a_retry_that_comes_before_the_end_of_what_it_retries_is_what_is_shown() -> None:
    """The worker sends the message before it reports; with no countdown the next attempt may even be over by then."""
    world = World()
    world.received()
    first = world.given(tag="1")
    world.received(retries=1)
    second = world.given(tag="2")
    world.accepts(first)
    world.ends(first, "retried", exception="OSError()", traceback="")
    assert world.stories.to_repeat(0.0) == ["t"]
    world.accepts(second)
    world.ends(second, "succeeded", result="1", runtime=1.0)
    assert [kind for kind, _, _ in world.words()] == [
        "task-received",
        "task-received",
        "task-started",
        "task-succeeded",
    ]
    assert world.counted() == {
        (AGENT, "received"): 2,
        (AGENT, "started"): 2,
        (AGENT, "retried"): 1,
        (AGENT, "succeeded"): 1,
    }
    assert (world.waiting(), world.stories.figures()) == (0, {"active": 0, "processed": 2})


def test_an_attempt_that_ends_after_its_retry_did_is_counted_and_not_shown() -> None:
    world = World()
    world.received()
    first = world.given(tag="1")
    world.accepts(first)
    world.received(retries=1)
    second = world.given(tag="2")
    world.accepts(second)
    assert world.stories.figures()["active"] == 2
    world.ends(first, "retried", exception="OSError()", traceback="")
    world.ends(second, "succeeded", result="1", runtime=1.0)
    assert world.said[-1][0] == "task-succeeded"
    assert (world.counted()[AGENT, "retried"], world.stories.figures()["active"]) == (1, 0)


def test_what_goes_back_to_its_queue_waits_no_more() -> None:
    world = World()
    world.received()
    world.stories.given_back(world.given())
    assert (world.waiting(), world.stories.to_repeat(0.0)) == (0, [])


def test_a_task_that_ignores_its_own_end_does_not_run_for_ever() -> None:
    """Celery says nothing then."""
    world = World()
    world.received()
    world.stories.ended(world.starts(), 1024)
    assert (world.stories.figures()["active"], world.stories.to_repeat(0.0)) == (0, [])


def test_an_attempt_that_is_heard_of_after_its_retry_ended_changes_nothing_in_flower() -> None:
    world = World()
    world.received()
    first = world.given(tag="1")
    world.accepts(first)
    world.received(retries=1)
    second = world.given(tag="2")
    world.accepts(second)
    world.ends(second, "succeeded", result="1", runtime=1.0)
    world.ends(first, "retried", exception="OSError()", traceback="")
    assert world.said[-1][0] == "task-succeeded"
    assert world.stories.story("t")[-1][0] == "task-succeeded"
    assert (world.counted()[AGENT, "retried"], world.stories.figures()["active"]) == (1, 0)


def test_a_message_that_is_delivered_again_while_its_task_runs_changes_nothing() -> None:
    """As RabbitMQ does after a lost connection; the pool goes on with the same call."""
    world = World()
    world.received()
    call = world.given()
    world.accepts(call)
    world.received()
    world.stories.given(call)
    world.told("task-started")
    world.ends(call, "succeeded", result="1", runtime=1.0)
    assert world.counted() == {(AGENT, "received"): 1, (AGENT, "started"): 1, (AGENT, "succeeded"): 1}
    assert (world.waiting(), world.stories.figures()) == (0, {"active": 0, "processed": 1})
    assert [kind for kind, _ in world.stories.story("t")] == ["task-received", "task-started", "task-succeeded"]
