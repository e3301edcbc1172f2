"""Workers that run Celery tasks: real processes forked from a zygote with the application loaded, a real Redis behind them."""

import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.exceptions import Reject, Retry

from mesolite.executors.celery import protocol
from mesolite.executors.celery.protocol import How, ReportKind, TaskReport
from mesolite.executors.python.calls import End
from mesolite.executors.python.preload import VARIABLE
from mesolite.frameworks.celery.raised import exception_info
from mesolite.frameworks.celery.task_function import raised_of
from tests.integration.call_rig import runs
from tests.integration.celery_rig import APPS, NODE, CeleryRig, celery_rig
from tests.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
def rig(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CeleryRig]:
    with celery_rig(
        tmp_path, redis_url, monkeypatch, environment={"PARITY_GOODBYES": str(tmp_path / "goodbyes")}
    ) as rig:
        yield rig


def rules(**values: int) -> dict[str, str]:
    return {protocol.RECYCLE_VARIABLE: json.dumps(values)}


def refused(sandbox: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> TaskReport:
    """What a worker says that has no application."""
    with celery_rig(sandbox, redis_url, monkeypatch, environment=environment) as rig:
        return rig.run("parity.add", 1, 2).report


# What a report says


def test_a_task_that_returns_is_told_by_its_text_its_time_and_the_workers_peak(rig: CeleryRig) -> None:
    ran = rig.run("parity.add", 1, 2)
    assert (ran.report.kind, ran.report.text, ran.report.detail) == (ReportKind.SUCCEEDED, "3", b"")
    assert 0 < ran.report.runtime_s < 5
    assert 10_000 < ran.report.peak_kib < 1_000_000


def test_a_result_is_shown_as_events_show_it_and_no_longer(rig: CeleryRig) -> None:
    assert len(rig.run("parity.large", 100_000).report.text) <= 1100


def test_what_a_task_raised_comes_back_with_its_class_and_the_traceback_of_the_backend(rig: CeleryRig) -> None:
    ran = rig.run("parity.fail", "why")
    info, raised = exception_info(ran.report)
    assert (raised.how, raised.traced, raised.class_name, raised.shown) == (
        How.FAILED,
        True,
        "Unlucky",
        "Unlucky('why', 7)",
    )
    assert repr(info.exception) == "Unlucky('why', 7)"
    assert info.traceback == (rig.meta(ran.task_id) or {})["traceback"]


def test_a_retry_is_sent_by_the_worker_itself_and_told_with_its_reason(rig: CeleryRig) -> None:
    ran = rig.run("parity.try_again")
    info, _ = exception_info(ran.report)
    assert isinstance(info.exception, Retry)
    assert repr(vars(info.exception)["exc"]) == "Unlucky('this time')"
    (again,) = rig.take_all()
    assert (again.task_id, again.request["retries"]) == (ran.task_id, 1)


@pytest.mark.parametrize("requeue", [False, True])
def test_a_rejection_says_whether_the_message_is_to_be_requeued(rig: CeleryRig, requeue: bool) -> None:
    info, raised = exception_info(rig.run("parity.reject", requeue).report)
    assert isinstance(info.exception, Reject)
    assert (raised.how, vars(info.exception)["requeue"]) == (How.REJECTED, requeue)


def test_a_task_that_ignores_leaves_the_state_that_it_set(rig: CeleryRig) -> None:
    ran = rig.run("parity.ignore")
    assert raised_of(ran.report).how is How.IGNORED
    assert (rig.meta(ran.task_id) or {})["status"] == "HALFWAY"


def test_a_memory_error_fails_its_task_where_it_would_end_celerys_worker(rig: CeleryRig) -> None:
    ran = rig.run("parity.no_memory")
    assert raised_of(ran.report)[:2] == (How.OUT_OF_MEMORY, True)
    assert (rig.meta(ran.task_id) or {})["result"]["exc_type"] == "MemoryError"
    assert rig.run("parity.add", 1, 2).report.text == "3"


def test_a_content_type_that_the_application_refuses_is_for_the_dispatcher_to_fail(rig: CeleryRig) -> None:
    run = rig.send("parity.add", 1, 2, serializer="pickle")
    ran = rig.wait(rig.give(run))
    raised = raised_of(ran.report)
    assert (raised.how, raised.traced, raised.class_name) == (How.FAILED, False, "ContentDisallowed")
    assert rig.meta(ran.task_id) is None


def test_a_result_that_is_too_large_fails_its_task_and_says_the_setting(rig: CeleryRig) -> None:
    ran = rig.run("parity.large", 2 * 1024 * 1024)
    assert raised_of(ran.report).class_name == "EncodeError"
    result = (rig.meta(ran.task_id) or {})["result"]
    assert "mesolite_max_result_mib allows 1,048,576" in result["exc_message"][0]


def test_started_names_the_dispatchers_node_and_the_workers_own_process(rig: CeleryRig) -> None:
    key = rig.give(run := rig.send("parity.nap", 0.2))
    rig.calls.until(lambda: (rig.meta(run.task_id) or {}).get("status") == "STARTED")
    result = (rig.meta(run.task_id) or {})["result"]
    assert (result["hostname"], result["pid"]) == (NODE, rig.calls.pids()[0])
    assert rig.wait(key).report.text == "'slept'"


def test_the_next_link_of_a_chain_is_sent_and_children_are_in_the_result(rig: CeleryRig) -> None:
    link = {"task": "parity.add", "args": [10], "kwargs": {}, "options": {"queue": rig.queue}}
    ran = rig.run("parity.add", 1, 2, link=[link])
    (follower,) = rig.take_all()
    assert json.loads(follower.body)[0] == [3, 10]
    children = (rig.meta(ran.task_id) or {})["children"]
    assert [child[0][0] for child in children] == [follower.task_id]


# Processes


def test_signals_come_as_in_a_prefork_child_and_in_its_parent(rig: CeleryRig) -> None:
    rig.run("parity.add", 1, 2)
    ran = rig.run("parity.heard")
    assert (rig.meta(ran.task_id) or {})["result"] == [
        "worker_init True",
        f"worker_process_init {NODE}",
        "task_prerun",
        "task_postrun SUCCESS",
    ]


def test_a_worker_is_kept_with_the_thread_the_module_and_the_variable_that_a_task_left(rig: CeleryRig) -> None:
    rig.run("parity.keep", "word", "yes")
    ran = rig.run("parity.kept", "word")
    assert (rig.meta(ran.task_id) or {})["result"] == ["yes", "yes", rig.calls.pids()[0]]


def test_tasks_run_where_the_application_lies(rig: CeleryRig) -> None:
    ran = rig.run("parity.where")
    assert (rig.meta(ran.task_id) or {})["result"]["cwd"] == str(APPS)


def test_what_a_task_prints_and_logs_is_in_the_log_of_its_run_alone(rig: CeleryRig) -> None:
    keys = [rig.give(rig.send("parity.say", text)) for text in ("first words", "second words")]
    for key in keys:
        rig.wait(key)
    first, second = (rig.log_of(key) for key in keys)
    assert "WARNING" in first
    assert "first words" in first
    assert "second words" not in first
    assert "second words" in second


def test_a_worker_that_leaves_idle_says_goodbye(rig: CeleryRig, tmp_path: Path) -> None:
    rig.run("parity.add", 1, 2)
    rig.calls.runner.stop(rig.calls.loop.stop)
    rig.calls.loop.run()
    assert (tmp_path / "goodbyes").read_text() == f"{NODE} True\n"


def test_a_worker_whose_task_raised_systemexit_is_replaced(rig: CeleryRig, tmp_path: Path) -> None:
    rig.run("parity.quiet")
    (before,) = rig.calls.pids()
    ran = rig.run("parity.leave", 3)
    assert raised_of(ran.report)[:2] == (How.EXITED, False)
    assert isinstance(exception_info(ran.report)[0].exception, SystemExit)
    assert rig.run("parity.add", 1, 2).report.text == "3"
    assert before not in rig.calls.pids()
    assert (tmp_path / "goodbyes").read_text() == f"{NODE} True\n"


@pytest.mark.parametrize(
    ("task", "says"),
    [("parity.die", "exited with code 5"), ("parity.crash", "SIGSEGV"), ("parity.close_all", "descriptors")],
)
def test_a_task_that_takes_its_worker_with_it_is_a_death_and_the_next_task_finds_another(
    rig: CeleryRig, task: str, says: str
) -> None:
    ran = rig.run(task)
    assert ran.outcome.end is End.DIED
    assert says in ran.outcome.message
    assert rig.run("parity.add", 1, 2).report.text == "3"


def test_a_task_may_fork(rig: CeleryRig) -> None:
    assert rig.run("parity.fork").report.text == "9"


def test_a_hard_limit_ends_the_worker_and_the_run_alone(rig: CeleryRig) -> None:
    ran = rig.wait(rig.give(rig.send("parity.nap", 60), timeout_ms=100))
    assert ran.outcome.end is End.TIMED_OUT
    assert rig.run("parity.add", 1, 2).report.text == "3"


# Soft limits


def test_a_soft_limit_is_raised_in_the_task(rig: CeleryRig) -> None:
    ran = rig.run("parity.nap", 60, soft_limit_s=0.1)
    assert raised_of(ran.report).class_name == "SoftTimeLimitExceeded"
    meta = rig.meta(ran.task_id) or {}
    assert (meta["status"], meta["result"]["exc_type"]) == ("FAILURE", "SoftTimeLimitExceeded")


def test_a_task_may_tidy_up_at_its_soft_limit_and_succeed(rig: CeleryRig) -> None:
    ran = rig.run("parity.nap", 60, True, soft_limit_s=0.1)
    assert ran.report.text == "'tidied up'"


def test_a_task_within_its_soft_limit_does_not_hear_of_it_nor_does_the_next(rig: CeleryRig) -> None:
    assert rig.run("parity.add", 1, 2, soft_limit_s=0.2).report.text == "3"
    assert rig.run("parity.nap", 0.5).report.text == "'slept'"
    assert rig.run("parity.nap", 0.4, soft_limit_s=30).report.text == "'slept'"


def test_sigalrm_is_the_tasks_own(rig: CeleryRig) -> None:
    assert rig.run("parity.alarm", 0.05, soft_limit_s=30).report.text == "'rung'"


def test_tasks_that_end_about_at_their_soft_limit_end_in_one_way_each(rig: CeleryRig) -> None:
    """Whichever comes first, the report and the backend say the same, and none hears of the limit of another."""
    for step in range(60):
        ran = rig.run("parity.nap", 0.03, soft_limit_s=0.02 + step * 0.0005)
        status = (rig.meta(ran.task_id) or {})["status"]
        if ran.report.kind is ReportKind.SUCCEEDED:
            assert (ran.report.text, status) == ("'slept'", "SUCCESS")
        else:
            assert (raised_of(ran.report).class_name, status) == ("SoftTimeLimitExceeded", "FAILURE")
    assert rig.run("parity.nap", 0.1).report.text == "'slept'"


# Recycling


def test_a_worker_is_replaced_after_as_many_tasks_as_it_may_run(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with celery_rig(tmp_path, redis_url, monkeypatch, environment=rules(max_tasks=2)) as rig:
        pids = [(rig.meta(rig.run("parity.where").task_id) or {})["result"]["pid"] for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_a_worker_that_holds_too_much_is_replaced_after_its_task(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with celery_rig(tmp_path, redis_url, monkeypatch, environment=rules(max_mem_mib=300)) as rig:
        assert rig.run("parity.add", 1, 2).report.text == "3"
        (before,) = rig.calls.pids()
        assert rig.run("parity.add", 1, 2).report.text == "3"
        assert rig.calls.pids() == [before]
        assert rig.run("parity.hoard", 400).report.text == "400"
        eventually(lambda: not runs(before))
        assert rig.run("parity.add", 1, 2).report.text == "3"


def test_a_worker_that_keeps_what_it_loaded_is_not_replaced_for_it(rig: CeleryRig) -> None:
    assert rig.run("parity.hoard", 300).report.text == "300"
    (before,) = rig.calls.pids()
    looks = rig.calls.loop.now_ms() + 2_500
    rig.calls.until(lambda: rig.calls.loop.now_ms() > looks)
    assert rig.calls.pids() == [before]


# Where nothing can run


def test_a_task_that_the_application_lacks_is_told_with_names_like_it(rig: CeleryRig) -> None:
    report = rig.run("parity.ad").report
    assert report.kind is ReportKind.UNKNOWN_TASK
    assert "Did you mean parity.add" in report.text
    assert rig.run("parity.add", 1, 2).report.text == "3"


def test_an_application_that_is_not_there_is_told_with_where_it_was_looked_for(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = refused(tmp_path, redis_url, monkeypatch, MESOLITE_CELERY_APP="no_such_app")
    assert report.kind is ReportKind.NO_APP
    assert "No module named 'no_such_app'" in report.text
    assert str(APPS) in report.text


def test_an_application_that_breaks_when_imported_is_told_with_its_traceback(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "leaves.py").write_text("import sys\nsys.exit('no DATABASE_URL')\n")
    report = refused(tmp_path, redis_url, monkeypatch, MESOLITE_CELERY_APP="leaves", MESOLITE_CELERY_PATH=str(folder))
    assert report.kind is ReportKind.NO_APP
    assert "SystemExit: no DATABASE_URL" in report.text
    assert 'leaves.py", line 2' in report.text


def test_an_application_that_ends_whoever_imports_it_costs_each_task_a_worker_and_nothing_more(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "ends.py").write_text("import os\nos._exit(4)\n")
    environment = {protocol.APP_VARIABLE: "ends", protocol.PATH_VARIABLE: str(folder)}
    with celery_rig(tmp_path, redis_url, monkeypatch, environment=environment) as rig:
        for _ in range(3):
            ran = rig.run("parity.add", 1, 2)
            assert (ran.outcome.end, "exited with code 4" in ran.outcome.message) == (End.DIED, True), ran.outcome


def test_an_application_whose_needs_are_met_later_is_loaded_then(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesolite.executors.celery.entry.RETRY_AFTER_S", 0.1)
    folder, needed = tmp_path / "app", tmp_path / "needed"
    folder.mkdir()
    (folder / "late.py").write_text(
        f"from pathlib import Path\nPath({str(needed)!r}).read_text()\nfrom parity_tasks import app\n"
    )
    environment = {protocol.APP_VARIABLE: "late", protocol.PATH_VARIABLE: f"{folder}:{APPS}"}
    with celery_rig(tmp_path, redis_url, monkeypatch, environment=environment) as rig:
        report = rig.run("parity.add", 1, 2).report
        assert (report.kind, "FileNotFoundError" in report.text) == (ReportKind.NO_APP, True)
        needed.touch()
        assert eventually(lambda: rig.run("parity.add", 1, 2).report.kind is ReportKind.SUCCEEDED)


def test_something_else_than_an_application_is_none(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = refused(tmp_path, redis_url, monkeypatch, MESOLITE_CELERY_APP="parity_tasks:KEPT")
    assert (report.kind, "is a dict, no Celery application" in report.text) == (ReportKind.NO_APP, True)


def test_another_major_version_of_celery_is_refused(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = refused(tmp_path, redis_url, monkeypatch, MESOLITE_CELERY_VERSION="4.4.7")
    assert report.kind is ReportKind.NO_APP
    assert "the dispatcher has 4.4.7" in report.text


def test_rules_that_cannot_be_read_are_said_so(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = refused(tmp_path, redis_url, monkeypatch, MESOLITE_CELERY_RECYCLE='{"max_tasks": -1}')
    assert (report.kind, "max_tasks is a number from 0" in report.text) == (ReportKind.NO_APP, True)


def test_a_worker_without_anything_preloaded_loads_the_application_with_its_first_task(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with celery_rig(tmp_path, redis_url, monkeypatch, environment={VARIABLE: ""}) as rig:
        assert rig.run("parity.add", 1, 2).report.text == "3"


def test_a_module_that_cannot_be_preloaded_leaves_an_executor_that_works(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with celery_rig(tmp_path, redis_url, monkeypatch, environment={VARIABLE: "no.such.module"}) as rig:
        assert rig.run("parity.add", 1, 2).report.text == "3"
    assert "no.such.module cannot be loaded" in capfd.readouterr().err


def test_workers_share_the_application_with_their_zygote(rig: CeleryRig) -> None:
    """A worker of its own would hold some 40 MiB of Celery alone."""
    rig.run("parity.add", 1, 2)
    (pid,) = rig.calls.pids()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private"))
    assert private < 24 * 1024, f"{private} KiB of its own"
    assert os.getppid() != pid


def test_replacing_a_worker_takes_milliseconds(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with celery_rig(tmp_path, redis_url, monkeypatch, environment=rules(max_tasks=1)) as rig:
        rig.run("parity.quiet")
        ran_us = [rig.run("parity.quiet").outcome.ran_us for _ in range(10)]
    assert statistics.median(ran_us) < 200_000
