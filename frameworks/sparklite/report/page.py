"""The report as one HTML page: needs nothing else, works from a disk, holds its figures as JSON and draws them itself.

What users named (jobs, stages, reasons) reaches the page only inside that JSON, where no `<` is left, and the page's program
puts it only into text nodes: nothing of it is ever read as HTML.

Its size is bounded: so many stages, and so many single tasks, evenly taken from all stages.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final, TypeAlias

import msgspec

from ..records import DONE, TaskRecord
from .findings import findings
from .summary import Report, StageSummary, TaskSummary, summary_of

#: Attempts at stages that the page shows, the newest.
MAX_PAGE_STAGES: Final = 300
MAX_PAGE_JOBS: Final = 300
MAX_PAGE_EXECUTORS: Final = 200
#: Single tasks on the page, some 60 bytes each.
MAX_PAGE_TASKS: Final = 20_000
#: Of each stage's tasks, always on the page: the longest.
LONGEST_KEPT: Final = 10
#: RDDs named for each stage, and characters of each.
MAX_RDDS: Final = 40
MAX_RDD_CHARS: Final = 200
#: Bars of a stage's distribution of run times.
BINS: Final = 40

#: In this order: each is a part of one program.
_PROGRAMS: Final = ("page_base.js", "page_timeline.js", "page_graph.js", "page_tables.js", "page_main.js")

#: The ended attempts that are kept, by stage and attempt.
Tasks: TypeAlias = dict[tuple[int, int], list[TaskRecord]]


def page_of(report: Report, tasks: Tasks) -> str:
    """Return the page."""
    title = escape(f"{report.application.name or 'sparklite'}: job report")
    # A `<` could end the element that the data stand in, whatever follows it.
    data = msgspec.json.encode(_data(report, tasks)).decode().replace("<", "\\u003c")
    program = "\n".join(_text(name) for name in _PROGRAMS)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{_text("page.css")}</style>
</head>
<body>
<main id="page"><noscript>This page draws itself by JavaScript; sc.report() prints the same figures as text.</noscript></main>
<div id="tip" role="status"></div>
<script type="application/json" id="data">{data}</script>
<script>
(() => {{
"use strict";
{program}
}})();
</script>
</body>
</html>
"""


def histogram(values: Sequence[float], largest: float, bins: int = BINS) -> list[int]:
    """Count values in so many equal steps from 0 to the largest."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / largest * bins)) if largest > 0 else 0] += 1
    return counts


def thinned(tasks: Tasks, room: int) -> Tasks:
    """Return about `room` tasks at most: of each stage its longest, and an even share of the others."""
    total = sum(map(len, tasks.values()))
    if total <= room:
        return tasks
    return {key: _some(each, max(1, len(each) * room // total)) for key, each in tasks.items() if each}


def _some(tasks: list[TaskRecord], wanted: int) -> list[TaskRecord]:
    by_length = sorted(tasks, key=lambda task: -task.run_ms)
    longest, others = by_length[:LONGEST_KEPT], by_length[LONGEST_KEPT:]
    return longest + [others[place * len(others) // wanted] for place in range(min(wanted, len(others)))]


def _text(name: str) -> str:
    return files("mesolite.frameworks.sparklite.report").joinpath(name).read_text(encoding="utf-8")


def _data(report: Report, tasks: Tasks) -> dict[str, object]:
    stages = report.stages[-MAX_PAGE_STAGES:]
    shown = {(stage.stage_id, stage.attempt): tasks.get((stage.stage_id, stage.attempt), []) for stage in stages}
    executors = report.executors[-MAX_PAGE_EXECUTORS:]
    places = {each.executor_id: place for place, each in enumerate(executors)}
    kept = thinned(shown, MAX_PAGE_TASKS)
    zero_ms = report.application.began_ms or min((job.began_ms for job in report.jobs), default=0)
    rows = [
        _row(place, places.get(task.started.executor_id, -1), summary_of(task), zero_ms)
        for place, stage in enumerate(stages)
        for task in kept.get((stage.stage_id, stage.attempt), ())
    ]
    return {
        "application": report.application,
        "zero_ms": zero_ms,
        "at_ms": report.at_ms,
        "findings": findings(report),
        "jobs": report.jobs[-MAX_PAGE_JOBS:],
        "stages": [_stage(stage, shown[stage.stage_id, stage.attempt]) for stage in stages],
        "executors": executors,
        "tasks": rows,
        "failures": report.failures,
        "ended_tasks": sum(stage.done + stage.failed + stage.lost + stage.killed for stage in stages),
        "left_out": {
            "jobs": report.forgotten_jobs + len(report.jobs[:-MAX_PAGE_JOBS]),
            "stages": report.forgotten_stages + len(report.stages[:-MAX_PAGE_STAGES]),
        },
    }


def _stage(stage: StageSummary, tasks: Iterable[TaskRecord]) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(stage, name) for name in stage.__dataclass_fields__ if name != "slowest"}
    rdds = [name[:MAX_RDD_CHARS] for name in stage.rdds[:MAX_RDDS]]
    bins = histogram([task.run_ms for task in tasks if task.outcome == DONE], stage.spread.largest)
    return fields | {"rdds": rdds, "bins": bins}


def _row(stage: int, executor: int, task: TaskSummary, zero_ms: float) -> list[object]:
    """One task, short: the page's program names the places (`page_base.js`)."""
    return [
        stage,
        executor,
        task.partition,
        task.attempt,
        task.outcome,
        int(task.speculative),
        round(task.began_ms - zero_ms),
        round(task.run_ms, 1),
        round(task.fetch_wait_ms, 1),
        task.items_in,
        task.shuffle_read_bytes,
        task.shuffle_write_bytes,
        task.spilled_bytes,
        task.peak_memory_bytes,
    ]
