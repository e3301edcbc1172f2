"""Which executors a pool has where, and which of them may still take work."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mesolite.ids import AgentId, ExecutorId, TaskId
from mesolite.protocol import ExecutorInfo

from .programs import executor_id_of
from .settings import EXECUTOR_IDLE_MS

Sort = TypeVar("Sort", bound=Hashable)


@dataclass(slots=True, eq=False)
class HeldExecutor(Generic[Sort]):
    """An executor from its launch to its end."""

    info: ExecutorInfo
    agent_id: AgentId
    sort: Sort
    #: Its tasks that have not ended, oldest first; a dict for its order.
    tasks: dict[TaskId, None] = field(default_factory=dict[TaskId, None])
    #: Since when it has none; None while it has some.
    idle_since_ms: int | None = None
    #: An agent has spoken of it; until then its launch may have come to nothing.
    confirmed: bool = False
    #: It was asked to end: nothing new goes there.
    leaving: bool = False
    #: When it is to be asked again, where it was asked.
    ask_again_ms: int | None = None
    #: When it counts as over, whoever is silent about it; None: never.
    over_at_ms: int | None = None
    hostname: str = ""
    launched_ms: int = 0
    #: Calls that it has, as last heard (`CallsGiven`).
    calls: int = 0
    #: It gets no more calls, and is shut down when it has none.
    draining: bool = False
    #: Since when it is too old, and another is to take its place; None while it is not, or must wait for its turn.
    retiring_since_ms: int | None = None

    @property
    def executor_id(self) -> ExecutorId:
        """Its id."""
        return self.info.executor_id

    def deadlines(self) -> Iterator[int]:
        """When it is to be asked to end, or again, or counts as over."""
        if self.leaving:
            yield from (each for each in (self.ask_again_ms, self.over_at_ms) if each is not None)
        elif self.idle_since_ms is not None and not self.draining:
            yield self.idle_since_ms + EXECUTOR_IDLE_MS


class ExecutorBook(Generic[Sort]):
    """Executors by what they are for and where."""

    def __init__(self, life: str = "") -> None:
        #: A part of each id.
        self._life = life
        self._held: dict[ExecutorId, HeldExecutor[Sort]] = {}
        #: The one that takes work, for each sort and agent.
        self._current: dict[tuple[AgentId, Sort], HeldExecutor[Sort]] = {}
        #: Numbers of sorts, for ids.
        self._sorts: dict[Sort, int] = {}
        #: How many executors there have been; so no id is used twice.
        self._lives = 0

    def __iter__(self) -> Iterator[HeldExecutor[Sort]]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, executor_id: ExecutorId) -> HeldExecutor[Sort] | None:
        """The executor of an id."""
        return self._held.get(executor_id)

    def at(self, agent_id: AgentId, sort: Sort) -> HeldExecutor[Sort] | None:
        """The executor of an agent that takes work of a sort."""
        return self._current.get((agent_id, sort))

    def next_id(self, agent_id: AgentId, sort: Sort) -> ExecutorId:
        """An id for a new executor."""
        self._lives += 1
        return executor_id_of(self._sorts.setdefault(sort, len(self._sorts) + 1), self._lives, agent_id, self._life)

    def add(
        self, info: ExecutorInfo, agent_id: AgentId, sort: Sort, now_ms: int = 0, hostname: str = ""
    ) -> HeldExecutor[Sort]:
        """It is being launched."""
        held = HeldExecutor(info, agent_id, sort, launched_ms=now_ms, hostname=hostname)
        self._held[info.executor_id] = held
        self._current[agent_id, sort] = held
        return held

    def confirm(self, executor_id: ExecutorId) -> None:
        """An agent has spoken of one of its tasks."""
        held = self._held.get(executor_id)
        if held is not None:
            held.confirmed = True

    def leave(self, held: HeldExecutor[Sort], again_ms: int) -> None:
        """It was asked to end, and is to be asked again then."""
        held.leaving, held.ask_again_ms = True, again_ms
        self._retire(held)

    def drain(self, held: HeldExecutor[Sort]) -> None:
        """It is to get nothing more."""
        held.draining = True
        self._retire(held)

    def remove(self, held: HeldExecutor[Sort]) -> None:
        """It is over."""
        self._held.pop(held.executor_id, None)
        self._retire(held)

    def on_agent(self, agent_id: AgentId) -> list[HeldExecutor[Sort]]:
        """All executors of an agent."""
        return [held for held in self._held.values() if held.agent_id == agent_id]

    def due(self, now_ms: int) -> list[HeldExecutor[Sort]]:
        """Those that are to be asked to end now, or again, or count as over."""
        return [held for held in self._held.values() if any(each <= now_ms for each in held.deadlines())]

    def has_current(self, sort: Sort) -> bool:
        """Whether any executor takes work of a sort."""
        return any(each == sort for _, each in self._current)

    def task_ended(self, executor_id: ExecutorId, task_id: TaskId, now_ms: int) -> None:
        """One of an executor's tasks is no more."""
        held = self._held.get(executor_id)
        if held is not None and task_id in held.tasks:
            del held.tasks[task_id]
            if not held.tasks:
                held.idle_since_ms = now_ms
                if not held.confirmed:
                    # None of the tasks that it was to be launched for arrived.
                    self.remove(held)

    def _retire(self, held: HeldExecutor[Sort]) -> None:
        if self._current.get((held.agent_id, held.sort)) is held:
            del self._current[held.agent_id, held.sort]
