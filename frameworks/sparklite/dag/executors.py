"""Which executors there are, what they run, and which of them has room: the least busy first."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Executor:
    """One executor as the driver knows it."""

    executor_id: str
    agent_id: str
    workers: int
    #: What was sent to it and has not ended, cancelled tasks too: these hold their workers until they are over.
    tasks: set[int] = field(default_factory=set[int])

    @property
    def idle(self) -> int:
        """Workers without a task; negative where tasks wait for one."""
        return self.workers - len(self.tasks)


class Executors:
    """All executors.

    Args:
        ahead: How many tasks more than workers one may have.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._known: dict[str, Executor] = {}
        #: Workers of all.
        self.workers = 0
        #: Those of `_known` with an idle worker, in order: fewest idle workers negated, then name.
        self._idle: list[tuple[int, str]] = []
        #: Idle workers of all.
        self.idle_workers = 0
        #: Those without one that may still have a task ahead of their workers.
        self._roomy: list[tuple[int, str]] = []
        #: By agent: how many of its executors have workers.
        self._agents: dict[str, int] = {}

    def __contains__(self, executor_id: str) -> bool:
        return executor_id in self._known

    def get(self, executor_id: str) -> Executor | None:
        """Return one, if it is there."""
        return self._known.get(executor_id)

    def all(self) -> list[Executor]:
        """Return all, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def idle(self) -> Sequence[Executor]:
        """Return those with an idle worker, the least busy first."""
        return [self._known[name] for _, name in self._idle]

    def roomy(self) -> Sequence[Executor]:
        """Return those whose workers are all busy, and that may have a task more."""
        return [self._known[name] for _, name in self._roomy]

    @property
    def agents(self) -> dict[str, int]:
        """How many executors with workers each agent has; agents without are not in it."""
        return self._agents

    def change(self, executor_id: str, agent_id: str, workers: int) -> None:
        """Enter one, or its new number of workers."""
        known = self._known.get(executor_id)
        tasks = set[int]() if known is None else known.tasks
        if known is not None:
            self._strike_out(known)
        self._enter(Executor(executor_id, agent_id, max(workers, 0), tasks))

    def over(self, executor_id: str) -> Executor | None:
        """Strike one out; return what it was."""
        known = self._known.get(executor_id)
        if known is not None:
            self._strike_out(known)
        return known

    def take(self, executor_id: str, task_id: int) -> None:
        """A task was sent to it."""
        executor = self._known[executor_id]
        self._unrank(executor)
        executor.tasks.add(task_id)
        self._rank(executor)

    def free(self, executor_id: str, task_id: int) -> None:
        """A task that it had is over."""
        executor = self._known.get(executor_id)
        if executor is not None and task_id in executor.tasks:
            self._unrank(executor)
            executor.tasks.discard(task_id)
            self._rank(executor)

    def check(self) -> None:
        """Assert that the sums and ranks say what the executors say."""
        assert self.workers == sum(each.workers for each in self._known.values())
        assert self.idle_workers == sum(max(each.idle, 0) for each in self._known.values())
        assert self._idle == sorted((-each.idle, each.executor_id) for each in self._known.values() if each.idle > 0)
        agents: dict[str, int] = {}
        for each in self._known.values():
            if each.workers:
                agents[each.agent_id] = agents.get(each.agent_id, 0) + 1
        assert self._agents == agents

    def _enter(self, executor: Executor) -> None:
        self._known[executor.executor_id] = executor
        self.workers += executor.workers
        if executor.workers:
            self._agents[executor.agent_id] = self._agents.get(executor.agent_id, 0) + 1
        self._rank(executor)

    def _strike_out(self, executor: Executor) -> None:
        self._unrank(executor)
        del self._known[executor.executor_id]
        self.workers -= executor.workers
        if executor.workers:
            self._agents[executor.agent_id] -= 1
            if not self._agents[executor.agent_id]:
                del self._agents[executor.agent_id]

    def _rank(self, executor: Executor) -> None:
        ranking = self._ranking(executor)
        if ranking is not None:
            insort(ranking, (-executor.idle, executor.executor_id))
        self.idle_workers += max(executor.idle, 0)

    def _unrank(self, executor: Executor) -> None:
        ranking = self._ranking(executor)
        if ranking is not None:
            del ranking[bisect_left(ranking, (-executor.idle, executor.executor_id))]
        self.idle_workers -= max(executor.idle, 0)

    def _ranking(self, executor: Executor) -> list[tuple[int, str]] | None:
        if executor.idle > 0:
            return self._idle
        return self._roomy if executor.workers and executor.idle > -self._ahead else None
