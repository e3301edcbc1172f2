"""What a context says of itself, by the names that users have."""

import json
from pathlib import Path
from typing import Any

import pytest

from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.frameworks.sparklite import SparkConf
from mesolite.frameworks.sparklite.reporting import Reporting

from .event_stories import tell, whole_job


class Context(Reporting):
    """A context that only reports."""

    @property
    def defaultParallelism(self) -> int:
        """See `ContextBase`."""
        return 2

    @property
    def shuffle_compress(self) -> bool:
        """See `ContextBase`."""
        return True

    def run(self, lineage: Any, function: Any, partitions: tuple[int, ...], name: str) -> list[Any]:
        """No jobs here."""
        return []


def test_a_context_reports_and_has_a_status_tracker(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    context = Context(SparkConf().set("spark.mesolite.report", str(tmp_path / "at-end.html")))
    own = context.own_listeners()
    for listener in own:
        tell(listener, whole_job())
    assert context.report() is None
    assert "Job 0 collect at app.py:12" in capsys.readouterr().out
    assert [job["job_id"] for job in json.loads(context.report(json=True) or "")["jobs"]] == [0]
    context.saveReport(str(tmp_path / "now.html"))
    assert "collect at app.py:12" in (tmp_path / "now.html").read_text()
    assert context.statusTracker().getJobIdsForGroup() == [0]
    for listener in own:
        listener.close()
    assert "collect at app.py:12" in (tmp_path / "at-end.html").read_text()


def test_a_report_that_cannot_be_saved_at_the_end_is_no_error(tmp_path: Path) -> None:
    context = Context(SparkConf().set("spark.mesolite.report", str(tmp_path / "missing" / "r.html")))
    for listener in context.own_listeners():
        listener.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["many", "-1", "0.5", "1000000", "nan"])
def test_a_rate_that_makes_no_sense_is_refused(setting: str) -> None:
    context = Context(SparkConf().set("spark.mesolite.flower.tasks_per_second", setting))
    with pytest.raises(ValueError, match=r"give 0 .* or a number from 1 to 600"):
        context.own_listeners()


@pytest.mark.parametrize(("setting", "listeners"), [("0", 1), ("5", 2)])
def test_flower_is_told_where_there_is_a_cluster(setting: str, listeners: int) -> None:
    context = Context(SparkConf().set("spark.mesolite.flower.tasks_per_second", setting))
    place = ClusterPlace("redis://127.0.0.1:1", "default", "anybody")
    assert len(context.own_listeners(place, "app")) == listeners
    assert len(context.own_listeners()) == 1
