"""`mesolite run`: a command on the cluster, as if it ran here: its output is shown and its exit code is ours.

It is a batch framework of its own for as long as it runs. With --detach another process is that framework, so that retries
and acknowledgements go on when this one has returned.
"""

import os
import shlex
import signal
import sys
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from mesolite.discovery import ClusterAddress, state_home
from mesolite.errors import BadInput, MesoliteError, NotFound, Unavailable
from mesolite.frameworks import batch
from mesolite.ids import id_error
from mesolite.operator import OperatorClient
from mesolite.views import AgentRow

from .connect import RECOVERING, cluster_address, patient_client
from .options import cpus_milli, mem_mib
from .output import amount_text, why_text
from .processes import is_alive, log_tail, start_process
from .root import RootOptions
from .streaming import TaskStreams

if TYPE_CHECKING:
    from rich.progress import Progress

DEFAULT_CPUS_MILLI: Final = 1000
DEFAULT_MEM_MIB: Final = 128
#: What shells return for a command that a signal ended.
SIGNAL_EXIT: Final = 128

#: Without any task after so long, the reason is shown.
EXPLAIN_AFTER_S: Final = 3.0
LOOK_INTERVAL_S: Final = 0.2
#: How long a detached run may take to register.
DETACH_WAIT_S: Final = 20.0


# What follows the first word of the command belongs to it, `--` or not.
@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--cpus", type=cpus_milli, default="1", show_default=True, help="CPUs of each task, like 0.5.")
@click.option("--mem", type=mem_mib, default="128", show_default=True, help="Memory of each task: 64, 64MiB, 1GiB.")
@click.option("--image", help="Docker image; without it the agent's own.")
@click.option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="A variable of the task. May be repeated.")
@click.option("--uri", multiple=True, help="Something to fetch into the sandbox first. May be repeated.")
@click.option(
    "--array", type=click.IntRange(1, 1_000_000), default=1, help="Run it so many times; see $MESOLITE_INDEX."
)
@click.option("--retries", type=click.IntRange(0, 1000), default=0, help="How often a failed task is tried again.")
@click.option("--timeout", type=click.FloatRange(0.001), metavar="SECONDS", help="Kill a task that runs for longer.")
@click.option("--role", default="*", help="Whose share of the cluster to use.")
@click.option("--name", help="For people; the command's first word where absent.")
@click.option("--detach", "-d", is_flag=True, help="Return at once; see `mesolite ps` and `mesolite logs`.")
@click.option("--job-id", hidden=True)
@click.pass_context
def run(
    ctx: click.Context,
    command: tuple[str, ...],
    cpus: int,
    mem: int,
    image: str | None,
    env: tuple[str, ...],
    uri: tuple[str, ...],
    array: int,
    retries: int,
    timeout: float | None,
    role: str,
    name: str | None,
    detach: bool,
    job_id: str | None,
) -> None:
    """Run COMMAND on the cluster, show its output and return its exit code.

    Several words are executed as they are; one word is given to `sh -c`: mesolite run -- 'echo $MESOLITE_INDEX | tee out'.
    """
    address = cluster_address(ctx)
    job_id = job_id or f"{_job_name(name, command)}-{uuid.uuid4().hex[:8]}"
    spec = batch.JobSpec(
        job_id=job_id,
        name=name or _job_name(name, command),
        count=array,
        retry=batch.RetryPolicy(max_attempts=retries + 1),
        task=batch.TaskSpec(
            command=command[0] if len(command) == 1 else command,
            cpus=cpus / 1000,
            mem_mib=mem,
            image=image,
            env=dict(_variable(text) for text in env),
            uris=uri,
            max_time_ms=int(timeout * 1000) if timeout is not None else None,
            role=role,
        ),
    )
    client = patient_client(address)
    _check_fits(client.agents(), cpus, mem)
    if detach:
        _detach(ctx, client, job_id)
    else:
        ctx.exit(_run(address, client, spec))


def _run(address: ClusterAddress, client: OperatorClient, spec: batch.JobSpec) -> int:
    """Run a job to its end and return the exit code."""
    results: list[batch.TaskResult] = []
    interrupts = _Interrupts()
    with (
        interrupts,
        batch.connect(
            address.redis_url,
            address.cluster,
            name=spec.job_id,
            roles=(spec.task.role,),
            principal=address.principal,
        ) as cluster,
        _progress(spec) as progress,
        TaskStreams(client, cluster.framework_id, count=spec.count) as streams,
    ):
        job = cluster.submit_spec(spec)
        hint = _Hint(client, cluster.framework_id)
        while len(results) < spec.count:
            if interrupts.is_new():
                click.echo(f"killing {spec.job_id}; once more to leave at once", err=True)
                job.kill()
            result = _next_result(job)
            if result is None:
                hint.show_if_due(is_needed=not streams.seen_any and not results)
                continue
            results.append(result)
            if result.task_id is not None:
                streams.ended(result.task_id, result.agent_url)
            progress.advance()
    return interrupts.exit_code() or _report(spec, results)


def _next_result(job: batch.Job) -> batch.TaskResult | None:
    """Return a result that came in, or None where none did in a while."""
    try:
        return next(job.results(LOOK_INTERVAL_S))
    except TimeoutError:
        return None
    except StopIteration:
        raise MesoliteError(f"job {job.job_id} ended without a result for each task; see `mesolite ps -a`") from None


def _report(spec: batch.JobSpec, results: list[batch.TaskResult]) -> int:
    """Say what failed and return the exit code: the task's own, or for an array 1 where any failed."""
    failed = sorted((result for result in results if not result.succeeded), key=lambda result: result.index)
    for result in failed:
        word = result.state.value.removeprefix("TASK_").lower()
        why = why_text(result.reason.value if result.reason is not None else "", result.message)
        click.echo(f"task {result.task_id or result.index} {word}{': ' if why else ''}{why}", err=True)
    if not failed:
        return 0
    if spec.count > 1:
        click.echo(f"{len(failed)} of {spec.count} tasks did not succeed", err=True)
        return 1
    return failed[0].exit_code or 1


def _check_fits(agents: list[AgentRow], cpus: int, mem: int) -> None:
    """Refuse what no agent is large enough for; without any agent, or before all are back, there is nothing to compare with.

    Raises:
        BadInput: Names the largest agent.
    """
    active = [agent for agent in agents if agent.status == "active"]
    if not active or any(agent.status == RECOVERING for agent in agents):
        return

    def size(agent: AgentRow) -> tuple[float, float]:
        return _number(agent, "cpus"), _number(agent, "mem")

    if any(size(agent)[0] * 1000 >= cpus and size(agent)[1] >= mem for agent in active):
        return
    largest = max(active, key=size)
    raise BadInput(
        f"no agent is large enough for cpus:{cpus / 1000:g};mem:{mem}; the largest is {largest.agent_id} with "
        f"cpus:{amount_text(largest.total, 'cpus')};mem:{amount_text(largest.total, 'mem')}"
    )


def _number(agent: AgentRow, name: str) -> float:
    amount = agent.total.get(name, 0)
    return 0.0 if isinstance(amount, str) else float(amount)


class _Hint:
    """Says once why nothing starts."""

    def __init__(self, client: OperatorClient, framework_id: str) -> None:
        self._client = client
        self._framework_id = framework_id
        self._due_s: float | None = time.monotonic() + EXPLAIN_AFTER_S

    def show_if_due(self, *, is_needed: bool) -> None:
        """Ask the master and show its answer, when it is time."""
        if not is_needed or self._due_s is None or time.monotonic() < self._due_s:
            return
        self._due_s = None
        try:
            why = self._client.explain(self._framework_id).summary
        except (NotFound, Unavailable) as error:
            why = str(error)
        click.echo(f"still waiting: {why}", err=True)


class _Interrupts:
    """Notes the first SIGINT, SIGTERM or SIGHUP, so that tasks are killed before we go; the second has its usual effect."""

    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._number: int | None = None
        self._is_told = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Interrupts":
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_new(self) -> bool:
        """Say once that a signal came."""
        is_new = self._number is not None and not self._is_told
        self._is_told = self._is_told or is_new
        return is_new

    def exit_code(self) -> int:
        """Return what shells make of a signal, 0 where none came."""
        return 0 if self._number is None else SIGNAL_EXIT + self._number

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_DFL)


class _Progress:
    """How many tasks of an array have ended, on a terminal; nothing elsewhere."""

    def __init__(self, bar: "Progress | None", count: int) -> None:
        self._bar = bar
        self._row = bar.add_task("", total=count) if bar is not None else None

    def advance(self) -> None:
        """One more task has ended."""
        if self._bar is not None and self._row is not None:
            self._bar.advance(self._row)


@contextmanager
def _progress(spec: batch.JobSpec) -> Generator[_Progress]:
    if spec.count == 1 or not sys.stderr.isatty():
        yield _Progress(None, spec.count)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(spec.name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    # What goes into a pipe must not pass through the bar's screen.
    with Progress(*columns, console=screen, redirect_stdout=sys.stdout.isatty()) as bar:
        yield _Progress(bar, spec.count)


def _detach(ctx: click.Context, client: OperatorClient, job_id: str) -> None:
    """Start ourselves once more, without --detach, and wait until that process is a framework."""
    options = ctx.find_object(RootOptions) or RootOptions()
    home = options.home or state_home()
    before = ["--home", str(options.home)] if options.home is not None else []
    before += ["--cluster", options.cluster] if options.cluster is not None else []
    arguments = _without_detach(ctx, job_id)
    record = start_process(
        job_id,
        [sys.executable, "-m", "mesolite.cli", *before, "run", *arguments],
        log=home / "logs" / f"run-{job_id}.log",
        environment=os.environ,
    )
    deadline_s = time.monotonic() + DETACH_WAIT_S
    while not any(row.name == job_id for row in client.frameworks(include_ended=True)):
        if not is_alive(record):
            # It may have been done before we looked.
            if any(row.framework_id.startswith(job_id) for row in client.tasks(include_ended=True)):
                break
            raise MesoliteError(f"the detached run ended; its log, {record.log}:\n{log_tail(Path(record.log))}")
        if time.monotonic() > deadline_s:
            raise Unavailable(f"the detached run did not register within {DETACH_WAIT_S:g} s; its log: {record.log}")
        time.sleep(LOOK_INTERVAL_S)
    click.echo(job_id)
    click.echo(f"`mesolite logs -f {job_id}-0-1` shows its output; the run's own log is {record.log}", err=True)


def _without_detach(ctx: click.Context, job_id: str) -> list[str]:
    """Write the command line again from what click made of it."""
    params = ctx.params
    words = ["--job-id", job_id, "--cpus", f"{params['cpus'] / 1000:g}", "--mem", str(params["mem"])]
    words += ["--array", str(params["array"]), "--retries", str(params["retries"]), "--role", params["role"]]
    for flag, value in (("--image", params["image"]), ("--name", params["name"]), ("--timeout", params["timeout"])):
        words += [flag, str(value)] if value is not None else []
    for text in params["env"]:
        words += ["--env", text]
    for text in params["uri"]:
        words += ["--uri", text]
    return [*words, "--", *params["command"]]


def _job_name(name: str | None, command: tuple[str, ...]) -> str:
    """Return a name that can begin an id."""
    first = name or Path((shlex.split(command[0], posix=False) or ["run"])[0]).name
    cleaned = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in first)[:40].strip(".-")
    return cleaned if cleaned and id_error(cleaned) is None else "run"


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadInput(f"{text!r} is not a variable; write --env NAME=VALUE")
    return name, value
