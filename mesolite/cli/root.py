"""The root of the command line: which commands there are, common options, and how errors are told.

Nothing but click is imported before a command is chosen, so that `mesolite --help` and completion answer at once: the
table below names each command's module and its line in the help. An error of ours is one line that says what to do, exit
code 1; wrong usage is click's, exit code 2; a traceback appears only with --debug.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from mesolite.errors import MesoliteError

#: Read where no other file is named.
DEFAULT_CONFIG: Final = "mesolite.toml"

#: Command: its module in this package, the object in it, its line in the help. In the order of the help.
COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "up": ("cluster", "up", "Start a cluster on this machine: Redis, master, agents, Flower."),
    "down": ("cluster", "down", "Stop what `up` started."),
    "demo": ("demo", "demo", "Show the whole of it at work in a minute."),
    "run": ("run", "run", "Run a command on the cluster and show its output."),
    "celery": ("celery", "celery", "Run the tasks of a Celery application on the cluster."),
    "celery-aside": ("celery_aside", "celery_aside", "List Celery messages that were set aside."),
    "ps": ("tasks", "ps", "List tasks."),
    "logs": ("logs", "logs", "Show the output of a task, a call or an executor."),
    "kill": ("tasks", "kill", "Kill a task."),
    "agents": ("listings", "agents", "List agents and what is free on them."),
    "gone": ("gone", "gone", "Give up an agent that will not come back."),
    "offers": ("listings", "offers", "List outstanding offers and who holds them."),
    "frameworks": ("listings", "frameworks", "List frameworks and what they use."),
    "explain": ("listings", "explain", "Say why a framework's tasks do not start."),
    "dead-letters": ("listings", "dead_letters", "List messages that were refused."),
    "master": ("daemons", "master", "Run a master in the foreground."),
    "agent": ("daemons", "agent", "Run an agent in the foreground."),
    "flower": ("flower", "flower", "Run Flower in the foreground."),
    "celery-workers": ("celery_workers", "celery_workers", "Run Celery workers, as many as their queues need."),
    "completion": ("completion", "completion", "Print the completion script of a shell."),
}


class Failure(click.ClickException):
    """An expected error, told in one line."""

    def show(self, file: Any = None) -> None:
        """Print the line to stderr."""
        click.echo(f"{click.style('error:', fg='red', bold=True)} {self.message}", err=True, color=_wants_color())


class Root(click.Group):
    """A group that imports its commands when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"mesolite.cli.{module}"), name)
        assert isinstance(command, click.Command), f"mesolite.cli.{module}.{name} is not a command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, or name a near one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `mesolite {near[0]}`?" if near else "`mesolite --help` lists the commands"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help from the table, so that no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command and tell its errors."""
        try:
            return super().invoke(ctx)
        except MesoliteError as error:
            if ctx.params.get("debug"):
                raise
            raise Failure(str(error)) from None


@click.group(
    cls=Root,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "MESOLITE",
        "max_content_width": 110,
    },
)
@click.option("--config", type=click.Path(path_type=Path), help=f"Settings file  [{DEFAULT_CONFIG}, where it exists]")
# MESOLITE_HOME is left to mesolite.discovery, which knows what comes before it and after it.
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    allow_from_autoenv=False,
    help="Folder of the cluster  [$MESOLITE_HOME, .mesolite, the user's state]",
)
# Not from MESOLITE_CLUSTER: that is the cluster's name, to its processes.
@click.option(
    "--cluster",
    metavar="WHERE",
    allow_from_autoenv=False,
    help="URLs of its masters, with commas between them, or its folder  [$MESOLITE_MASTER_URL, else --home]",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="mesolite")
@click.pass_context
def root(ctx: click.Context, config: Path | None, home: Path | None, cluster: str | None, debug: bool) -> None:
    """Mesolite: one pool of CPU and memory for several Python frameworks.

    Begin with `mesolite up`, then `mesolite run -- echo hello`. Every option can also come from the environment
    (MESOLITE_RUN_CPUS for `run --cpus`); those of up, master and agent from a settings file too.
    """
    ctx.color = _wants_color()
    if config is None and Path(DEFAULT_CONFIG).is_file():
        config = Path(DEFAULT_CONFIG)
    if config is not None:
        from mesolite.config import read_config_file

        ctx.default_map = {**read_config_file(config)}
    ctx.obj = RootOptions(config=config, home=home.absolute() if home is not None else None, cluster=cluster)


class RootOptions:
    """What was said before the command."""

    def __init__(self, config: Path | None = None, home: Path | None = None, cluster: str | None = None) -> None:
        self.config: Final = config
        self.home: Final = home
        self.cluster: Final = cluster

    @property
    def where(self) -> str | Path | None:
        """Which cluster was meant; None where that was left open."""
        return self.cluster or self.home


def main() -> NoReturn:
    """Run the command line and exit."""
    root(prog_name="mesolite")
    raise AssertionError("click exits by itself")


def _wants_color() -> bool | None:
    """Return False where NO_COLOR is set (no-color.org), else leave it to click, which looks for a terminal."""
    return False if os.environ.get("NO_COLOR") else None
