"""What a task raised, from the worker's pickle to the dispatcher's `ExceptionInfo`."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import UnpickleableExceptionWrapper

from mesolite.executors.celery.protocol import (
    ENTRY_MODULE,
    ENTRY_NAME,
    How,
    Raised,
    ReportKind,
    TaskReport,
    TaskRun,
)
from mesolite.executors.celery.raising import MAX_PICKLED_BYTES, MAX_SHOWN_LENGTH, pack
from mesolite.executors.python.codec import BadBytes, dumps
from mesolite.frameworks.celery.raised import exception_info, exception_of
from mesolite.frameworks.celery.task_function import ENTRY, arguments, raised_of, report_of


class OfImage(Exception):
    """What the dispatcher is made not to know, where a test wants that."""


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


def there_and_back(error: BaseException, **options: Any) -> tuple[Any, Raised]:
    values = {"traced": True, "internal": False, **options}
    detail = pack(error, **values)
    return exception_info(TaskReport(ReportKind.RAISED, "Traceback ...", 0.5, 1000, detail))


def unknown_here(error: BaseException) -> Raised:
    """What comes from an image whose classes the dispatcher cannot import."""
    _, raised = there_and_back(error)
    return raised._replace(pickled=raised.pickled.replace(b"OfImage", b"NotHere"))


def test_an_exception_comes_back_as_itself_with_its_traceback_as_text() -> None:
    info, raised = there_and_back(OfImage("why", 3))
    assert isinstance(info.exception, OfImage)
    assert info.exception.args == ("why", 3)
    assert (info.type, info.traceback, info.internal, info.tb) == (OfImage, "Traceback ...", False, None)
    assert (raised.how, raised.traced) == (How.FAILED, True)
    assert str(info) == "Traceback ..."


def test_one_whose_class_is_unknown_here_looks_the_same() -> None:
    error = exception_of(unknown_here(OfImage("why", 3)))
    assert type(error).__name__ == "OfImage"
    assert type(error).__module__ == OfImage.__module__
    assert repr(error) == str(error) == "OfImage('why', 3)"


def test_one_that_cannot_be_pickled_is_what_celery_makes_of_it() -> None:
    info, _ = there_and_back(Stubborn("no"))
    assert isinstance(info.exception, UnpickleableExceptionWrapper)
    assert info.exception.exc_cls_name == "Stubborn"


def test_one_that_is_too_large_is_left_behind_and_shown() -> None:
    info, raised = there_and_back(ValueError("x" * 2 * MAX_PICKLED_BYTES))
    assert raised.pickled == b""
    assert type(info.exception).__name__ == "ValueError"
    assert repr(info.exception).startswith("ValueError('xxx")
    assert MAX_SHOWN_LENGTH < len(repr(info.exception)) < MAX_SHOWN_LENGTH + 100


@pytest.mark.parametrize("error", [Retry(exc=OfImage("a"), when=3), Retry("again")])
def test_a_retry_is_a_retry_whether_its_reason_is_known_here_or_not(error: Any) -> None:
    for found in (there_and_back(error)[0].exception, exception_of(unknown_here(error))):
        assert isinstance(found, Retry)
        assert repr(vars(found)["exc"]) == repr(error.exc)


def test_a_rejection_says_whether_to_requeue_even_where_its_reason_is_too_large() -> None:
    for reason in ("no", "x" * 2 * MAX_PICKLED_BYTES):
        info, raised = there_and_back(Reject(reason, requeue=True))
        assert raised.how is How.REJECTED
        assert isinstance(info.exception, Reject)
        assert vars(info.exception)["requeue"] is True


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (Ignore(), How.IGNORED),
        (SystemExit(3), How.EXITED),
        (KeyboardInterrupt(), How.EXITED),
    ],
)
def test_what_is_no_failure_keeps_its_class(error: BaseException, how: How) -> None:
    info, raised = there_and_back(error, traced=False)
    assert (raised.how, raised.traced) == (how, False)
    assert type(info.exception) is type(error)
    likeness = exception_of(raised._replace(pickled=b""))
    assert isinstance(likeness, type(error).__mro__[0 if how is not How.EXITED else 1])


def test_a_memory_error_of_a_task_is_none_of_the_dispatchers() -> None:
    """Celery's requests raise one again, and `celery worker` ends by it; it is to be seen, and nothing more."""
    info, raised = there_and_back(MemoryError("much"))
    assert raised.how is How.OUT_OF_MEMORY
    assert not isinstance(info.exception, MemoryError)
    assert (info.type.__name__, info.type.__module__, repr(info.exception)) == (
        "MemoryError",
        "builtins",
        "MemoryError('much')",
    )


def test_a_pickle_that_makes_something_else_than_was_said_is_not_believed(tmp_path: Path) -> None:
    raised = Raised(How.REJECTED, True, False, "celery.exceptions", "Reject", "no", False, pickle.dumps(tmp_path))
    found = exception_of(raised)
    assert isinstance(found, Reject)


def test_a_report_is_read_from_what_the_entry_returns_and_from_nothing_else() -> None:
    assert report_of(pickle.dumps((0, "4", 0.25, 2000, b""), 5)) == TaskReport(ReportKind.SUCCEEDED, "4", 0.25, 2000)
    for other in (b"", pickle.dumps((9, "4", 0.25, 2000, b"")), pickle.dumps(("4",)), pickle.dumps(Path())):
        with pytest.raises(BadBytes):
            report_of(other)


def test_details_that_are_none_are_refused() -> None:
    for detail in (b"", dumps((1, 2)), dumps((77, True, False, "m", "C", "C()", False, b""))):
        with pytest.raises(BadBytes):
            raised_of(TaskReport(ReportKind.RAISED, "", 0.0, 0, detail))


def test_the_entry_is_named_as_the_bundle_has_it_and_takes_the_fields_of_a_run() -> None:
    assert isinstance(ENTRY.pickled, bytes)
    assert f"{ENTRY_MODULE}\n{ENTRY_NAME}".encode() in ENTRY.pickled
    run = TaskRun("proj.add", "id", {"id": "id"}, b"[[1], {}, {}]", "application/json", "utf-8", 2.5)
    assert pickle.loads(arguments(run)) == (tuple(run), {})
