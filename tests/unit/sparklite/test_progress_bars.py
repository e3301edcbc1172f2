"""Progress bars: which stages have one, what they show, and that they leave nothing behind."""

import io

import pytest
from rich.console import Console

from mesolite.frameworks.sparklite.history import History
from mesolite.frameworks.sparklite.listener import ExecutorSeen, SparkEvent, StageFinished
from mesolite.frameworks.sparklite.progress import FIRST_AFTER_MS, Bar, ConsoleProgress, bars, drawn
from mesolite.frameworks.sparklite.recorder import Recorder
from mesolite.frameworks.sparklite.reporting import progress_wanted
from tests.waiting import eventually

from .event_stories import T0, job_began, stage_began, task_finished, task_started, tell, whole_job

SHOW_CURSOR = "\x1b[?25h"


class Screen(io.StringIO):
    """A terminal, or not."""

    def __init__(self, *, terminal: bool = True) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """Whether it is one."""
        return self._terminal


def running() -> list[SparkEvent]:
    """A stage of which one task is done, one failed and one runs."""
    return [
        job_began(0, 3),
        stage_began(3, 4, name="map at [app].py:7"),
        *(task_started(number, 3) for number in range(3)),
        task_finished(0, 3),
        task_finished(1, 3, outcome="failed", reason="no"),
    ]


def history_of(events: list[SparkEvent]) -> History:
    """A past in which this happened."""
    history = History()
    for event in events:
        history.apply(event)
    return history


def test_a_stage_has_a_bar_when_it_has_run_for_a_while() -> None:
    history = history_of(running())
    assert bars(history, T0 + FIRST_AFTER_MS - 1) == []
    [bar] = bars(history, T0 + 2000)
    assert bar == Bar(name="stage 3  map at [app].py:7", done=1, active=1, failed=1, total=4, running_ms=2000)


def test_a_stage_that_has_ended_has_none() -> None:
    ended = StageFinished(at_ms=T0 + 3000, stage_id=3, attempt=0, reason="")
    assert bars(history_of([*running(), ended]), T0 + 4000) == []


def test_what_waits_in_an_executor_does_not_run() -> None:
    seen = ExecutorSeen(at_ms=T0, executor_id="e-1", agent_id="a-1", host="host-a", workers=1)
    more = [task_started(number, 3) for number in (7, 8, 9)]
    [bar] = bars(history_of([seen, *running(), *more]), T0 + 2000)
    assert bar.active == 1


def test_a_bar_takes_one_line_of_a_narrow_terminal() -> None:
    text = io.StringIO()
    bar = Bar(name="stage 3  " + "long" * 50, done=999, active=16, failed=2, total=1000, running_ms=61_000)
    Console(file=text, width=80).print(drawn([bar], 80))
    assert len(text.getvalue().splitlines()) == 1
    assert "999/1000" in text.getvalue()


def test_many_stages_have_few_bars() -> None:
    shown = [Bar(name=f"stage {n}", done=0, active=0, failed=0, total=1, running_ms=0) for n in range(20)]
    text = io.StringIO()
    Console(file=text, width=100).print(drawn(shown, 100))
    assert "stage 7 " in text.getvalue()
    assert "stage 8 " not in text.getvalue()
    assert "and 12 more stages" in text.getvalue()


@pytest.mark.parametrize(
    ("setting", "terminal", "environment", "answer"),
    [
        (None, True, {}, True),
        (None, False, {}, False),
        (None, True, {"NO_COLOR": "1"}, False),
        (None, True, {"TERM": "dumb"}, False),
        ("false", True, {}, False),
        ("true", True, {"NO_COLOR": "1"}, True),
        ("true", False, {}, False),
    ],
)
def test_bars_are_drawn_where_somebody_sees_them(
    setting: str | None, terminal: bool, environment: dict[str, str], answer: bool
) -> None:
    assert progress_wanted(setting, Screen(terminal=terminal), environment) is answer


def test_bars_are_drawn_and_cleared() -> None:
    """Method: the clock stands where the stage has run for two seconds; a thread draws; then the stage ends."""
    screen = Screen()
    recorder = Recorder()
    progress = ConsoleProgress(recorder, Console(file=screen, force_terminal=True, width=120), lambda: T0 + 2000)
    for event in running():
        recorder.heard(event)
        progress.heard(event)
    eventually(lambda: "stage 3  map at [app].py:7" in screen.getvalue(), within_s=10)
    eventually(lambda: "1/4" in screen.getvalue() and "1 failed" in screen.getvalue(), within_s=10)
    recorder.heard(StageFinished(at_ms=T0 + 2000, stage_id=3, attempt=0, reason=""))
    eventually(lambda: SHOW_CURSOR in screen.getvalue(), within_s=10)
    progress.close()


def test_short_stages_leave_the_terminal_alone() -> None:
    screen = Screen()
    recorder = Recorder()
    progress = ConsoleProgress(recorder, Console(file=screen, force_terminal=True, width=120), lambda: T0)
    for event in whole_job():
        recorder.heard(event)
        progress.heard(event)
    assert progress.draw() is False
    progress.close()
    assert screen.getvalue() == ""


def test_closing_in_the_middle_of_a_stage_clears_its_bar() -> None:
    screen = Screen()
    recorder = Recorder()
    progress = ConsoleProgress(recorder, Console(file=screen, force_terminal=True, width=120), lambda: T0 + 2000)
    tell(recorder, running())
    tell(progress, running())
    eventually(lambda: "stage 3" in screen.getvalue(), within_s=10)
    progress.close()
    assert SHOW_CURSOR in screen.getvalue()
