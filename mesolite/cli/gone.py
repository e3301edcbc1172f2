"""`mesolite gone`: an operator gives up an agent that will not come back."""

import click

from .connect import operator_client


@click.command()
@click.argument("agents", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def gone(ctx: click.Context, agents: tuple[str, ...], yes: bool) -> None:
    """Give up AGENTS for good: their tasks are GONE_BY_OPERATOR, frameworks start them elsewhere, the ids are never taken again.

    For machines that are lost. If one is only unreachable, its tasks may still run: when it speaks again it is told to stop them.
    """
    client = operator_client(ctx)
    if not yes:
        click.confirm(f"Give up {', '.join(agents)} for good?", abort=True)
    for agent_id in agents:
        client.mark_gone(agent_id)
        click.echo(f"{agent_id} is given up")
