"""The judge of the end-to-end trials objects to what is wrong: each fact that breaks a promise is planted once.

A judge that is always content would make every trial pass, so each test starts from facts in which all is well.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesolite import AgentId, ContainerId, OfferId, TaskId, TaskState
from mesolite.views import AgentRow, OfferRow
from tests.e2e import judge
from tests.e2e.load_journal import (
    Began,
    Ended,
    Heard,
    JournalWriter,
    Launched,
    Line,
    Offered,
    Subscribed,
    read_journal,
)
from tests.e2e.load_program import remembered
from tests.e2e.story import Story

AGENT = AgentId("agent-1")
LONG = TaskId("run-long-0-1")
SHORT = TaskId("run-short-0-1")
USED = {"agent-1": {"cpus": 50, "mem": 32_000}}


def launched(task_id: TaskId, work: str, at_ms: int = 1000) -> Launched:
    return Launched(at_ms=at_ms, task_id=task_id, work=work, agent_id=AGENT)


def said(task_id: TaskId, state: TaskState, made_ms: int = 2000, **more: Any) -> Heard:
    fields: dict[str, Any] = {"uuid": f"{made_ms:032x}", "agent_id": AGENT, "container_id": ContainerId("c-1"), **more}
    return Heard(at_ms=made_ms + 5, task_id=task_id, state=state, made_ms=made_ms, **fields)


#: One long task that runs, one short one that ran and finished.
WELL: tuple[Line, ...] = (
    Began(at_ms=900),
    Subscribed(at_ms=950, epoch=7),
    Offered(at_ms=960, offer_ids=(OfferId("o-1"),)),
    launched(LONG, "long-0"),
    launched(SHORT, "short-0"),
    said(LONG, TaskState.RUNNING, 1100),
    said(SHORT, TaskState.RUNNING, 1200),
    said(SHORT, TaskState.FINISHED, 1300),
)
RAN = {LONG: [LONG], SHORT: [SHORT]}


def words(*more: Line, works: int = 1) -> list[str]:
    return judge.final_words(Story.of([*WELL, *more]), range(works))


def test_a_sound_run_is_not_objected_to() -> None:
    story = Story.of(WELL)
    assert words() == []
    assert judge.began_once(story, RAN) == []
    assert judge.doubled_offers(story) == []
    assert judge.repeats(story) == 0
    assert story.epochs == [7]
    assert story.running_longs() == {LONG}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ((said(SHORT, TaskState.FAILED, 1400),), "last words: FAILED, FINISHED"),
        ((said(SHORT, TaskState.RUNNING, 1400),), "ended and was then said to be RUNNING"),
        ((said(LONG, TaskState.GONE, 1400),), "was to run on and is GONE"),
        ((launched(TaskId("run-short-0-2"), "short-0"),), "last words: none; heard last: nothing"),
        (
            (
                launched(TaskId("run-short-0-2"), "short-0"),
                said(TaskId("run-short-0-2"), TaskState.UNREACHABLE),
            ),
            "last words: none; heard last: UNREACHABLE",
        ),
        (
            (
                launched(TaskId("run-short-0-2"), "short-0"),
                said(TaskId("run-short-0-2"), TaskState.FINISHED),
            ),
            "short-0 was finished 2 times",
        ),
        ((said(TaskId("ghost"), TaskState.RUNNING),), "ghost, which was never launched"),
        ((Ended(at_ms=1, message="superseded"),), "refused the load: superseded"),
    ],
)
def test_last_words_are_counted(more: tuple[Line, ...], complaint: str) -> None:
    assert any(complaint in each for each in words(*more)), words(*more)


def test_work_that_nobody_finished_is_missed() -> None:
    assert words(works=2) == ["short-1 was finished 0 times"]


def test_a_last_word_that_comes_again_is_counted_but_no_second_one() -> None:
    again = said(SHORT, TaskState.FINISHED, 1300)
    assert words(again) == []
    assert judge.repeats(Story.of([*WELL, again])) == 1


@pytest.mark.parametrize(
    ("ran", "complaint"),
    [
        ({LONG: [LONG], SHORT: [SHORT, SHORT]}, "run-short-0-1, FINISHED, began 2 times"),
        ({LONG: [LONG]}, "run-short-0-1, FINISHED, began 0 times"),
        ({LONG: [LONG, LONG], SHORT: [SHORT]}, "run-long-0-1, not ended, began 2 times"),
        ({LONG: [LONG], SHORT: [LONG]}, "run-short-0-1 found 'run-long-0-1'"),
        ({**RAN, TaskId("x"): ["x"]}, "x ran and was never launched"),
    ],
)
def test_starts_are_counted_in_sandboxes(ran: dict[TaskId, list[str]], complaint: str) -> None:
    assert any(complaint in each for each in judge.began_once(Story.of(WELL), ran))


def test_a_dropped_task_must_not_have_begun_and_a_lost_one_may_have() -> None:
    def began(state: TaskState) -> list[str]:
        story = Story.of([*WELL[:5], said(LONG, TaskState.RUNNING), said(SHORT, state)])
        return judge.began_once(story, RAN)

    assert began(TaskState.DROPPED) == ["run-short-0-1, DROPPED, began 1 times"]
    assert began(TaskState.GONE) == []


CONTAINER = judge.Container(engine_id="e-1", started_at="12:00", running=True, mem_bytes=32 * 2**20, cpus_milli=50)


@pytest.mark.parametrize(
    "after",
    [
        {},
        {LONG: replace(CONTAINER, engine_id="e-2")},
        {LONG: replace(CONTAINER, started_at="12:01")},
        {LONG: replace(CONTAINER, running=False)},
        {LONG: replace(CONTAINER, mem_bytes=0)},
        {LONG: CONTAINER, SHORT: CONTAINER},
    ],
)
def test_a_container_that_changed_is_noticed(after: dict[TaskId, judge.Container]) -> None:
    assert judge.undisturbed({LONG: CONTAINER}, {LONG: CONTAINER}) == []
    assert judge.undisturbed({LONG: CONTAINER}, after)


@pytest.mark.parametrize("output", ["", "tick 1\n", "tick 1\ntick 3\ntick 4\n", "tick 2\ntick 3\n", "tick 1\ntick 1\n"])
def test_a_hole_in_the_output_is_noticed(output: str) -> None:
    assert judge.unbroken_output(LONG, "tick 1\ntick 2\ntick 3\n", 2) == []
    assert judge.unbroken_output(LONG, output, 2)


def agent(**more: Any) -> AgentRow:
    fields: dict[str, Any] = {
        "agent_id": "agent-1",
        "hostname": "h",
        "status": "active",
        "total": {"cpus": 1.0, "mem": 1024.0, "ports": "[31000-31010]"},
        "used": {"cpus": 0.05, "mem": 32.0},
        **more,
    }
    return AgentRow(**fields)


def offer(offer_id: str, **resources: float | str) -> OfferRow:
    return OfferRow(offer_id=offer_id, framework_id="f", agent_id="agent-1", resources=dict(resources))


OFFERED = {"cpus": 0.5, "mem": 64.0}


def test_books_that_are_right_are_not_objected_to() -> None:
    assert judge.books([agent()], [], USED) == []
    assert judge.books([agent(offered=OFFERED)], [offer("o-1", **OFFERED)], USED) == []


@pytest.mark.parametrize(
    ("row", "offers", "used"),
    [
        (agent(status="unreachable"), [], USED),
        (agent(offered={"cpus": 0.96}), [offer("o-1", cpus=0.96)], USED),
        (agent(used={"cpus": 0.1, "mem": 32.0}), [], USED),
        (agent(), [], {}),
        (agent(offered=OFFERED), [], USED),
        (agent(), [offer("o-1", **OFFERED)], USED),
        (agent(offered=OFFERED), [offer("o-1", **OFFERED), offer("o-2", **OFFERED)], USED),
        (
            agent(offered={"cpus": 0.2}),
            [offer("o-1", cpus=0.1, ports="[31000-31005]"), offer("o-2", cpus=0.1, ports="[31005-31010]")],
            USED,
        ),
        (agent(agent_id="agent-2", used={}), [offer("o-1", **OFFERED)], {}),
    ],
)
def test_books_that_are_wrong_are_noticed(
    row: AgentRow, offers: list[OfferRow], used: dict[str, dict[str, int]]
) -> None:
    assert judge.books([row], offers, used)


def test_an_offer_that_nobody_holds_or_that_the_books_lack_is_noticed() -> None:
    full = agent(offered={"cpus": 0.95, "mem": 992.0})
    row = offer("o-1", cpus=0.95, mem=992.0)
    assert judge.all_is_offered([full], [row], {OfferId("o-1")}) == []
    assert judge.all_is_offered([full], [row], set()) == ["offer o-1 is in the books, and nobody holds it"]
    assert judge.all_is_offered([full], [row], {OfferId("o-1"), OfferId("o-2")}) == [
        "offer o-2 is held, and not in the books"
    ]
    assert judge.all_is_offered([agent()], [], set())


def test_an_offer_that_came_twice_is_noticed() -> None:
    again = Offered(at_ms=1, offer_ids=(OfferId("o-1"),))
    assert judge.doubled_offers(Story.of([*WELL, again])) == ["offer o-1 was delivered 2 times"]


@pytest.mark.parametrize("answers", [{}, {"a": None}, {"a": "a", "b": None}, {"a": "a", "b": "b"}])
def test_masters_that_do_not_agree_are_noticed(answers: dict[str, str | None]) -> None:
    assert judge.one_leader({"a": "a", "b": "a"}) == []
    assert judge.one_leader(answers)


def truth(tasks: dict[str, str], workers: dict[str, bool], began_ms: int = 0) -> list[str]:
    shown = {f"load/{task_id}": state for task_id, state in tasks.items()}
    return judge.flower_truth(Story.of(WELL), "load", shown, workers, ["agent-1"], began_ms=began_ms)


def test_a_flower_that_began_anew_may_have_forgotten_what_ended_and_nothing_else() -> None:
    online = {"mesolite@agent-1": True}
    assert truth({LONG: "STARTED"}, online, began_ms=1301) == []
    assert truth({LONG: "STARTED"}, online, began_ms=1300)
    assert truth({LONG: "STARTED", SHORT: "STARTED"}, online, began_ms=1301)
    assert truth({SHORT: "SUCCESS"}, online, began_ms=1301)


@pytest.mark.parametrize(
    ("tasks", "workers"),
    [
        ({SHORT: "SUCCESS"}, {"mesolite@agent-1": True}),
        ({LONG: "RECEIVED", SHORT: "SUCCESS"}, {"mesolite@agent-1": True}),
        ({LONG: "STARTED", SHORT: "STARTED"}, {"mesolite@agent-1": True}),
        ({LONG: "STARTED"}, {"mesolite@agent-1": True}),
        ({LONG: "STARTED", SHORT: "SUCCESS", TaskId("ghost"): "STARTED"}, {"mesolite@agent-1": True}),
        ({LONG: "STARTED", SHORT: "SUCCESS"}, {"mesolite@agent-1": False}),
        ({LONG: "STARTED", SHORT: "SUCCESS"}, {}),
    ],
)
def test_a_flower_that_shows_something_else_is_noticed(tasks: dict[str, str], workers: dict[str, bool]) -> None:
    assert truth({LONG: "STARTED", SHORT: "SUCCESS"}, {"mesolite@agent-1": True}) == []
    assert truth(tasks, workers)


def test_the_longest_gap_counts_starts_as_agents_saw_them() -> None:
    assert Story.of(WELL).longest_gap_ms(1000, 1900) == 700


def test_a_journal_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    JournalWriter(path).write(WELL)
    with path.open("ab") as torn:
        torn.write(b'{"type":"Launched","at_')
    JournalWriter(path).write([said(SHORT, TaskState.FINISHED)])
    assert read_journal(path) == [*WELL, said(SHORT, TaskState.FINISHED)]


def test_a_new_life_of_the_load_knows_what_runs_and_what_is_left_to_do() -> None:
    ledger = remembered([*WELL, launched(TaskId("run-short-1-1"), "short-1")], longs=2)
    ledger.come_due(4, 0.5)
    assert int(ledger.due) == 2, "what was begun before is due"
    ledger.come_due(4, 5.0)
    assert set(ledger.running) == {LONG, TaskId("run-short-1-1")}
    assert ledger.missing_longs() == ["long-1"]
    assert ledger.waiting_shorts(window=10) == ["short-2", "short-3"]
    assert ledger.waiting_shorts(window=2) == ["short-2"]
    assert ledger.next_task_id("run", "short-1") == "run-short-1-2"
