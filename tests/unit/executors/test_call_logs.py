"""Logs of calls: named, bounded in number and size, and saved from workers that died."""

from pathlib import Path

import pytest

from mesolite.executors.python import call_logs
from mesolite.executors.python.call_logs import CallLogs
from mesolite.executors.python.log_names import MAX_NAME_BYTES, log_name, task_log_name
from mesolite.executors.python.output import MAX_LOG_BYTES, cut, spool_name
from mesolite.ids import MAX_ID_LENGTH, id_error


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "calls"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("name", "file"),
    [("t1", "t1.log"), ("a.b:c@d-e_f", "a.b:c@d-e_f.log"), ("", "7.log"), ("../x", "7.log"), ("-rf", "7.log")],
)
def test_a_log_is_named_by_its_call_where_that_can_be_a_file(name: str, file: str) -> None:
    assert log_name(name, 7) == file


@pytest.mark.parametrize(
    "task_id", ["1-1", "a b", "..x", "-rf", "käse", "x" * MAX_ID_LENGTH, "a$(b)", "x" * MAX_NAME_BYTES]
)
def test_a_task_of_any_id_has_a_log_whose_name_follows_from_it(task_id: str) -> None:
    """Goal: whoever knows the id finds the log. Method: ids that files may not be called by, which would get a number."""
    assert id_error(task_id) is None
    name = task_log_name(task_id)
    assert log_name(name, 7) == f"{name}.log"
    assert len(f"{name}.log") <= 255
    assert task_log_name(f"{task_id[:-1]}y") != name


def test_the_oldest_logs_go_when_there_are_too_many(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_logs, "MAX_LOGS", 3)
    logs = CallLogs(directory.parent)
    for number in range(5):
        (directory / f"{number}.log").write_text("x")
        logs.kept("", number, 1)
    assert sorted(path.name for path in directory.iterdir()) == ["2.log", "3.log", "4.log"]


def test_the_oldest_logs_go_when_they_are_too_large(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_logs, "MAX_LOGS_BYTES", 100)
    logs = CallLogs(directory.parent)
    for number in range(3):
        (directory / f"{number}.log").write_text("x")
        logs.kept("", number, 60)
    assert [path.name for path in directory.iterdir()] == ["2.log"]


def test_a_log_that_was_written_again_is_not_removed_for_its_first_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_logs, "MAX_LOGS", 1)
    logs = CallLogs(directory.parent)
    (directory / "again.log").write_text("x")
    logs.kept("again", 1, 1)
    logs.kept("again", 2, 1)
    assert (directory / "again.log").exists()


def test_what_a_worker_printed_before_it_died_is_saved_and_an_empty_spool_is_not(directory: Path) -> None:
    logs = CallLogs(directory.parent)
    (directory / spool_name(1, 0)).write_text("last words")
    (directory / spool_name(2, 5)).touch()
    assert logs.save(1, 0, "dead", 1) == "", "nobody can ask for it"
    assert logs.save(2, 5, "silent", 2) == ""
    assert [path.name for path in directory.iterdir()] == ["dead.log"]


def test_whoever_hears_that_a_call_died_is_told_how_to_see_what_it_printed(directory: Path) -> None:
    logs = CallLogs(directory.parent, "fw/python")
    (directory / spool_name(1, 0)).write_text("last words")
    assert logs.save(1, 0, "17", 9) == "what it printed: `mesolite logs fw/python/17`"
    assert logs.save(2, 0, "18", 10) == "", "it printed nothing"


def test_a_log_is_cut_at_its_greatest_length_with_a_note(directory: Path) -> None:
    log = directory / "1.log"
    with log.open("wb") as file:
        file.truncate(3 * MAX_LOG_BYTES)
    cut(log)
    assert log.read_bytes()[MAX_LOG_BYTES:].startswith(b"\n... cut here")
    assert log.stat().st_size < MAX_LOG_BYTES + 200


def test_the_spool_of_a_long_call_is_adopted_once_it_holds_something(directory: Path) -> None:
    logs = CallLogs(directory.parent)
    spool = directory / spool_name(1, 0)
    spool.touch()
    logs.adopt(1, 0, "long", 1)
    assert spool.exists()
    spool.write_text("x")
    logs.adopt(1, 0, "long", 1)
    logs.adopt(1, 0, "long", 1)
    assert (directory / "long.log").read_text() == "x"
