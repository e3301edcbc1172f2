"""When everything is said again to Flower, how fast, and in which words."""

import itertools

from mesolite.agent.flower_ledger import TaskLedger
from mesolite.agent.flower_story import LedgerStories, whole_story
from mesolite.agent.flower_tasks import TaskEnding, TaskView
from mesolite.ids import FrameworkId, TaskId
from mesolite.transport.event_repeats import (
    ALL_AGENTS_TASKS_PER_S,
    DELAY_S,
    ENDED_AGE_S,
    MAX_PORTION_TASKS,
    MIN_INTERVAL_S,
    PAUSE_S,
    PORTION_INTERVAL_S,
    REPEAT_EVERY_S,
    SPREAD_S,
    Event,
    Repeats,
)

#: The wall clock is not the other clock.
WALL_S = 1_000_000.0


class World:
    """A ledger and its repetitions under a clock of the test's own."""

    def __init__(self, tasks_per_s: float = 200.0) -> None:
        self.now_s = 50.0
        self.ledger = TaskLedger(self.wall_s)
        self.repeats = Repeats(
            LedgerStories(self.ledger),
            tasks_per_s,
            clock_s=lambda: self.now_s,
            wall_clock_s=self.wall_s,
            random=lambda: 0.5,
        )

    def wall_s(self) -> float:
        return WALL_S + self.now_s

    def runs(self, task_id: str) -> None:
        """A task arrives and starts."""
        self.ledger.received(view(task_id), shown=True)
        self.ledger.started(f"f/{task_id}")

    def ends(self, task_id: str) -> None:
        """A task ends well."""
        self.ledger.ended(view(task_id), TaskEnding(outcome="succeeded", ended_s=self.wall_s(), exit_code=0))

    def said_within(self, seconds: float) -> list[tuple[float, Event]]:
        """Let time pass and collect what is said, with its time."""
        end_s = self.now_s + seconds
        said: list[tuple[float, Event]] = []
        while (due_s := self.repeats.due_s()) <= end_s:
            self.now_s = max(self.now_s, due_s)
            said += [(self.now_s, event) for event in self.repeats.take().events]
        self.now_s = end_s
        return said


def view(task_id: str) -> TaskView:
    """A task."""
    return TaskView(
        task_id=TaskId(task_id), framework_id=FrameworkId("f"), framework_name="b", name="sleep", command="sleep 1"
    )


def words(said: list[tuple[float, Event]]) -> list[tuple[object, str]]:
    """Whose event, and which."""
    return [(fields["uuid"], kind) for _, (kind, fields) in said]


def test_a_listener_is_told_what_runs_and_what_ended() -> None:
    world = World()
    world.runs("ended")
    world.ends("ended")
    world.runs("runs")
    world.repeats.listener_came()
    assert words(world.said_within(DELAY_S + SPREAD_S)) == [
        ("f/runs", "task-received"),
        ("f/runs", "task-started"),
        ("f/ended", "task-received"),
        ("f/ended", "task-started"),
        ("f/ended", "task-succeeded"),
    ]
    assert world.said_within(REPEAT_EVERY_S / 2) == []


def test_the_words_are_the_same_each_time() -> None:
    """Goal: a repeated event changes nothing in Flower; its times are those of what happened."""
    world = World()
    world.runs("t")
    known = world.ledger.find("f/t")
    assert known is not None
    first = whole_story(known)
    world.now_s += 7
    world.repeats.listener_came()
    assert [event for _, event in world.said_within(5)] == first


def test_an_answer_comes_after_the_question_has_become_a_subscription() -> None:
    """A receiver broadcasts before it subscribes (kombu subscribes at the first drain)."""
    world = World()
    world.runs("t")
    asked_s = world.now_s
    world.repeats.listener_came()
    said = world.said_within(10)
    assert [when - asked_s for when, _ in said] == [DELAY_S + 0.5 * SPREAD_S] * 2


def test_many_listeners_cause_few_repetitions_and_the_last_one_is_served() -> None:
    world = World()
    world.runs("t")
    for _ in range(40):
        world.repeats.listener_came()
        world.said_within(0.5)
    last_came_s = world.now_s
    world.said_within(0.1)
    began = [when for when, (kind, _) in world.said_within(60) if kind == "task-received"]
    assert len(began) <= 2, "at most one that was planned before, and one after it"
    assert last_came_s + DELAY_S <= began[-1] <= last_came_s + 2 * MIN_INTERVAL_S


def test_repetitions_are_never_closer_than_their_interval() -> None:
    world = World()
    world.runs("t")
    began: list[float] = []
    for _ in range(200):
        world.repeats.listener_came()
        began += [when for when, (kind, _) in world.said_within(0.5) if kind == "task-received"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert len(gaps) >= 5
    assert min(gaps) >= MIN_INTERVAL_S


def test_flowers_regular_sign_of_life_means_nothing_until_it_was_missed() -> None:
    world = World()
    world.runs("t")
    world.repeats.enable_asked()
    world.said_within(20)
    world.repeats.enable_asked()
    assert words(world.said_within(4)) != [], "it was away for twenty seconds"
    for _ in range(20):
        world.repeats.enable_asked()
        assert world.said_within(5) == []
    world.said_within(PAUSE_S)
    world.repeats.enable_asked()
    assert words(world.said_within(4)) != []


def test_now_and_then_all_is_said_unasked_and_each_end_once() -> None:
    world = World()
    world.runs("long")
    world.runs("short")
    world.ends("short")
    first = words(world.said_within(REPEAT_EVERY_S))
    second = words(world.said_within(REPEAT_EVERY_S))
    assert ("f/short", "task-succeeded") in first
    assert second == [("f/long", "task-received"), ("f/long", "task-started")]


def test_what_ended_long_ago_is_nobodys_concern() -> None:
    world = World()
    world.runs("t")
    world.ends("t")
    world.said_within(ENDED_AGE_S + 1)
    world.repeats.listener_came()
    assert world.said_within(5) == []


def test_nothing_is_said_faster_than_the_rate() -> None:
    world = World(tasks_per_s=20.0)
    for number in range(100):
        world.runs(f"t-{number}")
    world.repeats.listener_came()
    said = world.said_within(30)
    took_s = said[-1][0] - said[0][0]
    assert len(said) == 200
    assert 4.5 <= took_s <= 5.0


def test_many_agents_share_what_flower_can_follow() -> None:
    """Goal: what all of them say again at once does not bury Flower. Method: one of a hundred, at its own high rate."""
    world = World(tasks_per_s=1000.0)
    world.repeats.share(100)
    for number in range(10):
        world.runs(f"t-{number}")
    world.repeats.listener_came()
    said = world.said_within(30)
    assert len(said) == 20
    slowest_s = 9 * 100 / ALL_AGENTS_TASKS_PER_S
    assert slowest_s <= said[-1][0] - said[0][0] <= 1.5 * slowest_s


def test_a_portion_has_an_end_however_high_the_rate() -> None:
    world = World(tasks_per_s=1e6)
    for number in range(MAX_PORTION_TASKS + 1):
        world.runs(f"t-{number}")
    world.repeats.listener_came()
    times = sorted({when for when, _ in world.said_within(30)})
    assert len(times) == 2
    assert times[1] - times[0] == PORTION_INTERVAL_S


def test_a_very_low_rate_still_says_everything() -> None:
    world = World(tasks_per_s=0.1)
    world.runs("a")
    world.runs("b")
    world.repeats.listener_came()
    said = world.said_within(30)
    assert len(words(said)) == 4
    assert said[-1][0] - said[0][0] == 10.0


def test_a_task_that_ends_under_way_is_told_as_it_is_then() -> None:
    """Goal: nothing old is said after something new. Method: the task ends between two portions."""
    world = World(tasks_per_s=4.0)
    world.runs("a")
    world.runs("b")
    world.repeats.listener_came()
    world.said_within(DELAY_S + 0.5 * SPREAD_S)
    world.ends("b")
    assert words(world.said_within(5))[-1] == ("f/b", "task-succeeded")


def test_a_repetition_says_that_it_begins_before_its_first_words() -> None:
    """The publisher sends a heartbeat before old words."""
    world = World(tasks_per_s=4.0)
    world.runs("a")
    world.runs("b")
    world.repeats.listener_came()
    world.now_s += 10
    assert world.repeats.take() == ([], True)
    assert world.repeats.due_s() <= world.now_s
    portion = world.repeats.take()
    assert portion.events
    assert not portion.begins
