"""The load as tests hold it: started, killed, started again, asked for more, read."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from mesolite import FrameworkId, TaskId
from tests.source_tree import ROOT
from tests.waiting import eventually

from .load_journal import Line, now_ms, read_journal
from .load_program import TEAR_DOWN, Plan
from .story import Story

#: Small, so that what is counted is scheduling and not the machine.
CPUS: Final = 0.05
MEM_MIB: Final = 32
LONGS: Final = 10
#: Short tasks on their way at once: two processors start some four containers a second, so there is always one to start.
WINDOW: Final = 12
#: A program that was told to stop and has not by then hangs.
STOP_TIMEOUT_S: Final = 30

ValueT = TypeVar("ValueT")


class LoadProcess:
    """One framework and the process that runs it, in as many lives as it takes."""

    def __init__(self, folder: Path, redis_url: str, cluster: str, image: str | None, pace_per_s: float) -> None:
        """Prepare.

        Args:
            folder: For the journal, the goal and the log.
            redis_url: The cluster's Redis, as settings write it.
            cluster: The cluster's name.
            image: For the tasks; the agents' default where absent.
            pace_per_s: Short tasks that come due in a second.
        """
        run = f"load{uuid4().hex[:6]}"
        self.framework_id: Final = FrameworkId(run)
        self.journal: Final = folder / "journal.jsonl"
        self.log: Final = folder / "load.log"
        self._goal_file = folder / "goal"
        self._plan_file = folder / "plan.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.goal = 0
        self._set_goal(0)
        plan = Plan(
            redis_url=redis_url,
            cluster=cluster,
            framework_id=self.framework_id,
            journal=str(self.journal),
            goal=str(self._goal_file),
            run=run,
            longs=LONGS,
            window=WINDOW,
            pace_per_s=pace_per_s,
            image=image,
            cpus=CPUS,
            mem_mib=MEM_MIB,
        )
        self._plan_file.write_bytes(msgspec.json.encode(plan))

    def start(self) -> None:
        """Begin a life."""
        assert self._process is None, "it runs"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.load_program", str(self._plan_file)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End a life as a crash does."""
        assert self._process is not None, "it does not run"
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def close(self) -> None:
        """End the framework with all that runs; by force where it does not go."""
        if self._process is None:
            return
        self._set_goal(TEAR_DOWN)
        try:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None
        except subprocess.TimeoutExpired:
            self.kill()

    def push(self, count: int) -> range:
        """Ask for more short tasks; returns which pieces of work they are."""
        wave = range(self.goal, self.goal + count)
        self.goal += count
        self._set_goal(self.goal)
        return wave

    def lines(self) -> list[Line]:
        """The journal."""
        return read_journal(self.journal)

    def story(self) -> Story:
        """What the journal amounts to."""
        return Story.of(self.lines())

    def wait_for_longs(self, *, within_s: float) -> frozenset[TaskId]:
        """Wait until the long tasks run, and name them."""

        def running() -> frozenset[TaskId]:
            found = self.story().running_longs()
            return found if len(found) == LONGS else frozenset()

        return self.watched(running, within_s=within_s)

    def wait_for(self, wave: range, count: int, *, within_s: float) -> None:
        """Wait until so many pieces of a wave are done."""

        def done() -> bool:
            works = {f"short-{number}" for number in wave}
            return len(works & self.story().finished_work()) >= count

        self.watched(done, within_s=within_s)

    def watched(self, look: Callable[[], ValueT], *, within_s: float) -> ValueT:
        """Wait for something, and at the deadline say what the load last wrote."""
        try:
            return eventually(look, within_s=within_s)
        except AssertionError as late:
            tail = "\n".join(str(line) for line in self.lines()[-12:])
            logged = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{late}\nthe journal ends ({now_ms()}):\n{tail}\nthe log ends:\n{logged}") from None

    def _set_goal(self, goal: int) -> None:
        """Whole or not at all: the load may look at any moment."""
        draft = self._goal_file.with_suffix(".draft")
        draft.write_text(str(goal))
        draft.replace(self._goal_file)
