"""`mesolite agents | offers | frameworks | explain | dead-letters`: what the master says, as tables or JSON."""

import difflib

import click

from mesolite.errors import NotFound

from .connect import operator_client
from .output import (
    Column,
    age_text,
    amount_text,
    amounts_text,
    free_amounts,
    plain,
    print_json,
    print_table,
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

_STATUS_STYLES = {"active": "green", "connected": "green", "unreachable": "red", "completed": "dim"}


def _status(text: str) -> str:
    return f"[{_STATUS_STYLES.get(text, 'yellow')}]{plain(text)}[/]"


@click.command()
@json_option
@click.pass_context
def agents(ctx: click.Context, as_json: bool) -> None:
    """List agents, what they have and what of it is free."""
    rows = operator_client(ctx).agents()
    if as_json:
        print_json(rows)
        return
    cells: list[list[str]] = []
    for row in rows:
        free = free_amounts(row.total, row.used, row.offered)
        cells.append(
            [
                plain(row.agent_id),
                plain(row.hostname),
                _status(row.status),
                f"{amount_text(free, 'cpus')} of {amount_text(row.total, 'cpus')}",
                f"{amount_text(free, 'mem')} of {amount_text(row.total, 'mem')}",
                str(row.tasks),
                age_text(row.registered_ms),
                plain(row.containerizer),
            ]
        )
    columns = [
        Column("AGENT"),
        Column("HOST"),
        Column("STATUS"),
        Column("CPUS FREE", is_number=True),
        Column("MIB FREE", is_number=True),
        Column("TASKS", is_number=True),
        Column("SINCE", is_number=True),
        Column("CONTAINERS", may_shrink=True),
    ]
    print_table(columns, cells, nothing="no agents; `mesolite up` starts some, `mesolite agent` starts one")


@click.command()
@json_option
@click.pass_context
def offers(ctx: click.Context, as_json: bool) -> None:
    """List outstanding offers: who holds what, and for how long."""
    rows = operator_client(ctx).offers()
    if as_json:
        print_json(rows)
        return
    cells = [
        [
            plain(row.offer_id),
            plain(row.framework_name or row.framework_id),
            plain(row.role),
            plain(row.agent_id),
            plain(amounts_text(row.resources)),
            f"{row.age_ms / 1000:.1f}s",
        ]
        for row in rows
    ]
    columns = [
        Column("OFFER"),
        Column("FRAMEWORK"),
        Column("ROLE"),
        Column("AGENT"),
        Column("RESOURCES", may_shrink=True),
        Column("HELD", is_number=True),
    ]
    print_table(columns, cells, nothing="no outstanding offers: no framework is being asked right now")


@click.command()
@click.option("-a", "--all", "include_ended", is_flag=True, help="Show those that ended, too.")
@json_option
@click.pass_context
def frameworks(ctx: click.Context, include_ended: bool, as_json: bool) -> None:
    """List frameworks, what they use and what they still want."""
    rows = operator_client(ctx).frameworks(include_ended=include_ended)
    if as_json:
        print_json(rows)
        return
    cells = [
        [
            plain(row.framework_id),
            plain(row.name),
            _status(row.status),
            plain(",".join(row.roles)),
            amount_text(row.used, "cpus"),
            amount_text(row.used, "mem"),
            plain(" ".join(f"{state.removeprefix('TASK_').lower()}:{n}" for state, n in sorted(row.tasks.items()))),
            plain(", ".join(row.demand)),
        ]
        for row in rows
    ]
    columns = [
        Column("FRAMEWORK"),
        Column("NAME"),
        Column("STATUS"),
        Column("ROLES"),
        Column("CPUS", is_number=True),
        Column("MIB", is_number=True),
        Column("TASKS", may_shrink=True),
        Column("WANTS", may_shrink=True),
    ]
    print_table(columns, cells, nothing="no frameworks; `mesolite run -- echo hello` is one")


@click.command(name="dead-letters")
@json_option
@click.pass_context
def dead_letters(ctx: click.Context, as_json: bool) -> None:
    """List the newest messages that the master refused, and why."""
    rows = operator_client(ctx).dead_letters()
    if as_json:
        print_json(rows)
        return
    cells = [
        [age_text(row.time_ms), plain(row.stream), plain(row.sender), plain(row.reason), plain(row.excerpt)]
        for row in rows
    ]
    columns = [
        Column("AGE", is_number=True),
        Column("STREAM"),
        Column("SENDER"),
        Column("REASON", may_shrink=True),
        Column("BEGINS", may_shrink=True),
    ]
    print_table(columns, cells, nothing="no dead letters: every message was understood")


@click.command()
@click.argument("framework")
@json_option
@click.pass_context
def explain(ctx: click.Context, framework: str, as_json: bool) -> None:
    """Say why FRAMEWORK (its id or name) is not offered what it wants."""
    client = operator_client(ctx)
    rows = client.frameworks(include_ended=True)
    ids = [row.framework_id for row in rows if framework in (row.framework_id, row.name)]
    if not ids:
        known = [row.framework_id for row in rows] + [row.name for row in rows if row.name]
        near = difflib.get_close_matches(framework, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `mesolite frameworks` lists them"
        raise NotFound(f"there is no framework {framework!r}{hint}")
    answer = client.explain(framework if framework in ids else ids[0])
    if as_json:
        print_json(answer)
        return
    click.echo(answer.summary)
    cells = [
        [plain(why.reason), plain(why.role), plain(", ".join(why.agents)), age_text(why.since_ms)]
        for why in answer.reasons
    ]
    if cells:
        columns = [Column("REASON"), Column("ROLE"), Column("AGENTS", may_shrink=True), Column("SINCE", is_number=True)]
        print_table(columns, cells, nothing="")
