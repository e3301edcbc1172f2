"""`mesolite celery-aside`: messages that nobody shall run again, and messages of dispatchers that nobody starts again."""

from typing import TYPE_CHECKING

import click

from mesolite.errors import BadInput, NotFound

from .listings import json_option
from .output import Column, age_text, plain, print_json, print_table

if TYPE_CHECKING:
    from mesolite.frameworks.celery.broker.reaching import Broker
    from mesolite.frameworks.celery.broker.standing import Aside


@click.command()
@click.option("--app", "-A", help="The application, as `celery -A` takes it.")
@click.option("--broker", "-b", "url", help="The broker's address, where it is not the application's.")
@click.option("--name", help="Of one dispatcher.  [all]")
@click.option("--requeue", multiple=True, metavar="ID", help="Put this task's message back into its queue.")
@click.option("--drop", multiple=True, metavar="ID", help="Forget this task's message.")
@click.option("--all", "everything", type=click.Choice(["requeue", "drop"]), help="Do so with all of them.")
@click.option("--release", metavar="NAME", help="Put back what a dispatcher owns that will not start again.")
@click.option(
    "--given", is_flag=True, help="With --release: also what was given to workers, and may have run: it may run twice."
)
@json_option
def celery_aside(
    app: str | None,
    url: str | None,
    name: str | None,
    requeue: tuple[str, ...],
    drop: tuple[str, ...],
    everything: str | None,
    release: str | None,
    given: bool,
    as_json: bool,
) -> None:
    """List Celery messages that were set aside, with the reason: each killed its workers, or is no message.

    A message that is put back is a new one: its workers are counted from none.
    """
    if given and release is None:
        raise BadInput("--given says what to --release, too")
    from mesolite.frameworks.celery.broker.reaching import reached

    with reached(app, url) as broker:
        if release is not None:
            _release(broker, release, given=given)
        elif requeue or drop or everything is not None:
            _settle(broker, name, requeue, drop, everything)
        else:
            _list(broker, name, as_json=as_json)


def _release(broker: "Broker", owner: str, *, given: bool) -> None:
    from mesolite.frameworks.celery.broker import standing

    _known(broker, owner)
    count = standing.release(broker.client, owner, layout=broker.layout, given=given)
    click.echo(f"{count} messages are back in their queues")


def _settle(
    broker: "Broker", name: str | None, requeue: tuple[str, ...], drop: tuple[str, ...], everything: str | None
) -> None:
    from mesolite.frameworks.celery.broker import standing

    found = _asides(broker, name)
    known = {each.task_id for _, asides in found for each in asides}
    for task_id in (*requeue, *drop):
        if task_id not in known:
            raise NotFound(f"no message of task {task_id} is set aside; `mesolite celery-aside` lists those that are")
    prefix, back, gone = broker.layout.prefix, 0, 0
    for owner, asides in found:
        back_again = [each for each in asides if everything == "requeue" or each.task_id in requeue]
        # The newest is listed first; who was there first goes first.
        back += standing.put_back(broker.client, owner, prefix=prefix, chosen=back_again[::-1])
        forgotten = [each for each in asides if everything == "drop" or each.task_id in drop]
        gone += standing.drop(broker.client, owner, forgotten, prefix=prefix)
    click.echo(f"{back} put back, {gone} dropped")


def _list(broker: "Broker", name: str | None, *, as_json: bool) -> None:
    from mesolite.frameworks.celery.broker import standing

    found = _asides(broker, name)
    if as_json:
        print_json(
            [
                {
                    "dispatcher": owner,
                    "task_id": each.task_id,
                    "task": each.task,
                    "queue": broker.layout.queue_of(each.key),
                    "why": each.why,
                    "at_s": each.at_s,
                    "bytes": len(each.message),
                }
                for owner, asides in found
                for each in asides
            ]
        )
        return
    rows = [
        [
            plain(owner),
            plain(each.task_id or "-"),
            plain(each.task or "-"),
            plain(broker.layout.queue_of(each.key)),
            age_text(int(each.at_s * 1000)),
            plain(each.why),
        ]
        for owner, asides in found
        for each in asides
    ]
    columns = [Column("DISPATCHER"), Column("TASK ID"), Column("TASK"), Column("QUEUE"), Column("AGE")]
    print_table([*columns, Column("WHY", may_shrink=True)], rows, nothing="nothing is set aside")
    for each in standing.standings(broker.client, broker.layout.prefix):
        if each.owned and not each.lives and name in (None, each.owner):
            click.echo(
                f"dispatcher {each.owner} does not run and owns {each.owned} messages, {each.given} of them given to workers: "
                f"start it again, or --release {each.owner}",
                err=True,
            )


def _asides(broker: "Broker", name: str | None) -> "list[tuple[str, list[Aside]]]":
    """What each dispatcher, or this one, has set aside, the newest first."""
    from mesolite.frameworks.celery.broker import standing
    from mesolite.frameworks.celery.broker.requests import MAX_ASIDE

    prefix = broker.layout.prefix
    if name is not None:
        _known(broker, name)
    owners = [
        each.owner for each in standing.standings(broker.client, prefix) if each.aside and name in (None, each.owner)
    ]
    return [(owner, standing.aside(broker.client, owner, prefix=prefix, most=MAX_ASIDE)) for owner in owners]


def _known(broker: "Broker", owner: str) -> None:
    from mesolite.frameworks.celery.broker import standing

    known = [each.owner for each in standing.standings(broker.client, broker.layout.prefix)]
    if owner not in known:
        raise NotFound(f"no dispatcher {owner!r} has been here; there were: {', '.join(known) or 'none'}")
