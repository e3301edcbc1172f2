"""The report in the terminal: a table for each job, then executors, slow tasks and failures."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .figures import count, duration, share, size
from .findings import MARKED_MEMORY, MARKED_SKEW, findings
from .summary import JobSummary, Report, StageSummary, TaskSummary

#: Jobs that are shown, the newest; JSON and the page have more.
MAX_JOBS_SHOWN: Final = 20
#: Slow tasks and failures that are shown.
MAX_TASKS_SHOWN: Final = 5
#: Lines of a failure that are shown: the end of the traceback.
MAX_REASON_LINES: Final = 6

_STYLES: Final = {"succeeded": "green", "failed": "red", "running": "yellow"}


def show(report: Report, console: Console) -> None:
    """Print it."""
    if not report.jobs:
        console.print("No job has run yet.")
        return
    left_out = len(report.jobs) - MAX_JOBS_SHOWN + report.forgotten_jobs
    if left_out > 0:
        console.print(f"[dim]{left_out} earlier jobs are not shown here.[/dim]")
    for job in report.jobs[-MAX_JOBS_SHOWN:]:
        _show_job(job, report, console)
    _show_executors(report, console)
    _show_slowest(report, console)
    for finding in findings(report):
        console.print(Text.assemble(("• ", "yellow"), finding.text))
    _show_failures(report.failures, console)


def _show_job(job: JobSummary, report: Report, console: Console) -> None:
    style = _STYLES[job.status]
    heading = Text.assemble(
        (f"Job {job.job_id}", "bold"), f" {job.name}  ", (job.status, style), f" {duration(job.duration_ms)}"
    )
    if job.description:
        heading.append(f"  {job.description}", "dim")
    console.print(heading)
    columns = "stage", "name", ">tasks", ">time", ">median", ">max", ">skew", ">items in"
    wanted = set(job.stage_ids) - set(job.skipped)
    rows = [
        _stage_row(stage, shared=stage.job_id != job.job_id)
        for stage in report.stages
        if stage.job_id == job.job_id or stage.stage_id in wanted
    ]
    for stage_id, name in sorted(job.skipped.items()):
        rows.append([str(stage_id), f"[dim]{escape(name)}[/dim]", "[dim]skipped[/dim]"])
    console.print(_table([*columns, ">read", ">written", ">spilled", ">peak memory"], rows))
    if job.error:
        console.print(Text(job.error.partition("\n")[0], "red"))
    console.print()


def _stage_row(stage: StageSummary, *, shared: bool) -> list[str]:
    totals = stage.totals
    number = f"{stage.stage_id}.{stage.attempt}" if stage.attempt else str(stage.stage_id)
    troubles = [f"{stage.failed} failed"] * (stage.failed > 0) + [f"{stage.lost} lost"] * (stage.lost > 0)
    tasks = f"{stage.done}/{stage.tasks}" + "".join(f" [red]{each}[/red]" for each in troubles)
    name = escape(stage.name) + (f" [dim](of job {stage.job_id})[/dim]" if shared else "")
    skew = f"{stage.skew:.1f}x"
    memory = share(totals.peak_memory_bytes, totals.memory_limit_bytes)
    tight = totals.memory_limit_bytes and totals.peak_memory_bytes >= MARKED_MEMORY * totals.memory_limit_bytes
    return [
        number if stage.status != "failed" else f"[red]{number}[/red]",
        name,
        tasks,
        duration(stage.duration_ms),
        duration(stage.spread.median) + ("" if stage.exact else " ~"),
        duration(stage.spread.largest),
        f"[yellow]{skew}[/yellow]" if stage.skew >= MARKED_SKEW else skew,
        count(totals.items_in),
        size(totals.shuffle_read_bytes),
        size(totals.shuffle_write_bytes),
        size(totals.spilled_bytes),
        f"[yellow]{memory}[/yellow]" if tight else memory,
    ]


def _show_executors(report: Report, console: Console) -> None:
    columns = "executor", "host", ">workers", ">tasks", ">failed", ">busy", ">read", ">written", ">peak memory"
    rows = [
        [
            escape(each.executor_id) + ("" if each.ended_ms is None else " [dim](over)[/dim]"),
            escape(each.host),
            count(each.workers),
            count(each.done),
            f"[red]{each.failed}[/red]" if each.failed else "-",
            f"{each.busy:.0%}",
            size(each.totals.shuffle_read_bytes),
            size(each.totals.shuffle_write_bytes),
            share(each.totals.peak_memory_bytes, each.totals.memory_limit_bytes),
        ]
        for each in report.executors
    ]
    if rows:
        console.print(_table(columns, rows))
        console.print()


def _show_slowest(report: Report, console: Console) -> None:
    columns = "slowest tasks", "executor", "host", ">time", ">waited", ">items in", ">read", ">spilled", ">peak memory"
    rows = [
        [
            _task_name(task),
            escape(task.executor_id),
            escape(task.host),
            duration(task.run_ms),
            duration(task.fetch_wait_ms) if task.fetch_wait_ms else "-",
            count(task.items_in),
            size(task.shuffle_read_bytes),
            size(task.spilled_bytes),
            share(task.peak_memory_bytes, task.memory_limit_bytes),
        ]
        for task in report.slowest[:MAX_TASKS_SHOWN]
    ]
    if rows:
        console.print(_table(columns, rows))
        console.print()


def _show_failures(failures: tuple[TaskSummary, ...], console: Console) -> None:
    # Attempts at one partition mostly fail alike.
    last = {(task.stage_id, task.stage_attempt, task.partition): task for task in failures}
    for task in list(last.values())[-MAX_TASKS_SHOWN:]:
        console.print(Text(f"{_task_name(task)} on {task.host}: {task.outcome}", "bold red"))
        console.print(Text(_last_lines(task.reason)))


def _task_name(task: TaskSummary) -> str:
    again = f", attempt {task.attempt}" if task.attempt else ""
    return f"stage {task.stage_id}, partition {task.partition}{again}"


def _last_lines(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-MAX_REASON_LINES:])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table. Columns with a leading `>` are figures, which stand right; those in which nothing stands are left out."""
    kept = [place for place in range(len(columns)) if any(row[place] != "-" for row in rows if place < len(row))]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place in kept:
        name = columns[place]
        if name.startswith(">"):
            table.add_column(name[1:], justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(row[place] for place in kept if place < len(row)))
    return table
