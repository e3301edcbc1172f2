"""Every ending, under every rule that changes what it means."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery
from celery.exceptions import Reject, Retry

from mesolite.errors import ConfigError
from mesolite.executors.celery.protocol import ReportKind, TaskReport
from mesolite.executors.celery.raising import pack
from mesolite.executors.python.calls import BlockRef, End, Outcome
from mesolite.executors.python.codec import dumps, pack_raised
from mesolite.frameworks.celery.calls import Ending
from mesolite.frameworks.celery.errors import CannotRunHere, MemoryLimitExceeded, Poisoned, TaskTooLarge
from mesolite.frameworks.celery.options import OptionsBook
from mesolite.frameworks.celery.raised import exception_info
from mesolite.frameworks.celery.verdicts import (
    Failed,
    NotBegun,
    Raised,
    RaisedUnstored,
    Succeeded,
    TaskRules,
    TimedOut,
    Verdict,
    max_losses_of,
    refused_options,
    rules_of,
    verdict,
)
from mesolite.frameworks.futures.engine_call import Lost
from mesolite.frameworks.futures.errors import (
    ArgumentsTooLarge,
    CallError,
    CallKilled,
    CallLost,
    CallTimedOut,
    ImageWithoutPython,
    NotPicklable,
    OutOfMemory,
    PythonMismatch,
    TooLargeForCluster,
    WorkerDied,
)


class Named:
    """A task of which nothing is said."""

    name = "proj.work"


OPTIONS = replace(OptionsBook({"mesolite": {"mem_mib": 256}}).of(Named(), None, None), max_time_s=5.0)
EARLY = TaskRules()
LATE = TaskRules(acks_late=True)
#: Celery puts the message back when a worker was lost.
BACK = TaskRules(acks_late=True, reject_on_worker_lost=True)
#: Celery sends another message instead.
RETRIED = replace(BACK, retry_on_worker_lost=True)
ALL_RULES = (EARLY, LATE, BACK, RETRIED)

MIB = 1024 * 1024


def judged(
    ending: Ending, rules: TaskRules = EARLY, *, losses: int = 0, signum: int | None = None, withdrawn: bool = False
) -> Verdict:
    """What an ending means."""
    return verdict(ending, rules, OPTIONS, losses=losses, signum=signum, withdrawn=withdrawn)


def returned(kind: ReportKind, text: str = "", detail: bytes = b"") -> Outcome:
    """What a worker says that ran to its end."""
    return Outcome(End.RETURNED, dumps((int(kind), text, 0.5, 2048, detail)))


def raised(error: BaseException, *, traced: bool = True) -> Outcome:
    """The same, of a task that raised."""
    return returned(ReportKind.RAISED, "Traceback ...", pack(error, traced=traced, internal=False))


def failure(found: Verdict) -> BaseException:
    """The exception of a failure that is not set aside."""
    assert isinstance(found, Failed)
    assert found.aside is None
    return found.error


# What the worker says


@pytest.mark.parametrize("rules", ALL_RULES)
@pytest.mark.parametrize("signum", [None, 15])
def test_a_task_that_returned_has_succeeded_whatever_else_was_asked(rules: TaskRules, signum: int | None) -> None:
    found = judged(returned(ReportKind.SUCCEEDED, "'42'"), rules, losses=9, signum=signum, withdrawn=True)
    assert found == Succeeded("'42'", 0.5, 2048)


@pytest.mark.parametrize("error", [ValueError("no"), Retry("again"), Reject("no", requeue=True)])
def test_what_celerys_tracer_saw_and_stored_is_told_as_prefork_tells_it(error: BaseException) -> None:
    found = judged(raised(error))
    assert isinstance(found, Raised)
    info, _ = exception_info(found.report)
    assert type(info.exception) is type(error)
    assert found.peak_kib == 2048


def test_what_nobody_stored_is_a_failure_that_celery_stores() -> None:
    assert isinstance(judged(raised(ValueError("no"), traced=False)), RaisedUnstored)


def test_a_worker_that_exited_is_a_lost_worker() -> None:
    error = failure(judged(raised(SystemExit(3))))
    assert isinstance(error, WorkerLostError)
    assert "SystemExit(3)" in str(error)


def test_a_memory_error_is_a_limit_that_was_gone_over() -> None:
    error = failure(judged(raised(MemoryError())))
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.limit_mib, error.peak_mib) == (256, 2)


@pytest.mark.parametrize("kind", [ReportKind.UNKNOWN_TASK, ReportKind.NO_APP])
def test_an_image_that_cannot_run_it_is_named(kind: ReportKind) -> None:
    assert repr(failure(judged(returned(kind, "there is no such task")))) == "CannotRunHere('there is no such task')"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80",
        dumps(3),
        dumps((99, "", 0.0, 0, b"")),
        dumps((1, "", 0.0, 0, b"junk")),
        pickle.dumps(TaskReport),
        BlockRef("a", 1),
    ],
)
def test_a_report_that_cannot_be_read_is_a_lost_worker(payload: Any) -> None:
    error = failure(judged(Outcome(End.RETURNED, payload)))
    assert isinstance(error, WorkerLostError), "Celery looks then whether a result was stored"
    assert "report cannot be read" in str(error)


def test_an_entry_that_raised_says_what() -> None:
    error = failure(judged(Outcome(End.RAISED, pack_raised(None, "ImportError", "no module named celery", ""))))
    assert isinstance(error, CannotRunHere)
    assert "ImportError: no module named celery" in str(error)
    assert "no more is known" in str(failure(judged(Outcome(End.RAISED, b"junk"))))
    assert isinstance(failure(judged(Outcome(End.UNPICKLABLE, message="no module"))), CannotRunHere)


# Lost workers

LOSSES: tuple[Ending, ...] = (
    Lost("1.1@a", True, "the agent is gone"),
    Lost("1.1@a", False, "the agent is gone"),
    Outcome(End.DIED, message="SIGSEGV"),
    Outcome(End.BLOCK_LOST, message="gone"),
    Outcome(End.TOO_LARGE, message="too large"),
    CallLost("it was lost"),
    WorkerDied("it died"),
    CallError("its end cannot be read"),
)


@pytest.mark.parametrize("ending", LOSSES)
@pytest.mark.parametrize("rules", [EARLY, LATE, RETRIED])
@pytest.mark.parametrize("losses", [0, 99])
def test_a_lost_worker_is_celerys_own_error_however_often(ending: Ending, rules: TaskRules, losses: int) -> None:
    error = failure(judged(ending, rules, losses=losses))
    assert type(error) is WorkerLostError, "callers without Mesolite know it"
    assert str(error).startswith("Worker exited prematurely: ")


@pytest.mark.parametrize("ending", [*LOSSES, Outcome(End.OUT_OF_MEMORY, limit_bytes=64 * MIB, peak_bytes=65 * MIB)])
@pytest.mark.parametrize(("losses", "is_aside"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_message_that_would_go_back_for_ever_is_set_aside(ending: Ending, losses: int, is_aside: bool) -> None:
    found = judged(ending, BACK, losses=losses)
    assert isinstance(found, Failed)
    if is_aside:
        assert isinstance(found.error, Poisoned)
        assert not isinstance(found.error, WorkerLostError), "Celery would put it back"
        assert found.aside is not None
        assert found.aside.startswith(f"{losses + 1} times a worker was lost under it; the last time: ")
    else:
        assert isinstance(found.error, WorkerLostError)
        assert found.aside is None


def test_how_many_losses_are_too_many_is_a_setting() -> None:
    assert isinstance(failure(judged(LOSSES[0], replace(BACK, max_losses=9), losses=7)), WorkerLostError)
    found = judged(LOSSES[0], replace(BACK, max_losses=1))
    assert isinstance(found, Failed)
    assert isinstance(found.error, Poisoned)
    assert (max_losses_of(None), max_losses_of(5)) == (3, 5)
    for wrong in (0, -1, "3", True, 1.5, 1001):
        with pytest.raises(ConfigError, match="mesolite_max_losses is"):
            max_losses_of(wrong)


# Limits


@pytest.mark.parametrize("rules", [EARLY, LATE, BACK, RETRIED])
@pytest.mark.parametrize(
    "ending",
    [
        Outcome(End.OUT_OF_MEMORY, limit_bytes=304 * MIB, peak_bytes=303 * MIB + 1),
        OutOfMemory("", limit_bytes=304 * MIB, peak_bytes=303 * MIB + 1),
    ],
)
def test_a_task_over_its_memory_limit_says_limit_and_peak(ending: Ending, rules: TaskRules) -> None:
    error = failure(judged(ending, rules))
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.limit_mib, error.peak_mib) == (256, 304), "what the container has beyond it is its executor's"
    assert "its memory limit of 256 MiB, 304 MiB were seen" in str(error)


def test_a_limit_that_is_not_known_is_what_the_task_was_given() -> None:
    error = failure(judged(Outcome(End.OUT_OF_MEMORY)))
    assert isinstance(error, MemoryLimitExceeded)
    assert str(error) == "it went over its memory limit of 256 MiB"


@pytest.mark.parametrize("ending", [Outcome(End.TIMED_OUT, ran_us=5_100_000), CallTimedOut()])
@pytest.mark.parametrize("rules", [EARLY, LATE, BACK, RETRIED, TaskRules(acks_on_timeout=False)])
def test_a_task_over_its_time_limit_has_timed_out(ending: Ending, rules: TaskRules) -> None:
    assert judged(ending, rules, losses=99) == TimedOut(5.0)


@pytest.mark.parametrize(("losses", "is_aside"), [(0, False), (2, True)])
def test_a_message_that_would_go_back_after_each_timeout_is_set_aside_in_the_end(losses: int, is_aside: bool) -> None:
    found = judged(Outcome(End.TIMED_OUT), TaskRules(acks_late=True, acks_on_timeout=False), losses=losses)
    assert isinstance(found, Failed if is_aside else TimedOut)


# Ended by somebody


@pytest.mark.parametrize("rules", ALL_RULES)
@pytest.mark.parametrize("withdrawn", [False, True])
@pytest.mark.parametrize(
    "ending",
    [
        *LOSSES,
        Outcome(End.CANCELLED),
        Outcome(End.CANCELLED, begun=False),
        Outcome(End.OUT_OF_MEMORY),
        CallKilled(),
    ],
)
def test_what_was_told_to_end_is_terminated_by_that_signal(ending: Ending, rules: TaskRules, withdrawn: bool) -> None:
    error = failure(judged(ending, rules, losses=99, signum=9, withdrawn=withdrawn))
    assert isinstance(error, Terminated)
    assert str(error) == "9"


def test_what_an_operator_killed_is_terminated_too() -> None:
    for ending in (Outcome(End.CANCELLED), CallKilled()):
        error = failure(judged(ending))
        assert isinstance(error, Terminated)
        assert str(error) == "15"


@pytest.mark.parametrize("withdrawn", [False, True])
@pytest.mark.parametrize("rules", ALL_RULES)
@pytest.mark.parametrize(
    "ending", [Outcome(End.CANCELLED, begun=False), Outcome(End.REFUSED, begun=False), Outcome(End.REFUSED)]
)
def test_what_did_not_begin_has_no_end(ending: Ending, rules: TaskRules, withdrawn: bool) -> None:
    assert isinstance(judged(ending, rules, withdrawn=withdrawn), NotBegun)


def test_what_a_stopping_dispatcher_ends_is_a_lost_worker() -> None:
    assert isinstance(failure(judged(Outcome(End.CANCELLED), withdrawn=True)), WorkerLostError)


# What cannot be run


@pytest.mark.parametrize("rules", ALL_RULES)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TooLargeForCluster("the largest agent has cpus:2"), TaskTooLarge),
        (PythonMismatch("3.9"), CannotRunHere),
        (ImageWithoutPython("no python"), CannotRunHere),
        (ArgumentsTooLarge("too large"), CannotRunHere),
        (NotPicklable("a lock"), CannotRunHere),
    ],
)
def test_what_cannot_be_run_fails_with_the_reason(error: CallError, expected: type, rules: TaskRules) -> None:
    found = failure(judged(error, rules, losses=99))
    assert type(found) is expected
    assert str(found) == str(error)


def test_a_message_that_asks_for_nonsense_fails_with_what_was_wrong() -> None:
    assert repr(failure(refused_options(ConfigError("cpus is 'many'")))) == "CannotRunHere(\"cpus is 'many'\")"


# Celery's words


def test_the_rules_are_those_of_the_registered_task() -> None:
    app = Celery("proj", set_as_current=False)
    app.conf.task_acks_late = True

    def nothing() -> None: ...

    task: Any = app.task(name="proj.late", reject_on_worker_lost=True, acks_on_timeout=False)(nothing)
    app.finalize()
    assert rules_of(app.tasks[task.name], 5) == TaskRules(
        acks_late=True, reject_on_worker_lost=True, acks_on_timeout=False, max_losses=5
    )


ERRORS = (
    MemoryLimitExceeded("it went over its limit of 64 MiB", 64, 65),
    CannotRunHere("no application"),
    TaskTooLarge("too large"),
    Poisoned("3 times"),
)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_every_error_comes_back_as_it_was_where_its_class_is_known(error: Any, serializer: str) -> None:
    app = Celery("proj", set_as_current=False, backend="cache+memory://")
    app.conf.update(result_serializer=serializer, accept_content=["json", "pickle"])
    backend = app.backend
    stored = backend.decode(backend.encode(backend.prepare_exception(error)))
    found = backend.exception_to_python(stored)
    assert type(found) is type(error)
    assert (found.args, str(found)) == (error.args, str(error))


WITHOUT_MESOLITE = """
import sys
sys.meta_path.insert(0, type("Nothing", (), {"find_spec": staticmethod(lambda name, *_: (_ for _ in ()).throw(
    ImportError(name)) if name.startswith("mesolite") else None)}))
import json, pickle
from billiard.exceptions import WorkerLostError
from celery import Celery
pickled, stored = eval(sys.stdin.read())
backend = Celery("proj", backend="cache+memory://").backend
for found in pickle.loads(pickled), backend.exception_to_python(stored):
    print(json.dumps([type(found).__name__, list(found.args), isinstance(found, WorkerLostError)]))
"""


@pytest.mark.parametrize("error", ERRORS)
def test_a_caller_without_mesolite_sees_the_same_name_and_texts(error: Any) -> None:
    backend = Celery("proj", set_as_current=False, backend="cache+memory://").backend
    said = repr((pickle.dumps(error), backend.prepare_exception(error, "json")))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MESOLITE], input=said, capture_output=True, text=True, timeout=60, check=True
    )
    from_pickle, from_json = (json.loads(line) for line in done.stdout.splitlines())
    assert from_pickle == [type(error).__name__, list(error.args), isinstance(error, WorkerLostError)]
    assert from_json == [type(error).__name__, list(error.args), False]
