"""`celery worker` without the rest of Celery's commands: what its root does for it is done."""

import os
import subprocess
import sys
from typing import Any

import celery
import celery.signals
import click
import pytest
from celery.bin.worker import worker

from mesolite.frameworks.celery import command_line


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the worker was started with."""
    given: dict[str, Any] = {}

    class _Worker:
        exitcode = 0

        def __init__(self, **options: Any) -> None:
            given.update(options)

        def start(self) -> None:
            given["started"] = True

    monkeypatch.setattr(worker, "params", list(worker.params))
    given["app"] = celery.Celery("shop", set_as_current=False)
    given["app"].Worker = _Worker
    for name in ("BROKER_URL", "CELERY_BROKER_URL", "NO_COLOR", "CELERY_SKIP_CHECKS", "SKIP_CHECKS"):
        monkeypatch.delenv(name, raising=False)
    # What a command writes there is to go with the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return given


def _start(given: dict[str, Any], *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.celery_root.main(["worker", *arguments], auto_envvar_prefix="CELERY", obj=given["app"])
    assert not ended.value.code


def test_options_of_celerys_worker_are_read_as_celery_reads_them(started: dict[str, Any]) -> None:
    _start(started, "--concurrency", "7", "-Q", "a,b", "--without-gossip", "-l", "info")
    assert started["started"]
    assert started["concurrency"] == 7
    assert started["queues"] == ["a", "b"]
    assert started["without_gossip"]
    assert started["loglevel"] == 20


def test_variables_of_celery_hold(started: dict[str, Any]) -> None:
    os.environ |= {
        "BROKER_URL": "redis://elsewhere/3",
        "NO_COLOR": "1",
        "SKIP_CHECKS": "1",
        "CELERY_WORKER_CONCURRENCY": "3",
    }
    _start(started)
    assert os.environ["CELERY_BROKER_URL"] == "redis://elsewhere/3"
    assert os.environ["CELERY_SKIP_CHECKS"] == "true"
    assert started["no_color"]
    assert started["concurrency"] == 3


def test_options_of_the_application_are_given_to_the_worker_and_to_who_listens(started: dict[str, Any]) -> None:
    app = started["app"]
    app.user_options["worker"].add(click.Option(["--shop"]))
    app.user_options["preload"].add(click.Option(["--land"]))
    heard: list[dict[str, Any]] = []

    def hear(options: dict[str, Any], **_: Any) -> None:
        heard.append(options)

    celery.signals.user_preload_options.connect(hear)
    try:
        _start(started, "--shop", "corner", "--land", "at")
    finally:
        celery.signals.user_preload_options.disconnect(hear)
    assert started["shop"] == "corner"
    assert heard == [{"land": "at"}]


def test_other_commands_and_their_plugins_are_not_imported() -> None:
    """They would be a quarter of a dispatcher's memory."""
    read = "import sys, mesolite.frameworks.celery.starting as _; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True).stdout.split()
    assert "celery.bin.worker" in modules
    assert not {"celery.bin.celery", "flower", "prompt_toolkit", "pygments", "rich", "tornado"}.intersection(modules)


def test_what_was_hidden_from_celery_can_be_imported_by_an_application() -> None:
    read = "import mesolite.frameworks.celery.starting as _, sys; assert 'pygments' not in sys.modules; import pygments"
    subprocess.run([sys.executable, "-c", read], check=True)
