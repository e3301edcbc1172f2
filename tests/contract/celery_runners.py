"""The runners that the contract of runners is held against: the fake, containers of their own, and warm workers."""

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from mesolite.discovery import ClusterAddress
from mesolite.executors.python.calls import End, Outcome
from mesolite.frameworks.celery.calls import Runner
from mesolite.frameworks.celery.fake_runner import FakeCells, FakeRunner
from mesolite.frameworks.celery.single import SingleRunner, SingleSettings
from mesolite.frameworks.futures.pickling import FunctionCache
from mesolite.ids import FrameworkId
from mesolite.protocol import FrameworkInfo
from tests.integration.warm_rig import FAILOVER_TIMEOUT_MS, Task, WarmRig, work

_MEBIBYTE: Final = 1024 * 1024


class World(Protocol):
    """Where runners run what `warm_rig.work` does."""

    def runner(self) -> Runner:
        """Begin a life of a dispatcher; the one before is over."""
        ...

    def task(self, what: str = "work", **options: Any) -> Task:
        """Make a task that does this."""
        ...

    def open_gate(self) -> None:
        """Let those that wait end."""
        ...

    def await_begun(self, tasks: Sequence[Task]) -> None:
        """Wait until these have begun."""
        ...

    def begun(self) -> list[str]:
        """Ids of tasks that began, as often as they did."""
        ...

    def settle(self) -> None:
        """Let what can go on go on."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


class FakeWorld:
    """The fake, with a hand that moves its cells."""

    def __init__(self, rig: WarmRig) -> None:
        self._rig: Final = rig
        self._cells: Final = FakeCells()
        self._begun: Final[list[str]] = []
        self._is_open = False

    def runner(self) -> Runner:
        """See `World`."""
        return FakeRunner(self._cells)

    def task(self, what: str = "work", **options: Any) -> Task:
        """See `World`."""
        return self._rig.task(what, **options)

    def open_gate(self) -> None:
        """See `World`."""
        self._is_open = True
        self.settle()

    def await_begun(self, tasks: Sequence[Task]) -> None:
        """See `World`."""
        self.settle()

    def begun(self) -> list[str]:
        """See `World`."""
        return self._begun

    def settle(self) -> None:
        """See `World`."""
        for name in self._cells.waiting:
            self._begun.append(self._cells.run_of(name).task_id)
            self._cells.begin(name)
        for name in self._cells.running:
            run = self._cells.run_of(name)
            if run.name == "die":
                self._cells.end(name, Outcome(End.DIED, message="it was ended by SIGKILL"))
            elif run.name == "eat":
                self._cells.end(
                    name, Outcome(End.OUT_OF_MEMORY, limit_bytes=128 * _MEBIBYTE, peak_bytes=128 * _MEBIBYTE)
                )
            elif run.name != "wait" or self._is_open:
                self._cells.end(name, Outcome(End.RETURNED, pickle.dumps((run.task_id, os.getpid()))))

    def close(self) -> None:
        """See `World`."""


class WarmWorld:
    """Warm workers."""

    def __init__(self, rig: WarmRig) -> None:
        self.rig: Final = rig

    def runner(self) -> Runner:
        """See `World`."""
        return self.rig.runner()

    def task(self, what: str = "work", **options: Any) -> Task:
        """See `World`."""
        return self.rig.task(what, **options)

    def open_gate(self) -> None:
        """See `World`."""
        self.rig.open_gate()

    def await_begun(self, tasks: Sequence[Task]) -> None:
        """See `World`."""
        self.rig.await_begun(tasks)

    def begun(self) -> list[str]:
        """See `World`."""
        return self.rig.begun()

    def settle(self) -> None:
        """See `World`."""

    def close(self) -> None:
        """See `World`."""
        self.rig.close()


class SingleWorld(WarmWorld):
    """Containers of their own."""

    def __init__(self, rig: WarmRig) -> None:
        super().__init__(rig)
        self.runners: Final[list[SingleRunner]] = []
        self.framework_id: Final = FrameworkId(f"{rig.framework_id}-single")

    def runner(self) -> Runner:
        """See `World`."""
        info = FrameworkInfo(
            framework_id=self.framework_id, name="single", roles=("*",), failover_timeout_ms=FAILOVER_TIMEOUT_MS
        )
        settings = SingleSettings(name="single", own_python=sys.executable, is_first=not self.runners)
        runner = SingleRunner(
            self.rig.place, info, settings, self.rig.broken.append, function=FunctionCache().pack(work)
        )
        runner.start()
        self.runners.append(runner)
        return runner

    def close(self) -> None:
        """See `World`."""
        for runner in self.runners:
            runner.close(leave_running=False)
        for runner in self.runners:
            runner.join(10.0)


def world_of(name: str, address: ClusterAddress, folder: Path) -> World:
    """Make the world of this name."""
    rig = WarmRig(address, folder)
    match name:
        case "single":
            return SingleWorld(rig)
        case "warm":
            return WarmWorld(rig)
        case _:
            return FakeWorld(rig)
