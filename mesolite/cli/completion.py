"""`mesolite completion SHELL`: the script that makes a shell complete our commands (click's own)."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL; for bash: eval "$(mesolite completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that it is asked for"
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "mesolite", "_MESOLITE_COMPLETE").source())
