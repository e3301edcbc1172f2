"""Runs are named after Celery's ids, whatever these are."""

import pytest

from mesolite.executors.python.log_names import MAX_NAME_BYTES, task_log_name
from mesolite.frameworks.celery.calls import call_name
from mesolite.ids import id_error

USUAL = "0a1b2c3d-0000-4000-8000-000000000000"


def test_a_usual_run_is_named_by_its_task_and_its_message() -> None:
    assert call_name(USUAL, "12345678-9abc", 0) == f"{USUAL}.12345678"
    assert call_name(USUAL, "12345678-9abc", 2) == f"{USUAL}.12345678.2"


@pytest.mark.parametrize("task_id", ["", "..", "a/b", "a\\b", "a\nb", "ä", "\udc80", "x" * 1_000, "-rf", "a b"])
@pytest.mark.parametrize("tag", ["", "/", "12345678-9abc", "t" * 1_000])
def test_any_text_gives_a_name_that_is_an_id_and_a_log(task_id: str, tag: str) -> None:
    names = {call_name(task_id, tag, returns) for returns in (0, 1, 1_000)}
    assert len(names) == 3
    for name in names:
        assert id_error(name) is None
        assert len(name) <= MAX_NAME_BYTES
        assert task_log_name(name) == name


def test_different_runs_have_different_names() -> None:
    runs = [
        ("a/b", "1"),
        ("a/c", "1"),
        ("a/b", "2"),
        ("a" * 500, "1"),
        ("a" * 501, "1"),
        ("a/b", "12345678x"),
        ("a/b", "12345678y"),
    ]
    assert len({call_name(task_id, tag, 0) for task_id, tag in runs}) == len(runs)
