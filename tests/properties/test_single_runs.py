"""Tasks with containers of their own, over any order of offers, words and restarts of their dispatcher.

Safety: a run is executed once at most, and ends once in the dispatcher's book. Liveness: when offers and words flow again each
run ends, and one whose execution ended is never called lost.
"""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import encode_outcome
from mesolite.frameworks.celery.single_core import KEEP_MS, SingleCore
from mesolite.frameworks.celery.single_events import (
    AcknowledgeUpdates,
    AskFor,
    EndRun,
    LaunchRuns,
    RunCancelled,
    RunsArrived,
    RunsAttached,
    SingleEvent,
    SingleRun,
)
from mesolite.frameworks.driver.scheduling import Offered, StateDemand, Ticked, Updated
from mesolite.frameworks.futures.effects import KillTask
from mesolite.frameworks.futures.options import CallOptions
from mesolite.frameworks.futures.programs import Program
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import TERMINAL_STATES, Offer, Source, TaskState, TaskStatus
from mesolite.resources import scalars

KIND = CallOptions(mem_mib=100).kind
AGENT = AgentId("agent")
MAX_RUNS = 4


class SingleRuns(RuleBasedStateMachine):
    """One dispatcher, its lives, and an agent that loses launches."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.names: list[str] = []
        #: Runs whose end is written: the dispatcher's book, which outlives it.
        self.book: Counter[str] = Counter()
        self.endings: dict[str, Any] = {}
        #: Told to the dispatcher of this life, and not yet written.
        self.told: dict[str, Any] = {}
        self.killed: set[str] = set()
        #: What the agent has; a task that ended stays until it is acknowledged.
        self.tasks: dict[TaskId, TaskState] = {}
        #: All ids that it was ever told to launch.
        self.launched: set[TaskId] = set()
        self.executed: Counter[str] = Counter()
        self.finished: set[str] = set()
        #: Offers are wanted.
        self.is_wanting = False
        #: The agent refuses the next launch.
        self.is_losing = False
        #: Questions that are not answered.
        self.questions: list[TaskId] = []
        self.core = self._new_core()

    def _new_core(self) -> SingleCore:
        return SingleCore(Program(name="test", settings=PythonSettings(python="")))

    def _hear(self, event: SingleEvent) -> None:
        for effect in self.core.apply(event):
            match effect:
                case LaunchRuns():
                    for task in effect.tasks:
                        assert task.task_id not in self.launched, "an id is launched twice"
                        self.launched.add(task.task_id)
                        self.tasks[task.task_id] = TaskState.DROPPED if self.is_losing else TaskState.STAGING
                case AskFor():
                    self.questions += effect.task_ids
                case AcknowledgeUpdates():
                    for status in effect.statuses:
                        if status.state in TERMINAL_STATES and status.uuid is not None:
                            self.tasks.pop(status.task_id, None)
                case EndRun():
                    assert effect.name not in self.told, "an end is told twice"
                    self.told[effect.name] = effect.ending
                case StateDemand():
                    self.is_wanting = bool(effect.demands)
                case KillTask():
                    if self.tasks.get(effect.task_id) in (TaskState.STAGING, TaskState.RUNNING):
                        self.tasks[effect.task_id] = TaskState.KILLED
                case _:
                    pass
        self.core.check()

    def _status(self, task_id: TaskId, *, answer: bool = False) -> TaskStatus:
        state = self.tasks[task_id]
        has_outcome = state is TaskState.FINISHED
        return TaskStatus(
            task_id=task_id,
            state=state,
            source=Source.MASTER if answer and state not in TERMINAL_STATES else Source.EXECUTOR,
            timestamp_ms=0,
            agent_id=AGENT,
            uuid=None if answer and state not in TERMINAL_STATES else f"{task_id} {state.value}".encode(),
            data=encode_outcome(Outcome(End.RETURNED, b"report")) if has_outcome else b"",
        )

    # What may happen

    @precondition(lambda self: len(self.names) < MAX_RUNS)
    @rule()
    def submit(self) -> None:
        name = f"run-{len(self.names)}"
        self.names.append(name)
        self._hear(RunsArrived(now_ms=self.now_ms, runs=(_run(name),)))

    @precondition(lambda self: self.is_wanting)
    @rule(losing=st.booleans(), cpus=st.sampled_from([4, 1, 0.5]))
    def offer(self, losing: bool, cpus: float) -> None:
        self.is_losing = losing
        offered = Offer(
            offer_id=OfferId("offer"),
            framework_id=FrameworkId("test"),
            agent_id=AGENT,
            hostname="host",
            resources=scalars(cpus=cpus, mem_mib=4096).allocated_to("*").to_wire(),
            allocation_role="*",
        )
        self._hear(Offered(now_ms=self.now_ms, offers=(offered,)))

    def _movable(self) -> list[TaskId]:
        return sorted(task_id for task_id, state in self.tasks.items() if state not in TERMINAL_STATES)

    @precondition(lambda self: bool(self._movable()))
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """A container does its next step, of which nobody has heard yet."""
        self._step(data.draw(st.sampled_from(self._movable())))

    @precondition(lambda self: bool(self.tasks))
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        self._hear(Updated(now_ms=self.now_ms, statuses=(self._status(task_id),)))

    @precondition(lambda self: bool(self.questions))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self._answer(self.questions.pop(data.draw(st.integers(0, len(self.questions) - 1))))

    def _answer(self, task_id: TaskId) -> None:
        if task_id in self.tasks:
            status = self._status(task_id, answer=True)
        else:
            status = TaskStatus(task_id=task_id, state=TaskState.UNKNOWN, source=Source.MASTER, timestamp_ms=0)
        self._hear(Updated(now_ms=self.now_ms, statuses=(status,)))

    @precondition(lambda self: bool(self.names) and not self.killed)
    @rule(kill=st.booleans())
    def cancel(self, kill: bool) -> None:
        """The first run alone is ever told to end: of the others more can be asked."""
        self.killed.add(self.names[0])
        self._hear(RunCancelled(now_ms=self.now_ms, name=self.names[0], kill=kill))

    def _write(self) -> None:
        """The dispatcher writes what follows from the ends that it was told."""
        for name, ending in self.told.items():
            self.book[name] += 1
            self.endings[name] = ending
        self.told.clear()

    @precondition(lambda self: bool(self.told))
    @rule()
    def wait(self) -> None:
        """Time passes; by then the dispatcher has written."""
        self._write()
        self.now_ms += KEEP_MS
        self._hear(Ticked(now_ms=self.now_ms))

    @precondition(lambda self: bool(self.launched))
    @rule()
    def restart(self) -> None:
        """The dispatcher is killed, and its next life attaches to all whose end is not written."""
        self.told.clear()
        self.questions.clear()
        self.core = self._new_core()
        runs = tuple(_run(name) for name in self.names if not self.book[name])
        self._hear(RunsAttached(now_ms=self.now_ms, runs=runs))

    # What always holds

    @invariant()
    def nothing_runs_twice(self) -> None:
        assert all(times <= 1 for times in self.executed.values()), self.executed

    @invariant()
    def nothing_ends_twice(self) -> None:
        assert all(times <= 1 for times in self.book.values()), self.book

    def teardown(self) -> None:
        """Offers and words flow again: every run ends, and none that returned is lost."""
        for _ in range(20):
            while self.questions:
                self._answer(self.questions.pop())
            self.offer(losing=False, cpus=4)
            for task_id in sorted(self.tasks):
                for _ in range(3):
                    if task_id in self.tasks:
                        self._hear(Updated(now_ms=self.now_ms, statuses=(self._status(task_id),)))
                        self._step(task_id)
            self.wait()
            self.nothing_runs_twice()
        assert [name for name in self.names if self.book[name] != 1] == []
        for name in self.finished - self.killed:
            ending = self.endings[name]
            assert isinstance(ending, Outcome), f"{name} returned, and is called {ending}"
            assert ending.end is End.RETURNED

    def _step(self, task_id: TaskId) -> None:
        state = self.tasks.get(task_id)
        name = task_id.split("+")[0]
        if state is TaskState.STAGING:
            self.tasks[task_id] = TaskState.RUNNING
            self.executed[name] += 1
        elif state is TaskState.RUNNING:
            self.tasks[task_id] = TaskState.FINISHED
            self.finished.add(name)


def _run(name: str) -> SingleRun:
    return SingleRun(name, "proj.work", KIND, b"C")


TestSingleRuns = SingleRuns.TestCase
TestSingleRuns.settings = settings(max_examples=80, stateful_step_count=40)
pytestmark = pytest.mark.timeout(300)
