"""From a command to the cluster: its address and a client for its operator API, and finding one task among many."""

import difflib
from typing import Final

import click

from mesolite.discovery import ClusterAddress, find_cluster, find_masters
from mesolite.errors import BadInput, NotFound
from mesolite.masters import PATIENCE_S
from mesolite.operator import OperatorClient
from mesolite.views import TaskRow

from .root import RootOptions

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
    found = client.tasks(include_ended=True, task_id=task_id)
    matching = [row for row in found if row.task_id == task_id and framework_id in ("", row.framework_id)]
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
