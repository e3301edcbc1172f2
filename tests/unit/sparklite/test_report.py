"""The report on jobs in its three forms: tables, JSON, and a page that is one file."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from mesolite.frameworks.sparklite.recorder import Recorder
from mesolite.frameworks.sparklite.report import figures, page
from mesolite.frameworks.sparklite.report.findings import findings
from mesolite.frameworks.sparklite.report.reports import Reports
from mesolite.frameworks.sparklite.report.summary import Application

from .event_stories import MIB, T0, Program, job_began, stage_began, tell

#: What a page may weigh, whatever it is about.
MAX_PAGE_BYTES = 4 * MIB


def reports_of(recorder: Recorder) -> Reports:
    """Reports on what was recorded."""
    return Reports(recorder, Application(name="logs </title>", app_id="app-1", master="mesolite", began_ms=T0))


def program(tasks: int = 24) -> Reports:
    """Reports on the made-up program."""
    recorder = Recorder()
    tell(recorder, Program(tasks).events())
    return reports_of(recorder)


def shown(reports: Reports) -> str:
    """The report as it is printed into a pipe."""
    printed = io.StringIO()
    reports.show(Console(file=printed, width=200))
    return printed.getvalue()


def data_of(text: str) -> dict[str, object]:
    """The figures inside a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    answer = json.loads(found[1])
    assert isinstance(answer, dict)
    return answer


def test_tables_tell_of_stages_skew_failures_and_memory() -> None:
    text = shown(program())
    assert re.search(r"Job 0 count at logs.py:31 +succeeded 8.7 s", text)
    assert re.search(r"^6 +join at logs.py:44 +24/24 .* 10.0x .* 64.3 MiB of 96.0 MiB", text, re.MULTILINE)
    assert re.search(r"^4 +keyBy at logs.py:40 +23/24 1 failed", text, re.MULTILINE)
    assert re.search(r"^1 +reduceByKey at logs.py:20 +skipped", text, re.MULTILINE)
    assert re.search(r"stage 6, partition 5 +sparklite-2 +host-2 +4.0 s", text)
    assert "ValueError: <img src=x onerror=alert(2)>" in text


def test_square_brackets_in_names_are_no_markup() -> None:
    recorder = Recorder()
    tell(
        recorder, [job_began(0, 0, name="[red]collect[/red] at a[0].py:1"), stage_began(0, name="map at [/bold].py:2")]
    )
    text = shown(reports_of(recorder))
    assert "[red]collect[/red] at a[0].py:1" in text
    assert "map at [/bold].py:2" in text


def test_a_context_without_jobs_has_a_report_too(tmp_path: Path) -> None:
    reports = reports_of(Recorder())
    assert shown(reports) == "No job has run yet.\n"
    reports.save(tmp_path / "report.html")
    assert data_of((tmp_path / "report.html").read_text())["jobs"] == []


def test_json_holds_all_figures() -> None:
    answer = json.loads(program().json())
    assert answer["version"] == 1
    assert [job["status"] for job in answer["jobs"]] == ["succeeded", "succeeded", "failed"]
    [join] = [stage for stage in answer["stages"] if stage["stage_id"] == 6]
    assert join["slowest"][0]["partition"] == 5
    assert join["skew"] == pytest.approx(9.95, abs=0.01)
    assert join["totals"]["memory_limit_bytes"] == 96 * MIB
    assert answer["executors"][0]["host"] == "host-1"


def test_what_stands_out_is_said_in_sentences() -> None:
    said = {finding.stage_id: finding.text for finding in findings(program().now())}
    assert "partition 5 on host-2), 10.0 times the median" in said[6]
    assert "spilled 480 MiB" in said[7]
    assert said[4].endswith(": 1 attempt failed; the work was done again.")
    assert said[9].endswith(": 4 attempts failed.")
    assert set(said) == {4, 6, 7, 9}


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    program().save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}


def test_what_users_named_cannot_become_html(tmp_path: Path) -> None:
    """Goal: a name that ends the script and begins another stays a name. Method: no `<` is left inside the data."""
    program().save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<title>logs &lt;/title&gt;: job report</title>" in text
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "innerHTML" not in text
    jobs = data_of(text)["jobs"]
    assert isinstance(jobs, list)
    assert jobs[2]["error"].endswith("</script><script>alert(1)</script>")


def test_a_hundred_thousand_tasks_stay_a_small_page(tmp_path: Path) -> None:
    reports = program(tasks=12_500)
    reports.save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert len(text) < MAX_PAGE_BYTES
    data = data_of(text)
    assert data["ended_tasks"] == 8 * 12_500 + 4
    rows = data["tasks"]
    assert isinstance(rows, list)
    assert page.MAX_PAGE_TASKS // 2 < len(rows) <= page.MAX_PAGE_TASKS * 1.1


def test_a_report_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        program().save(tmp_path / "missing" / "report.html")
    target = tmp_path / "report.html"
    program().save(target)
    before = target.read_text()
    program().save(target)
    assert target.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (99_900, "99.9 s"), (306_000, "5:06"), (7_384_000, "2:03:04")],
)
def test_durations_read_well(time_ms: float, text: str) -> None:
    assert figures.duration(time_ms) == text


@pytest.mark.parametrize(("number", "text"), [(0, "-"), (512, "512 B"), (1536, "1.5 KiB"), (200 * MIB, "200 MiB")])
def test_sizes_read_well(number: int, text: str) -> None:
    assert figures.size(number) == text
