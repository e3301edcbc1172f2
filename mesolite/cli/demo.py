"""`mesolite demo`: a whole cluster at work on real input, checked against answers counted without it.

It brings up what `mesolite up` brings up, and leaves it running, so that Flower can be looked at afterwards.
"""

import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, state_home
from mesolite.errors import MesoliteError
from mesolite.frameworks import batch
from mesolite.operator import OperatorClient
from mesolite.sandbox_client import read_sandbox

from .cluster import locked
from .demo_spark import count_words
from .demo_work import (
    SOURCE_FOLDER,
    Count,
    Package,
    count_independently,
    find_packages,
    python_for_tasks,
    totals,
    write_archive,
)
from .options import config_options, read_config
from .output import Column, console, plain, print_table
from .root import RootOptions
from .startup import Startup

AGENT_RESOURCES: Final = "cpus:1;mem:512"
TASK_CPUS: Final = 0.5
TASK_MEM_MIB: Final = 64
#: Far more than it takes on the slowest machine seen; then something hangs.
MAX_WAIT_S: Final = 600
MIB: Final = 2**20

#: Asks for memory without end, and touches it.
GREEDY: Final = "held = []\nwhile True: held.append(bytearray(b'x') * 2**20)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One package's line of the table."""

    package: Package
    result: batch.TaskResult
    count: Count | None


@click.command()
@config_options(UpConfig, "up")
@click.pass_context
def demo(ctx: click.Context, /, **_: object) -> None:
    """Start a cluster, count the standard library on it beside a task that eats memory, and check every number.

    Then its words, by a program of PySpark's RDDs.
    """
    config = read_config(ctx, UpConfig, "up")
    if config.agent_resources is None:
        config = msgspec.structs.replace(config, agent_resources=AGENT_RESOURCES)
    options = ctx.find_object(RootOptions) or RootOptions()
    home = options.home or state_home()
    with locked(home):
        address = Startup(home, config, options.config, say=_say).run()
    in_container = _say_how(address)
    packages = find_packages()
    with tempfile.TemporaryDirectory(prefix="mesolite-demo-") as folder:
        # Tasks do not run as root, and an agent fetches for them only what they may read themselves.
        Path(folder).chmod(0o755)
        rows, greedy = _run(address, Path(folder), packages, in_container=in_container)
    _show(rows)
    problems = [*_wrong_counts(rows), *_wrong_greed(greedy), *count_words(address, in_container=in_container)]
    for problem in problems:
        click.echo(f"wrong: {problem}", err=True)
    click.echo(f"\nFlower: {address.flower_url}   (the cluster runs on; `mesolite down` or `make down` stops it)")
    ctx.exit(1 if problems else 0)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _say_how(address: ClusterAddress) -> bool:
    """Say what runs the tasks and why; return whether it is Docker."""
    agents = OperatorClient(address.master_url).agents()
    hows = sorted({agent.containerizer for agent in agents})
    _say(f"{len(agents)} agents of {AGENT_RESOURCES}; tasks run with: {'; '.join(hows)}")
    return any(how.startswith("docker") for how in hows)


def _run(
    address: ClusterAddress, folder: Path, packages: list[Package], *, in_container: bool
) -> tuple[list[Row], batch.TaskResult]:
    python = python_for_tasks(in_container=in_container)
    script = _script_in(folder)
    with batch.connect(address.redis_url, address.cluster, name="demo") as cluster:
        greedy = cluster.submit([python, "-c", GREEDY], name="greedy", cpus=TASK_CPUS, mem_mib=TASK_MEM_MIB)
        jobs = [
            cluster.submit(
                [python, script.name, SOURCE_FOLDER],
                name=f"count-{package.name.strip('()')}",
                cpus=TASK_CPUS,
                mem_mib=TASK_MEM_MIB,
                uris=[str(write_archive(package, folder)), str(script)],
            )
            for package in packages
        ]
        _wait(greedy, jobs)
        results = [next(job.results()) for job in jobs]
        rows = [
            Row(package=package, result=result, count=_counted(result))
            for package, result in zip(packages, results, strict=True)
        ]
        return rows, next(greedy.results())


def _script_in(folder: Path) -> Path:
    """Put the task's program where the fetcher can take it: the installed one may be out of a task's reach."""
    spec = find_spec("mesolite.frameworks.examples.count_source")
    assert spec is not None
    assert spec.origin is not None, "the examples are part of the package"
    script = folder / "count_source.py"
    script.write_bytes(Path(spec.origin).read_bytes())
    return script


def _wait(greedy: batch.Job, jobs: list[batch.Job]) -> None:
    """Show progress until every job has ended."""
    columns = (TextColumn("counting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    deadline_s = time.monotonic() + MAX_WAIT_S
    with Progress(*columns, console=console(), disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task("counting", total=len(jobs))
        for job in [*jobs, greedy]:
            while not job.done:
                if time.monotonic() > deadline_s:
                    raise MesoliteError(f"{job.job_id} has not ended after {MAX_WAIT_S} s; see `mesolite ps`")
                with suppress(TimeoutError):
                    job.wait(0.2)
                progress.update(bar, completed=sum(each.done for each in jobs))


def _counted(result: batch.TaskResult) -> Count | None:
    """Read what a task printed; None where it failed."""
    if not result.succeeded:
        return None
    path = f"/{result.framework_id}/{result.task_id}/latest/stdout"
    printed = json.loads(read_sandbox(result.agent_url, path, offset=0))
    top = printed["top_identifiers"]
    return Count(printed["lines"], printed["words"], top[0][0] if top else "")


def _show(rows: list[Row]) -> None:
    cells = [_cells(row) for row in rows]
    counts = [row.count for row in rows if row.count is not None]
    lines, words = totals(counts)
    cells.append([f"{len(rows)} packages", f"{lines:,}", f"{words:,}", "", "", "", ""])
    print_table(
        [
            Column("PACKAGE"),
            Column("LINES", is_number=True),
            Column("WORDS", is_number=True),
            Column("TOP IDENTIFIER"),
            Column("AGENT"),
            Column("SECONDS", is_number=True),
            Column("PEAK MIB", is_number=True),
        ],
        cells,
        nothing="",
    )


def _cells(row: Row) -> list[str]:
    result, count = row.result, row.count
    seconds = "" if result.started_ms is None else f"{(result.finished_ms - result.started_ms) / 1000:.1f}"
    peak = "" if result.peak_mem_bytes is None else f"{result.peak_mem_bytes / MIB:.1f}"
    shown = (
        ("", "", result.state.value)
        if count is None
        else (f"{count.lines:,}", f"{count.words:,}", count.top_identifier)
    )
    return [plain(row.package.name), *map(plain, shown), plain(result.agent_id or ""), seconds, peak]


def _wrong_counts(rows: list[Row]) -> list[str]:
    """Compare with the demo's own count."""
    problems: list[str] = []
    expected = [count_independently(row.package) for row in rows]
    for row, right in zip(rows, expected, strict=True):
        if row.count is None:
            problems.append(f"{row.package.name} {row.result.state.value}: {row.result.message}")
        elif row.count != right:
            problems.append(f"{row.package.name}: its task counted {row.count}, the demo {right}")
    if not problems:
        lines, words = totals(expected)
        click.echo(
            f"\nall {len(rows)} tasks agree with a count made without the cluster: {lines:,} lines, {words:,} words"
        )
    return problems


def _wrong_greed(result: batch.TaskResult) -> list[str]:
    """The greedy task must have died at its limit, and of nothing else."""
    name = "CONTAINER_LIMITATION_MEMORY"
    if result.state is batch.TaskState.FAILED and result.reason is batch.Reason.CONTAINER_LIMITATION_MEMORY:
        click.echo(f"the greedy task beside them: FAILED, {name}: {result.message}")
        return []
    return [f"the greedy task should be FAILED with {name}, but is {result.state.value}: {result.message}"]
