"""`mesolite ps | kill`: the tasks of every framework."""

import time
from typing import Final

import click

from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
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
    # Most frameworks have none, and lines are long enough.
    has_executors = any(row.executor_id for row in rows)
    cells = [
        [
            plain(row.task_id),
            plain(row.framework_name or row.framework_id),
            state_text(row.state),
            plain(row.agent_id),
            *([plain(row.executor_id)] if has_executors else []),
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
        *([Column("EXECUTOR", may_shrink=True)] if has_executors else []),
        Column("CPUS", is_number=True),
        Column("MIB", is_number=True),
        Column("AGE", is_number=True),
        Column("COMMAND", may_shrink=True),
        Column("MESSAGE", may_shrink=True),
    ]
    nothing = "no tasks; `mesolite run -- echo hello` makes one" if include_ended else "no tasks run; `ps -a` shows all"
    print_table(columns, cells, nothing=nothing)


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
        while not has_ended(client, row):
            if time.monotonic() > deadline_s:
                raise MesoliteError(f"{row.task_id} has not ended after {KILL_WAIT_S:g} s; see `mesolite ps`")
            time.sleep(KILL_POLL_S)
        click.echo(f"{row.task_id} has ended")


def has_ended(client: OperatorClient, task: TaskRow) -> bool:
    """Say whether a task is over; one that the master forgot is, unless its agent has yet to return to a new master."""
    rows = [
        row for row in client.tasks(include_ended=True, task_id=task.task_id) if row.framework_id == task.framework_id
    ]
    if rows:
        return all(row.state in ENDED_STATES for row in rows)
    return not are_agents_recovering(client, task.agent_id)


def _what_happened(row: TaskRow) -> str:
    why = why_text(row.reason, row.message)
    if row.exit_code in (None, 0) or str(row.exit_code) in row.message:
        return why
    return f"exit {row.exit_code}: {why}" if why else f"exit {row.exit_code}"
