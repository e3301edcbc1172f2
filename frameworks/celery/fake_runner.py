"""A runner without a cluster: runs begin and end when a test says so. Held to the same contract as the real ones.

    cells = FakeCells()
    runner = FakeRunner(cells)
    runner.submit([call])
    cells.begin(call.name)
    cells.end(call.name, Outcome(End.RETURNED, payload))

What runs is in the cells, which outlive a runner as containers outlive a dispatcher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesolite.executors.celery.protocol import ReportKind, TaskRun
from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.codec import dumps

from ..futures.engine_call import Lost
from .calls import Ending, ExecutorView, TaskCall

_AGENT: Final = "fake-agent"


@dataclass(frozen=True, slots=True)
class FakePlace:
    """See `Place`."""

    executor_id: str
    agent_id: str = _AGENT
    hostname: str = "fake-host"


@dataclass(slots=True, eq=False)
class _Cell:
    #: Who is told of it; None where its dispatcher is over.
    call: TaskCall | None
    run: TaskRun
    place: FakePlace
    begun: bool = False
    #: How it ended while nobody heard.
    ending: Ending | None = None


class FakeCells:
    """Where runs are."""

    def __init__(self) -> None:
        self._cells: Final[dict[str, _Cell]] = {}

    @property
    def waiting(self) -> list[str]:
        """Names of runs that have not begun, oldest first."""
        return [name for name, cell in self._cells.items() if not cell.begun and cell.ending is None]

    @property
    def running(self) -> list[str]:
        """Names of runs that have begun, and not ended."""
        return [name for name, cell in self._cells.items() if cell.begun and cell.ending is None]

    def run_of(self, name: str) -> TaskRun:
        """What a run was given."""
        return self._cells[name].run

    def begin(self, name: str) -> None:
        """A worker takes it."""
        cell = self._cells[name]
        cell.begun = True
        if cell.call is not None:
            cell.call.begun(cell.place)

    def end(self, name: str, ending: Ending) -> None:
        """It is over."""
        cell = self._cells[name]
        cell.ending = ending
        if cell.call is not None:
            del self._cells[name]
            cell.call.ended(ending, cell.place if cell.begun else None)

    def succeed(self, name: str, text: str = "None", runtime_s: float = 0.001) -> None:
        """It begins, and returns."""
        self.begin(name)
        self.end(name, Outcome(End.RETURNED, dumps((int(ReportKind.SUCCEEDED), text, runtime_s, 1024, b""))))

    # For the runner

    def put(self, call: TaskCall) -> None:
        """A run is given away."""
        assert call.name not in self._cells, f"{call.name} was given away twice"
        self._cells[call.name] = _Cell(call, call.run, FakePlace(f"executor-{call.name}"))

    def attach(self, call: TaskCall) -> None:
        """Somebody asks for the end of a run of an earlier life."""
        cell = self._cells.get(call.name)
        if cell is None:
            call.ended(Lost("", False, "no executor knows it"), None)
            return
        cell.call = call
        if cell.ending is not None:
            self.end(call.name, cell.ending)
        elif cell.begun:
            call.begun(cell.place)

    def cancel(self, name: str, *, kill: bool) -> None:
        """End a run; unless `kill`, only one that has not begun."""
        cell = self._cells.get(name)
        if cell is not None and cell.ending is None and (kill or not cell.begun):
            self.end(name, Outcome(End.CANCELLED, message="killed" if kill else "withdrawn", begun=cell.begun))

    def views(self) -> list[ExecutorView]:
        """One executor for each that has begun."""
        return [
            ExecutorView(
                executor_id=cell.place.executor_id,
                agent_id=cell.place.agent_id,
                hostname=cell.place.hostname,
                kind=cell.call.options.kind,
                workers=1,
                calls=1,
                cpus_milli=cell.call.options.kind.cpus_milli,
                mem_mib=cell.call.options.kind.mem_mib,
                image=cell.call.options.kind.image,
            )
            for cell in self._cells.values()
            if cell.begun and cell.call is not None
        ]

    def let_go(self, *, leave_running: bool) -> None:
        """A runner is closed: nobody hears any more; without `leave_running` nothing goes on either."""
        for cell in self._cells.values():
            cell.call = None
        if not leave_running:
            self._cells.clear()


class FakeRunner:
    """See `Runner`.

    Args:
        cells: Those of an earlier life; None: new ones.
    """

    def __init__(self, cells: FakeCells | None = None) -> None:
        self.cells: Final = cells or FakeCells()
        self._closed = False

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`."""
        assert not self._closed, "a closed runner takes nothing"
        for call in calls:
            self.cells.put(call)

    def attach(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`."""
        assert not self._closed, "a closed runner takes nothing"
        for call in calls:
            self.cells.attach(call)

    def kill(self, name: str) -> None:
        """See `Runner`."""
        self.cells.cancel(name, kill=True)

    def withdraw(self, name: str) -> None:
        """See `Runner`."""
        self.cells.cancel(name, kill=False)

    def executors(self) -> Sequence[ExecutorView]:
        """See `Runner`."""
        return self.cells.views()

    def close(self, *, leave_running: bool) -> None:
        """See `Runner`."""
        self._closed = True
        self.cells.let_go(leave_running=leave_running)
