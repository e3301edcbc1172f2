"""The tasks of an executor: which it was told to launch, what was reported of each, and for a while which have ended.

A task id is launched once, however often its agent says so: while the task is known its record tells, afterwards the memory of
ends. The memory is bounded, which is enough: an agent repeats a launch only where it does not know that it arrived, and it knows
once the end is acknowledged, long before the memory is full.
"""

from collections.abc import Iterator
from typing import Final

from .codec import quoted_length
from .protocol import TaskId
from .states import ENDS, FOLLOWS, State

#: Tasks that have not ended, or whose end is not acknowledged. More than any agent of a sensible size has room for.
MAX_TASKS: Final = 100_000
#: The ids, as they stand in SUBSCRIBE, of tasks of which no update is acknowledged: with the updates there they fit one line.
MAX_UNHEARD_BYTES: Final = 4 * 1024 * 1024
#: Tasks whose end is acknowledged, remembered so that a launch said twice is not obeyed twice.
MAX_REMEMBERED_ENDS: Final = 20_000


class Life:
    """One task's."""

    __slots__ = ("heard", "kill_by_ms", "launched", "state", "task_id")

    def __init__(self, task_id: TaskId, *, launched: bool) -> None:
        self.task_id = task_id
        #: The executor was told to start it. False for one that was to be killed, or refused, before it came.
        self.launched = launched
        #: The last report; None before the first.
        self.state: State | None = None
        #: An update of it was acknowledged, so the agent knows that the executor has it.
        self.heard = False
        #: When it is to be over, once a kill was asked for; later kills count where they ask for less.
        self.kill_by_ms: int | None = None

    @property
    def ended(self) -> bool:
        """Its end was reported."""
        return self.state in ENDS

    def follow(self, state: State) -> str:
        """Enter a reported state; return why not, empty where it did."""
        if state not in FOLLOWS[self.state]:
            return f"{state} cannot follow {self.state}"
        self.state = state
        return ""


class Tasks:
    """All tasks of one executor."""

    def __init__(self) -> None:
        self._lives: dict[TaskId, Life] = {}
        #: The last state, by id, oldest first.
        self._ends: dict[TaskId, State] = {}
        self._unheard_bytes = 0
        #: Launched and not ended.
        self._living = 0

    def __getitem__(self, task_id: TaskId) -> Life:
        return self._lives[task_id]

    def get(self, task_id: TaskId) -> Life | None:
        """Return a task's life while it is known."""
        return self._lives.get(task_id)

    def end_of(self, task_id: TaskId) -> State | None:
        """Return how a task ended whose end is acknowledged; None where it did not, or too long ago."""
        return self._ends.get(task_id)

    def is_known(self, task_id: TaskId) -> bool:
        """Whether the task came before."""
        return task_id in self._lives or task_id in self._ends

    @property
    def living(self) -> int:
        """How many were launched and have not ended."""
        return self._living

    def living_ids(self) -> Iterator[TaskId]:
        """Yield the tasks that were launched and have not ended, in order."""
        return (life.task_id for life in self._lives.values() if life.launched and not life.ended)

    def unheard(self) -> tuple[TaskId, ...]:
        """Return the tasks that were launched and of which no update is acknowledged, in order."""
        return tuple(life.task_id for life in self._lives.values() if life.launched and not life.heard)

    def has_room(self, task_id: TaskId) -> bool:
        """Whether one more may be launched."""
        return len(self._lives) < MAX_TASKS and self._unheard_bytes + quoted_length(task_id) < MAX_UNHEARD_BYTES

    def add(self, task_id: TaskId, *, launched: bool) -> Life:
        """Note a task that did not come before."""
        life = self._lives[task_id] = Life(task_id, launched=launched)
        if launched:
            self._unheard_bytes += quoted_length(task_id) + 1
            self._living += 1
        return life

    def report(self, life: Life, state: State) -> str:
        """Enter a reported state; return why not, empty where it did."""
        if why := life.follow(state):
            return why
        if life.launched and life.ended:
            self._living -= 1
        return ""

    def acknowledge(self, task_id: TaskId, state: State) -> None:
        """An update of this task with this state is acknowledged: the end of one that ended is all that is remembered."""
        life = self._lives.get(task_id)
        if life is None:
            return
        if life.launched and not life.heard:
            self._unheard_bytes -= quoted_length(task_id) + 1
        life.heard = True
        if state in ENDS:
            del self._lives[task_id]
            self._ends[task_id] = state
            if len(self._ends) > MAX_REMEMBERED_ENDS:
                del self._ends[next(iter(self._ends))]

    def check(self) -> None:
        """Assert what always holds."""
        assert self._living == sum(1 for _ in self.living_ids())
        assert self._unheard_bytes == sum(quoted_length(task_id) + 1 for task_id in self.unheard())
        assert not self._lives.keys() & self._ends.keys()
        assert len(self._ends) <= MAX_REMEMBERED_ENDS
