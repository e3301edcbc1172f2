"""Warm workers on a real cluster of processes, without Celery: tasks are functions of this module, sent by value."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesolite.discovery import ClusterAddress
from mesolite.executors.celery.protocol import TaskRun
from mesolite.executors.python.calls import End, Outcome
from mesolite.frameworks.celery.calls import Ending, Place, TaskOptions
from mesolite.frameworks.celery.warm import WarmRunner
from mesolite.frameworks.celery.warm_settings import WarmSettings
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.pickling import FunctionCache
from mesolite.ids import FrameworkId
from mesolite.protocol import FrameworkInfo
from tests.source_tree import ROOT
from tests.waiting import eventually

KIND: Final = CallOptions(cpus=0.5, mem_mib=128, python=sys.executable).kind
#: Longer than any test.
FAILOVER_TIMEOUT_MS: Final = 600_000
_framework_numbers = itertools.count(1)


def work(name: str, task_id: str, request: dict[str, Any], *rest: object) -> tuple[str, int]:
    """What a worker runs: writes that it begins, does what the task's name says, and writes that it ends."""
    journal = Path(request["journal"])
    with journal.open("a") as lines:
        lines.write(f"begun {task_id} {os.getpid()}\n")
    if name == "wait":
        gate = Path(request["gate"])
        never = threading.Event()
        while not gate.exists():
            never.wait(0.01)
    elif name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "eat":
        eaten = bytearray(10)
        while True:
            eaten += b"x" * 4_000_000
    with journal.open("a") as lines:
        lines.write(f"ended {task_id} {os.getpid()}\n")
    return task_id, os.getpid()


@dataclass(eq=False)
class Task:
    """A `TaskCall` that remembers what it is told."""

    name: str
    run: TaskRun
    options: TaskOptions
    places: list[Place | None] = field(default_factory=list["Place | None"])
    endings: list[Ending] = field(default_factory=list[Ending])
    place: Place | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def begun(self, place: Place | None) -> None:
        """See `TaskCall`."""
        self.places.append(place)

    def ended(self, ending: Ending, place: Place | None) -> None:
        """See `TaskCall`."""
        self.endings.append(ending)
        self.place = place
        self.over.set()

    def ending(self, within_s: float = 30.0) -> Ending:
        """Wait for its end."""
        assert self.over.wait(within_s), f"{self.name} has not ended"
        return self.endings[0]

    def outcome(self, within_s: float = 30.0) -> Outcome:
        """Wait for its end, which must be one that its executor told."""
        ending = self.ending(within_s)
        assert isinstance(ending, Outcome), ending
        return ending

    def returned(self, within_s: float = 30.0) -> Any:
        """Wait until it returns."""
        outcome = self.outcome(within_s)
        assert outcome.end is End.RETURNED, outcome
        assert isinstance(outcome.payload, bytes)
        return pickle.loads(outcome.payload)


class WarmRig:
    """Runners on one cluster."""

    def __init__(self, place: ClusterAddress | ClusterPlace, folder: Path, framework_id: str = "") -> None:
        self.place: Final = ClusterPlace(place.redis_url, place.cluster, place.principal)
        self.folder: Final = folder
        self.journal: Final = folder / "journal"
        self.gate: Final = folder / "gate"
        # Workers are other users.
        folder.chmod(0o777)
        self.journal.touch()
        self.journal.chmod(0o666)
        self.broken: Final[list[str]] = []
        self._runners: Final[list[WarmRunner]] = []
        self._names: Final = itertools.count(1)
        self.framework_id: Final = FrameworkId(framework_id or f"warm-{next(_framework_numbers)}-{os.getpid()}")

    def runner(self, **settings: Any) -> WarmRunner:
        """Start one life of a dispatcher's runner."""
        info = FrameworkInfo(
            framework_id=self.framework_id, name="warm", roles=("*",), failover_timeout_ms=FAILOVER_TIMEOUT_MS
        )
        own: dict[str, Any] = {"max_workers": 4, **settings}
        warm = WarmSettings(name="warm", kind=KIND, **own)
        runner = WarmRunner(self.place, info, warm, self.broken.append, function=FunctionCache().pack(work))
        runner.start()
        self._runners.append(runner)
        return runner

    def task(self, what: str = "work", *, kind: Kind = KIND, max_time_s: float | None = None, name: str = "") -> Task:
        """Make a task that does this."""
        name = name or f"{what}-{next(self._names)}"
        request = {"journal": str(self.journal), "gate": str(self.gate)}
        run = TaskRun(what, name, request, ((), {}, {}), None, None, None)
        return Task(name, run, TaskOptions(kind=kind, max_time_s=max_time_s))

    def tasks(self, count: int, what: str = "work") -> list[Task]:
        """Make so many."""
        return [self.task(what) for _ in range(count)]

    def dispatcher(self, max_workers: int, *tasks: Task) -> "subprocess.Popen[bytes]":
        """Start a process with a runner of its own, to which these are submitted; `kill` ends it without a word."""
        place = (self.place.redis_url, self.place.cluster, self.place.principal)
        names = [f"{task.run.name}={task.name}" for task in tasks]
        arguments = [*place, str(self.folder), self.framework_id, str(max_workers), *names]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.integration.warm_program", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )

    def open_gate(self) -> None:
        """Let those that wait end."""
        self.gate.touch()

    def begun(self) -> list[str]:
        """Ids of tasks in the order in which workers began them, as often as they did."""
        return [line.split()[1] for line in self.journal.read_text().splitlines() if line.startswith("begun")]

    def await_begun(self, tasks: Sequence[Task], within_s: float = 30.0) -> None:
        """Wait until all of these have begun."""
        wanted = {task.run.task_id for task in tasks}
        eventually(lambda: wanted <= set(self.begun()), within_s=within_s)

    def await_count(self, count: int, within_s: float = 30.0) -> None:
        """Wait until so many have begun."""
        eventually(lambda: len(self.begun()) >= count, within_s=within_s)

    def close(self) -> None:
        """End what is left on the cluster."""
        for runner in self._runners:
            runner.close(leave_running=False)
        for runner in self._runners:
            runner.join(10.0)


@contextmanager
def warm_rig(address: ClusterAddress) -> Generator[WarmRig]:
    """A rig on a cluster; what it leaves is ended."""
    with tempfile.TemporaryDirectory(prefix="mesolite-warm-") as folder:
        rig = WarmRig(address, Path(folder))
        try:
            yield rig
        finally:
            rig.close()
