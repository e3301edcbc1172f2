"""The report's page in a real browser: it draws everything, says nothing on the console, and takes no name for HTML.

Chromium without a window prints the document as the page's program left it.
"""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from mesolite.frameworks.sparklite.recorder import Recorder
from mesolite.frameworks.sparklite.report.reports import Reports
from mesolite.frameworks.sparklite.report.summary import Application
from tests.unit.sparklite.event_stories import T0, Program, tell

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
]

#: For drawing; on the browser's own clock, which runs as fast as the machine allows.
VIRTUAL_MS = 5_000
#: For all of it, on a busy machine.
PATIENCE_S = 90.0


class Seen(NamedTuple):
    """What the browser made of a page."""

    #: The document, without the data and the program that came in it.
    document: str
    console: list[str]


def opened(page: Path, fragment: str = "") -> Seen:
    """Open a page."""
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1400,1000"]
    own = [f"--user-data-dir={page.parent / 'profile'}", f"--virtual-time-budget={VIRTUAL_MS}", "--dump-dom"]
    command = [BROWSER, *options, *own, f"{page.as_uri()}{fragment}"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    document = answer.stdout
    for tag in ("script", "style"):
        while f"<{tag}" in document:
            before, _, rest = document.partition(f"<{tag}")
            document = before + rest.partition(f"</{tag}>")[2]
    return Seen(document, [line for line in answer.stderr.splitlines() if "CONSOLE" in line])


def saved(folder: Path, tasks: int = 24, *, empty: bool = False) -> Path:
    """Write the page of the made-up program."""
    recorder = Recorder()
    tell(recorder, [] if empty else Program(tasks).events())
    page = folder / "report.html"
    Reports(recorder, Application(name="logs <b>", app_id="app-1", master="mesolite", began_ms=T0)).save(page)
    return page


def test_the_page_draws_jobs_stages_workers_and_failures(tmp_path: Path) -> None:
    seen = opened(saved(tmp_path))
    assert seen.console == []
    for label in ("time line of jobs, stages and tasks", "which stage reads which"):
        assert f'aria-label="{label}"' in seen.document
    for text in ("join at logs.py:44", "9.95", "64.3 MiB", "480 MiB", "sparklite-2", "host-1", "2 at once", "skipped"):
        assert text in seen.document.replace("2 at once", "2 at once"), text
    assert "10.0 times the median" in seen.document
    assert "Failures" in seen.document


def test_names_and_reasons_stay_text(tmp_path: Path) -> None:
    seen = opened(saved(tmp_path))
    assert "logs &lt;b&gt;" in seen.document
    assert "&lt;img src=x onerror=alert(2)&gt;" in seen.document
    assert "<img" not in seen.document
    assert "alert(1)" not in seen.document.replace("&lt;script&gt;alert(1)&lt;/script&gt;", "")


def test_a_fragment_opens_a_stage(tmp_path: Path) -> None:
    page = saved(tmp_path)
    assert "Run times of 24 tasks" not in opened(page).document
    seen = opened(page, "#stage-6")
    assert seen.console == []
    assert "Run times of 24 tasks" in seen.document
    assert 'aria-label="distribution of run times"' in seen.document
    assert "2: join at logs.py:44 [24 partitions]" in seen.document


def test_a_context_without_jobs_has_a_page(tmp_path: Path) -> None:
    seen = opened(saved(tmp_path, empty=True))
    assert seen.console == []
    assert "No job has run yet" in seen.document


def test_a_hundred_thousand_tasks_are_drawn(tmp_path: Path) -> None:
    seen = opened(saved(tmp_path, tasks=12_500))
    assert seen.console == []
    assert "of 100,004 tasks are drawn" in seen.document
