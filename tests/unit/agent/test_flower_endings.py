"""Ends of tasks, kept for an agent's next life."""

from pathlib import Path

import pytest

from mesolite.agent import flower_endings
from mesolite.agent.flower_endings import Endings
from mesolite.agent.flower_ledger import KnownTask, TaskLedger
from mesolite.agent.flower_tasks import TaskEnding, TaskView
from mesolite.ids import FrameworkId, TaskId


def ended(name: str) -> KnownTask:
    view = TaskView(
        task_id=TaskId(name),
        framework_id=FrameworkId("f"),
        framework_name="f",
        name=name,
        command="true",
        resources_milli=(("cpus", 100),),
    )
    ending = TaskEnding(outcome="failed", ended_s=12.5, exit_code=3, reason="COMMAND_EXECUTOR_FAILED", message="exit 3")
    return KnownTask(view=view, received_s=10.0, started_s=11.0, ending=ending)


def test_the_next_life_knows_the_ends_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "endings"
    assert Endings(path).load() == []
    former = Endings(path)
    former.add(ended("a"))
    former.add(ended("b"))
    assert Endings(path).load() == [ended("a"), ended("b")]
    ledger = TaskLedger(lambda: 20.0)
    for task in Endings(path).load():
        ledger.remember(task)
    assert ledger.to_repeat(12.0) == ["f/b", "f/a"]
    assert ledger.to_repeat(13.0) == [], "what ended long ago is not said again"
    assert sum(ledger.totals().values()) == 0


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "endings"
    Endings(path).add(ended("a"))
    path.write_bytes(path.read_bytes() + b'{"view": {"task_id": "b"')
    assert Endings(path).load() == [ended("a")]


def test_the_file_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_endings, "MAX_LINES", 8)
    monkeypatch.setattr(flower_endings, "MAX_ENDED_TASKS", 2)
    path = tmp_path / "endings"
    endings = Endings(path)
    for number in range(20):
        endings.add(ended(str(number)))
        assert len(path.read_bytes().splitlines()) <= 8
    assert [task.view.task_id for task in Endings(path).load()] == ["18", "19"]


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    endings = Endings(tmp_path / "no" / "such" / "folder")
    endings.add(ended("a"))
    assert endings.load() == []
