"""What the commands print: tables for people, JSON for programs, and the few formats that both tables and lines share."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from mesolite.views import Amounts

if TYPE_CHECKING:
    from rich.console import Console

#: Colours of states, by what they mean for the one who looks.
STATE_STYLES: Final = {
    "TASK_RUNNING": "green",
    "TASK_STARTING": "cyan",
    "TASK_STAGING": "cyan",
    "TASK_KILLING": "yellow",
    "TASK_FINISHED": "dim",
    "TASK_KILLED": "yellow",
    "TASK_UNREACHABLE": "magenta",
}
FAILED_STYLE: Final = "red"

#: A table that is not on a terminal is never cut; this is wider than any row.
PIPE_WIDTH: Final = 400


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    #: Numbers stand right.
    is_number: bool = False
    #: Where a terminal is narrow this column gives way.
    may_shrink: bool = False


def why_text(reason: str, message: str) -> str:
    """Return a reason and its message in words. That a command failed is said by its exit code already."""
    words = "" if reason == "REASON_COMMAND_EXECUTOR_FAILED" else reason.removeprefix("REASON_")
    return ": ".join(part for part in (words.replace("_", " ").lower(), message) if part)


def console() -> "Console":
    """Return a rich console on stdout: colours on a terminal only, and never with NO_COLOR."""
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or not on_terminal
    return Console(
        no_color=plain, highlight=False, width=None if on_terminal else PIPE_WIDTH, soft_wrap=not on_terminal
    )


def print_json(value: object) -> None:
    """Print a value for programs."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Print a table for people, or one line that says why there is none."""
    if not rows:
        click.echo(nothing)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            overflow="ellipsis" if column.may_shrink else "fold",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*row)
    screen = console()
    if sys.stdout.isatty():
        screen.print(table)
        return
    with screen.capture() as drawn:
        screen.print(table)
    # Columns are filled up with spaces, which are of no use to whoever reads the pipe.
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def state_text(state: str) -> str:
    """Return a state without its prefix, coloured by rich's markup."""
    style = STATE_STYLES.get(state, FAILED_STYLE)
    return f"[{style}]{state.removeprefix('TASK_')}[/]"


def plain(text: str) -> str:
    """Return text from elsewhere so that rich prints it as it is."""
    from rich.markup import escape

    return escape(" ".join(text.split()))


def age_text(since_ms: int, now_ms: int | None = None) -> str:
    """Return how long ago something was: "5s", "3m", "2h", "4d"; empty where it has not been."""
    if since_ms <= 0:
        return ""
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    seconds = max(0, now_ms - since_ms) // 1000
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def amount_text(amounts: Amounts, name: str) -> str:
    """Return one amount: "0.5"; "0" where there is none."""
    amount = amounts.get(name, 0)
    return amount if isinstance(amount, str) else f"{amount:g}"


def amounts_text(amounts: Amounts) -> str:
    """Return amounts as they are written in settings: "cpus:0.5;mem:64"."""
    return ";".join(f"{name}:{amount_text(amounts, name)}" for name in sorted(amounts))


def free_amounts(total: Amounts, used: Amounts, offered: Amounts) -> Amounts:
    """Return what is neither used nor offered, for names with numbers."""

    def number(amounts: Amounts, name: str) -> float:
        value = amounts.get(name, 0)
        return value if not isinstance(value, str) else 0.0

    return {
        name: round(number(total, name) - number(used, name) - number(offered, name), 3)
        for name, value in total.items()
        if not isinstance(value, str)
    }
