"""`mesolite ps | logs | kill`: the tasks of every framework."""

import sys
import time
from typing import Final

import click

from mesolite.errors import MesoliteError, NotFound, Unavailable
from mesolite.operator import OperatorClient
from mesolite.sandbox_client import follow_output, read_output
from mesolite.views import TaskRow

from .connect import are_agents_recovering, find_task, operator_client
from .listings import json_option
from .output import Column, age_text, amount_text, plain, print_json, print_table, state_text, why_text

ENDED_STATES: Final = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR"}
)

#: How long `kill --wait` waits for the terminal state.
KILL_WAIT_S: Final = 30.0
KILL_POLL_S: Final = 0.2


@click.command()
@click.option("-a", "--all", "include_ended", is_flag=True, help="Show tasks that ended, too.")
@json_option
@click.pass_context
def ps(ctx: click.Context, include_ended: bool, as_json: bool) -> None:
    """List tasks, newest first."""
    rows = operator_client(ctx).tasks(include_ended=include_ended)
    if as_json:
        print_json(rows)
        return
    cells = [
        [
            plain(row.task_id),
            plain(row.framework_name or row.framework_id),
            state_text(row.state),
            plain(row.agent_id),
            amount_text(row.resources, "cpus"),
            amount_text(row.resources, "mem"),
            age_text(row.accepted_ms),
            plain(row.command or row.name),
            plain(_what_happened(row)),
        ]
        for row in rows
    ]
    columns = [
        Column("TASK"),
        Column("FRAMEWORK"),
        Column("STATE"),
        Column("AGENT"),
        Column("CPUS", is_number=True),
        Column("MIB", is_number=True),
        Column("AGE", is_number=True),
        Column("COMMAND", may_shrink=True),
        Column("MESSAGE", may_shrink=True),
    ]
    nothing = "no tasks; `mesolite run -- echo hello` makes one" if include_ended else "no tasks run; `ps -a` shows all"
    print_table(columns, cells, nothing=nothing)


@click.command()
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task ends.")
@click.option("--stderr", "use_stderr", is_flag=True, help="Show stderr instead of stdout.")
@click.pass_context
def logs(ctx: click.Context, task: str, follow: bool, use_stderr: bool) -> None:
    """Show the output of TASK, byte for byte."""
    client = operator_client(ctx)
    row = find_task(client, task)
    if not row.agent_url or not row.sandbox:
        raise Unavailable(
            f"the agent {row.agent_id} of task {row.task_id} is not there to be asked; see `mesolite agents`"
        )
    path = f"{row.sandbox.rstrip('/')}/{'stderr' if use_stderr else 'stdout'}"
    if follow:
        parts = follow_output(
            row.agent_url, path, lambda: _has_ended(client, row), whereabouts=lambda: _agent_url(client, row)
        )
        for data in parts:
            _write(data)
        return
    try:
        for data in read_output(row.agent_url, path):
            _write(data)
    except NotFound:
        if row.state in ENDED_STATES:
            raise NotFound(
                f"the sandbox of {row.task_id} is gone: it was collected, or the task never started"
            ) from None


@click.command()
@click.argument("tasks", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Return when they have ended.")
@click.pass_context
def kill(ctx: click.Context, tasks: tuple[str, ...], wait: bool) -> None:
    """Kill TASKS: SIGTERM, then SIGKILL after each task's grace period."""
    client = operator_client(ctx)
    asked: list[TaskRow] = []
    for task in tasks:
        row = find_task(client, task)
        if row.state in ENDED_STATES:
            click.echo(f"{row.task_id} has ended already: {row.state.removeprefix('TASK_').lower()}")
            continue
        client.kill(row.framework_id, row.task_id)
        asked.append(row)
        click.echo(f"killing {row.task_id}")
    if wait:
        _wait_for_ends(client, asked)


def _wait_for_ends(client: OperatorClient, rows: list[TaskRow]) -> None:
    deadline_s = time.monotonic() + KILL_WAIT_S
    for row in rows:
        while not _has_ended(client, row):
            if time.monotonic() > deadline_s:
                raise MesoliteError(f"{row.task_id} has not ended after {KILL_WAIT_S:g} s; see `mesolite ps`")
            time.sleep(KILL_POLL_S)
        click.echo(f"{row.task_id} has ended")


def _has_ended(client: OperatorClient, task: TaskRow) -> bool:
    """Say whether a task is over; one that the master forgot is, unless its agent has yet to return to a new master."""
    rows = [
        row for row in client.tasks(include_ended=True, task_id=task.task_id) if row.framework_id == task.framework_id
    ]
    if rows:
        return all(row.state in ENDED_STATES for row in rows)
    return not are_agents_recovering(client, task.agent_id)


def _agent_url(client: OperatorClient, task: TaskRow) -> str:
    """Return where a task's agent serves files now; empty where it has not returned yet."""
    return next((row.url for row in client.agents() if row.agent_id == task.agent_id), "")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _what_happened(row: TaskRow) -> str:
    why = why_text(row.reason, row.message)
    if row.exit_code in (None, 0) or str(row.exit_code) in row.message:
        return why
    return f"exit {row.exit_code}: {why}" if why else f"exit {row.exit_code}"
