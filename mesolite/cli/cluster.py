"""`mesolite up | down`: a whole cluster on one machine, as detached processes.

`up` writes `cluster.json` after each process it starts, so that `down` finds everything even where `up` was interrupted.
What runs already is left alone and what is missing is started again, so `up` can be repeated. If something does not come
up, the end of its log is shown and what this call started is stopped.
"""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from mesolite.config import UpConfig
from mesolite.discovery import (
    ClusterAddress,
    ProcessRecord,
    forget_cluster,
    read_cluster,
    state_home,
)
from mesolite.errors import MesoliteError, NotFound, Unavailable
from mesolite.operator import OperatorClient
from mesolite.transport.address import shown

from .options import config_options, read_config
from .output import Column, plain, print_json, print_table
from .processes import POLL_INTERVAL_S, stop_process
from .root import RootOptions
from .startup import Deadline, Startup

#: How long `down` waits for tasks and executors to end before it stops the agents: twice the grace that executors have where
#: nobody says another.
TEARDOWN_WAIT_S: Final = 10.0

LOCK_FILE: Final = "up.lock"


@click.command()
@config_options(UpConfig, "up")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_context
def up(ctx: click.Context, /, as_json: bool, **_: object) -> None:
    """Start a cluster on this machine and return when it answers. Repeat it to start what is missing."""
    config = read_config(ctx, UpConfig, "up")
    options = ctx.find_object(RootOptions) or RootOptions()
    home = options.home or state_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(home):
        startup = Startup(home, config, options.config, say=lambda line: click.echo(line, err=True))
        address = startup.run()
    if as_json:
        print_json(address)
        return
    _print_cluster(home, address)


@click.command()
@click.pass_context
def down(ctx: click.Context) -> None:
    """Stop the cluster that `up` started, its tasks and executors included. Logs and sandboxes stay."""
    options = ctx.find_object(RootOptions) or RootOptions()
    home = _running_home(options)
    with locked(home):
        address = read_cluster(home)
        if address is None:
            click.echo("nothing to stop: no cluster was started here")
            return
        try:
            for left in end_frameworks(OperatorClient(address.master_url), within_s=TEARDOWN_WAIT_S):
                click.echo(left, err=True)
        except Unavailable as error:
            click.echo(f"the master cannot end the tasks: {error}", err=True)
        for record in reversed(address.processes):
            click.echo(f"stopped {record.name}" if stop_process(record) else f"{record.name} had stopped already")
        forget_cluster(home)


def _running_home(options: RootOptions) -> Path:
    """Return the folder whose cluster is to be stopped: the one that every other command finds."""
    if options.home is not None:
        return options.home
    local = Path(".mesolite").absolute()
    home = state_home()
    return local if read_cluster(home) is None and read_cluster(local) is not None else home


def end_frameworks(client: OperatorClient, *, within_s: float) -> list[str]:
    """Let the master end every task and executor, since both outlive their agent's process by design.

    Those of frameworks that have ended are waited for, too: an executor has its grace, and its agent may not even know yet.

    Args:
        client: The cluster.
        within_s: How long to wait.

    Returns:
        What still goes on then, a line for each agent.

    Raises:
        Unavailable: No master answers.
    """
    for framework in client.frameworks():
        try:
            client.teardown(framework.framework_id)
        except NotFound:
            continue
    deadline = Deadline(within_s)
    while (busy := [row for row in client.agents() if row.tasks or row.executors]) and not deadline.is_over():
        deadline.pause(POLL_INTERVAL_S)
    return [
        f"{row.agent_id}, which is {row.status}, still has tasks ({row.tasks}) or executors ({row.executors}) after "
        f"{within_s:g} s: they outlive it"
        for row in busy
    ]


def _print_cluster(home: Path, address: ClusterAddress) -> None:
    urls = {"redis": shown(address.redis_url), "master": address.master_url, "flower": address.flower_url or ""}
    urls |= {row.agent_id: row.url for row in OperatorClient(address.master_url).agents()}
    cells = [_process_cells(record, urls, home) for record in address.processes]
    columns = [Column("PROCESS"), Column("PID", is_number=True), Column("ADDRESS"), Column("LOG", may_shrink=True)]
    print_table(columns, cells, nothing="")
    click.echo(f"\nin {home}; try `mesolite run -- echo hello`, look at {address.flower_url or address.master_url}")


def _process_cells(record: ProcessRecord, urls: dict[str, str], home: Path) -> list[str]:
    log = Path(record.log)
    log_shown = str(log.relative_to(home)) if log.is_relative_to(home) else record.log
    return [plain(record.name), str(record.pid), plain(urls.get(record.name, "")), plain(log_shown)]


@contextmanager
def locked(home: Path) -> Generator[None]:
    """Let one `up` or `down` at a time work on a cluster (flock: freed by the kernel whatever happens to us)."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MesoliteError(f"another `mesolite up` or `down` works on {home}; wait until it is done") from None
        yield
