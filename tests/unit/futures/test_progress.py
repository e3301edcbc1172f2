"""A progress bar shows how many calls there are and how many have ended, and lets go of the terminal."""

import io

import pytest
import rich
from rich.console import Console

from mesolite.frameworks.futures import Executor, InProcessPool

PATIENCE_S = 20.0
SHOW_CURSOR = "\x1b[?25h"


def console() -> tuple[Console, io.StringIO]:
    """A terminal, and what is drawn in it."""
    drawn = io.StringIO()
    return Console(file=drawn, force_terminal=True, width=100), drawn


def test_a_bar_counts_what_was_submitted_and_what_has_ended() -> None:
    terminal, drawn = console()
    with Executor(backend=lambda _: InProcessPool(), progress=terminal, name="squares") as executor:
        assert list(executor.map(pow, range(20), [2] * 20)) == [number**2 for number in range(20)]
        assert executor.submit(pow, 2, 3).result(PATIENCE_S) == 8
    assert "squares" in drawn.getvalue()
    assert "21/21" in drawn.getvalue()
    assert SHOW_CURSOR in drawn.getvalue()


def test_calls_that_fail_or_are_cancelled_count_too() -> None:
    terminal, drawn = console()
    with Executor(backend=lambda _: InProcessPool(1), progress=terminal) as executor:
        failing = executor.submit(divmod, 1, 0)
        assert isinstance(failing.exception(PATIENCE_S), ZeroDivisionError)
        waiting = [executor.submit(pow, number, 2) for number in range(50)]
        for each in waiting:
            each.cancel()
    assert "51/51" in drawn.getvalue()


def test_true_means_the_terminal_and_nothing_is_drawn_without_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, drawn = console()
    monkeypatch.setattr(rich, "_console", terminal)
    Executor(backend=lambda _: InProcessPool(), progress=True).shutdown()
    assert drawn.getvalue() == ""
    with Executor(backend=lambda _: InProcessPool(), progress=True) as executor:
        executor.submit(pow, 2, 3).result(PATIENCE_S)
    assert "1/1" in drawn.getvalue()
