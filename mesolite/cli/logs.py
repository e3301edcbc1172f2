"""`mesolite logs`: what a task, a call or an executor wrote.

    TASK, FRAMEWORK/TASK          the task's output; of a call that is a task, the log of that call
    FRAMEWORK/EXECUTOR            what the executor itself wrote
    FRAMEWORK/EXECUTOR/CALL       the log of one call: its number in a pool, or its task

A task under an executor has no sandbox of its own: the master says which executor's it is, and of which of its lives. Executors
that keep the output of their tasks apart do so in a folder of logs, as the Python executor does; of any other the executor's
own output is shown, for there whatever its tasks write must be.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import click

from mesolite.errors import BadInput, NotFound, Unavailable
from mesolite.executors.python.log_names import DIRECTORY, MAX_LOGS, MAX_LOGS_BYTES, SUFFIX, task_log_name
from mesolite.operator import OperatorClient
from mesolite.sandbox_client import follow_output, list_sandbox, read_output, read_sandbox, runs_executor
from mesolite.views import TaskRow

from .connect import are_agents_recovering, find_task, operator_client, tasks_named
from .tasks import ENDED_STATES, has_ended

#: States in which an executor may not have heard of its task yet.
NOT_TOLD: Final = frozenset({"TASK_STAGING", "TASK_STARTING"})
#: How often somebody who follows a task looks whether its executor has begun.
BEGIN_POLL_S: Final = 0.2
#: Other logs that are named where one is not there.
MAX_NAMED_LOGS: Final = 5


@dataclass(frozen=True, slots=True)
class _Output:
    """A file on an agent, and whose it is."""

    agent_id: str
    agent_url: str
    path: str
    #: Says whether nothing more is written.
    ended: Callable[[], bool]
    #: Says why the file is not there, to people; raises where that is an error.
    explain: Callable[[], None]


@click.command()
@click.argument("name", metavar="TASK")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task, or the executor, ends.")
@click.option("--stderr", "use_stderr", is_flag=True, help="Show stderr instead of stdout.")
@click.option("--agent", help="Of executors with one name on several agents, the one on this agent.")
@click.pass_context
def logs(ctx: click.Context, name: str, follow: bool, use_stderr: bool, agent: str | None) -> None:
    """Show the output of TASK, byte for byte.

    FRAMEWORK/EXECUTOR shows what an executor itself wrote, FRAMEWORK/EXECUTOR/CALL the log of one of its calls.
    """
    client = operator_client(ctx)
    output = _find(client, name, agent, "stderr" if use_stderr else "stdout", follow=follow)
    if output is None:
        return
    if follow:
        parts = follow_output(
            output.agent_url, output.path, output.ended, whereabouts=lambda: _agent_url(client, output.agent_id)
        )
    else:
        parts = read_output(output.agent_url, output.path)
    is_empty = True
    try:
        for data in parts:
            is_empty = False
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if is_empty and follow:
            read_sandbox(output.agent_url, output.path, offset=0)
    except NotFound:
        output.explain()


def _find(client: OperatorClient, name: str, agent: str | None, channel: str, *, follow: bool) -> _Output | None:
    """Return the file that a name leads to; None where nothing is there yet, which people were told."""
    framework, _, rest = name.partition("/")
    executor_id, _, call = rest.partition("/")
    if call:
        row = _find_executor(client, framework, executor_id, agent)
        if row is None:
            raise NotFound(f"no executor {executor_id!r} of {framework} is known; `mesolite ps -a` shows executors")
        return _output_of_call(client, row, call, channel)
    try:
        row = find_task(client, name)
    except NotFound:
        framework, _, executor_id = name.rpartition("/")
        executor = _find_executor(client, framework, executor_id, agent)
        if executor is None:
            raise
        return _output_of_executor(client, executor, channel)
    if agent not in (None, row.agent_id):
        raise NotFound(f"{row.task_id} was not on agent {agent}, but on {row.agent_id}")
    _check_agent(row)
    if row.executor_id:
        return _output_under_executor(client, row, channel, follow=follow)
    return _Output(
        row.agent_id,
        row.agent_url,
        f"{row.sandbox.rstrip('/')}/{channel}",
        lambda: has_ended(client, row),
        lambda: _explain_task(row),
    )


def _check_agent(row: TaskRow) -> None:
    if not row.agent_url or not row.sandbox:
        raise Unavailable(
            f"the agent {row.agent_id} of task {row.task_id} is not there to be asked; see `mesolite agents`"
        )


def _explain_task(row: TaskRow) -> None:
    if row.state in ENDED_STATES:
        raise NotFound(f"the sandbox of {row.task_id} is gone: it was collected, or the task never started")


# Tasks under an executor


def _output_under_executor(client: OperatorClient, row: TaskRow, channel: str, *, follow: bool) -> _Output | None:
    if follow:
        row = _once_begun(client, row)
    names = _names_in(row)
    if names is None:
        _explain_no_sandbox(row)
        return None
    if DIRECTORY not in names:
        whose = f"executor {row.executor_id}, which keeps no logs of single tasks"
        click.echo(f"{row.task_id} is a task of {whose}; this is what the executor itself wrote:", err=True)
        path = f"{row.sandbox}/{channel}"
        return _Output(row.agent_id, row.agent_url, path, lambda: has_ended(client, row), lambda: None)
    _check_channel(row, row.task_id, channel)
    return _Output(
        row.agent_id,
        row.agent_url,
        _log_path(row.sandbox, row.task_id),
        lambda: has_ended(client, row),
        lambda: _explain_silence(client, row),
    )


def _once_begun(client: OperatorClient, row: TaskRow) -> TaskRow:
    """Wait until a task's executor has heard of it, or nobody waits for that any more."""
    while row.state in NOT_TOLD and DIRECTORY not in (_names_in(row) or ()):
        time.sleep(BEGIN_POLL_S)
        current = tasks_named(client, row.framework_id, row.task_id)
        if current:
            (row,) = current
        elif not are_agents_recovering(client, row.agent_id):
            break
    return row


def _names_in(row: TaskRow) -> set[str] | None:
    """Name what lies in a task's sandbox; None where there is no sandbox."""
    try:
        return {entry.name for entry in list_sandbox(row.agent_url, row.sandbox)}
    except NotFound:
        return None


def _explain_no_sandbox(row: TaskRow) -> None:
    if row.state in NOT_TOLD:
        waits = f"{row.task_id} waits for its executor {row.executor_id}, which has not begun"
        click.echo(f"{waits}; `mesolite logs -f` waits for it", err=True)
        return
    raise NotFound(
        f"the sandbox of executor {row.executor_id}, under which {row.task_id} ran, is gone: it was collected, or the "
        "executor never started; `mesolite ps -a` says how the task ended"
    )


def _explain_silence(client: OperatorClient, row: TaskRow) -> None:
    if has_ended(client, row):
        kept = f"the newest {MAX_LOGS:,} logs, up to {MAX_LOGS_BYTES // 1024**2} MiB"
        silence = f"{row.task_id} printed nothing, or its log is no more: an executor keeps {kept}"
    else:
        silence = f"{row.task_id} has printed nothing so far"
    executor = f"{row.framework_id}/{row.executor_id}"
    click.echo(
        f"{silence}; `mesolite logs {executor}` shows what its executor wrote{_other_logs(row, executor)}", err=True
    )


# Executors and calls


def _output_of_executor(client: OperatorClient, row: TaskRow, channel: str) -> _Output:
    def explain() -> None:
        where = f"the sandbox of executor {row.executor_id} on agent {row.agent_id}"
        raise NotFound(f"{where} is not there: it was collected, or the executor has not begun")

    path = f"{_executor_sandbox(row)}/{channel}"
    return _Output(row.agent_id, row.agent_url, path, lambda: _executor_has_ended(client, row), explain)


def _output_of_call(client: OperatorClient, row: TaskRow, call: str, channel: str) -> _Output:
    executor = f"{row.framework_id}/{row.executor_id}"

    def explain() -> None:
        gone = "the call printed nothing, or newer logs took its place"
        raise NotFound(f"executor {executor} has no log of a call {call!r}: {gone}{_other_logs(row, executor)}")

    _check_channel(row, call, channel)
    path = _log_path(_executor_sandbox(row), call)
    return _Output(row.agent_id, row.agent_url, path, lambda: _executor_has_ended(client, row), explain)


def _find_executor(client: OperatorClient, framework: str, executor_id: str, agent: str | None) -> TaskRow | None:
    """Return the newest task of an executor, by which it is found; None where no task of such a one is known.

    Raises:
        BadInput: There are several.
        Unavailable: Its agent is not there.
    """
    rows = [
        row
        for row in client.tasks(include_ended=True, executor_id=executor_id)
        if row.executor_id == executor_id
        and framework in ("", row.framework_id, row.framework_name)
        and agent in (None, row.agent_id)
    ]
    living = [row for row in rows if row.state not in ENDED_STATES]
    places = {(row.framework_id, row.agent_id): row for row in reversed(living or rows)}
    if len(places) > 1:
        choices = ", ".join(f"{each_framework} on {each_agent}" for each_framework, each_agent in sorted(places))
        raise BadInput(f"there are several executors {executor_id!r}; give FRAMEWORK/EXECUTOR and --agent: {choices}")
    for row in places.values():
        _check_agent(row)
        return row
    return None


def _executor_sandbox(row: TaskRow) -> str:
    return f"/{row.framework_id}/{row.executor_id}/latest"


def _executor_has_ended(client: OperatorClient, row: TaskRow) -> bool:
    """Say whether an executor is over. Without tasks it may go on: its agent knows."""
    tasks = client.tasks(framework_id=row.framework_id, executor_id=row.executor_id)
    if any(each.executor_id == row.executor_id and each.agent_id == row.agent_id for each in tasks):
        return False
    try:
        url = _agent_url(client, row.agent_id)
        return bool(url) and not runs_executor(url, row.framework_id, row.executor_id)
    except Unavailable:
        return False


def _log_path(sandbox: str, call: str) -> str:
    return f"{sandbox}/{DIRECTORY}/{task_log_name(call)}{SUFFIX}"


def _check_channel(row: TaskRow, call: str, channel: str) -> None:
    if channel == "stderr":
        own = f"`mesolite logs --stderr {row.framework_id}/{row.executor_id}` shows the executor's own"
        raise BadInput(f"{call} is a call: stdout and stderr are one log, shown without --stderr; {own}")


def _other_logs(row: TaskRow, executor: str) -> str:
    """Name logs that are there, for who looked for another one."""
    try:
        entries = list_sandbox(row.agent_url, f"{_executor_sandbox(row)}/{DIRECTORY}")
    except NotFound:
        return ""
    found = sorted((entry for entry in entries if entry.name.endswith(SUFFIX)), key=lambda entry: -entry.mtime)
    names = ", ".join(entry.name.removesuffix(SUFFIX) for entry in found[:MAX_NAMED_LOGS])
    return f", `mesolite logs {executor}/CALL` a call's log, of which the newest are {names}" if names else ""


def _agent_url(client: OperatorClient, agent_id: str) -> str:
    """Return where an agent serves files now; empty where it has not returned yet."""
    return next((row.url for row in client.agents() if row.agent_id == agent_id), "")
