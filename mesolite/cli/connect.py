"""From a command to the cluster: its address and a client for its operator API, and finding one task among many."""

import difflib
import time
from typing import Final

import click

from mesolite.discovery import ClusterAddress, find_cluster, find_masters
from mesolite.errors import BadInput, NotFound
from mesolite.masters import PATIENCE_S
from mesolite.operator import OperatorClient
from mesolite.views import TaskRow

from .root import RootOptions

#: How long an unknown task is looked for after a change of master: agents return to the new one within seconds.
RECOVERY_WAIT_S: Final = 5.0
RECOVERY_POLL_S: Final = 0.2
#: An agent that registered with an earlier master and not yet with this one (views.AgentRow): its tasks are not known yet.
RECOVERING: Final = "recovering"

#: Near ids named for an unknown one.
MAX_SUGGESTIONS: Final = 3


def cluster_address(ctx: click.Context) -> ClusterAddress:
    """Return the cluster that the command is about, its Redis included.

    Raises:
        MasterUnavailable: There is none.
    """
    options = ctx.find_object(RootOptions) or RootOptions()
    return find_cluster(options.where)


def operator_client(ctx: click.Context) -> OperatorClient:
    """Return a client for the cluster's operator API.

    Raises:
        MasterUnavailable: There is no cluster.
    """
    options = ctx.find_object(RootOptions) or RootOptions()
    return patient_client(find_masters(options.where))


def patient_client(address: ClusterAddress) -> OperatorClient:
    """Return a client that waits while leadership changes hands, and says so once."""

    def tell(why: str) -> None:
        click.echo(f"no master leads ({why}); waiting for up to {PATIENCE_S:g} s", err=True)

    return OperatorClient(address.master_url, patience_s=PATIENCE_S, on_wait=tell)


def find_task(client: OperatorClient, given: str) -> TaskRow:
    """Return the task with an id, ended or not.

    Args:
        client: The cluster.
        given: TASK, or FRAMEWORK/TASK where several frameworks use the id.

    Raises:
        NotFound: Nothing has the id; near ones are named.
        BadInput: Several frameworks use it.
    """
    framework_id, _, task_id = given.rpartition("/")
    deadline_s = time.monotonic() + RECOVERY_WAIT_S
    while not (matching := tasks_named(client, framework_id, task_id)) and time.monotonic() < deadline_s:
        if not are_agents_recovering(client):
            break
        time.sleep(RECOVERY_POLL_S)
    if len(matching) == 1:
        return matching[0]
    if matching:
        choices = ", ".join(f"{row.framework_id}/{row.task_id}" for row in matching)
        raise BadInput(f"several frameworks have a task {task_id!r}; say which: {choices}")
    known = [row.task_id for row in client.tasks(include_ended=True)]
    near = difflib.get_close_matches(task_id, known, n=MAX_SUGGESTIONS)
    near += [name for name in known if name.startswith(task_id) and name not in near][: MAX_SUGGESTIONS - len(near)]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `mesolite ps -a` lists them"
    raise NotFound(f"there is no task {given!r}{hint}")


def are_agents_recovering(client: OperatorClient, agent_id: str | None = None) -> bool:
    """Say whether an agent, or any, has yet to tell a new master what it runs."""
    return any(row.status == RECOVERING and agent_id in (None, row.agent_id) for row in client.agents())


def tasks_named(client: OperatorClient, framework_id: str, task_id: str) -> list[TaskRow]:
    """Return the tasks with an id, ended or not, of a framework or of any where that is empty."""
    found = client.tasks(include_ended=True, task_id=task_id)
    return [row for row in found if row.task_id == task_id and framework_id in ("", row.framework_id)]
