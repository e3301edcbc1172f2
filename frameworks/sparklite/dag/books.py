"""All that the DAG scheduler knows, and the simplest changes to it. Who decides (`demand`, `placing`, `endings`) shares it."""

from .effects import CancelTask, DagEffect
from .executors import Executors
from .order import Key, Order
from .outputs import MapOutputs
from .records import Job, Launched, Run, Stage
from .settings import DagSettings
from .view import PlanView
from .waiting import Waiting

#: Agents that are gone are remembered, so that what they say late is not believed; so many at most, the oldest forgotten first.
MAX_LOST_AGENTS = 10_000


class Books:
    """The state of one scheduler."""

    def __init__(self, settings: DagSettings, view: PlanView) -> None:
        self.settings = settings
        self.view = view
        #: Of the event that is being applied.
        self.now_ms = 0
        #: What that event leads to.
        self.effects: list[DagEffect] = []
        self.jobs: dict[int, Job] = {}
        #: By shuffle: the stage that makes it.
        self.stages: dict[int, Stage] = {}
        #: By stage: what runs or waits now.
        self.runs: dict[int, Run] = {}
        #: By shuffle: stages with groups that read it.
        self.readers: dict[int, set[int]] = {}
        self.outputs = MapOutputs()
        self.executors = Executors(settings.ahead)
        self.tasks: dict[int, Launched] = {}
        self.next_task_id = 0
        self.order = Order()
        #: Those of `runs` that are of barrier stages and could run, by stage.
        self.barriers: set[int] = set()
        #: Slots that could run now, of all runs.
        self.runnable = 0
        #: Tasks that run and are wanted.
        self.running = 0
        self.lost_agents: dict[str, None] = {}
        #: By agent: outputs that could not be read there, since the last time all there were given up.
        self.missed_at: dict[str, int] = {}
        #: Shuffles that nobody can name any more, but jobs still read.
        self.forgettable: set[int] = set()

    def needs(self, run: Run, slot: int) -> tuple[int, ...]:
        """Return which shuffles a slot reads, as the plan is now."""
        return tuple(sorted(set(self.view.shuffles_needed(run.stage_id, run.partition(slot)))))

    def are_complete(self, shuffle_ids: tuple[int, ...]) -> bool:
        """Whether all these can be read."""
        return all(map(self.outputs.is_complete, shuffle_ids))

    def run_making(self, shuffle_id: int) -> Run | None:
        """Return what makes a shuffle now."""
        stage = self.stages.get(shuffle_id)
        return None if stage is None else self.runs.get(stage.spec.stage_id)

    def pool_of(self, run: Run) -> str:
        """Return the pool for which a stage runs: its oldest job's."""
        return self.jobs[min(run.jobs)].pool if self.settings.fair else ""

    def rank(self, run: Run) -> None:
        """Put a stage into the order by what it has to run now."""
        runnable = sum(len(group.slots) for group in run.ready) + len(run.slow)
        self.runnable += runnable - run.runnable
        run.runnable = runnable
        if runnable:
            key: Key = (min(run.jobs), -run.depth, run.stage_id)
            self.order.put(self.pool_of(run), key)
            if run.is_barrier:
                self.barriers.add(run.stage_id)
        else:
            self._unrank(run)

    def note_taken(self, run: Run, group: Waiting, slot: int) -> None:
        """A slot was taken out of a group that could run."""
        del run.waiting[slot]
        run.runnable -= 1
        self.runnable -= 1
        if not group.slots:
            run.ready.remove(group)
        if not run.runnable:
            self._unrank(run)

    def note_launch(self, launched: Launched) -> None:
        """A task was sent."""
        self.tasks[launched.task_id] = launched
        launched.run.running.setdefault(launched.slot, []).append(launched)
        self.executors.take(launched.executor_id, launched.task_id)
        self.order.count(launched.pool, 1)
        self.running += 1

    def note_end(self, task_id: int) -> Launched | None:
        """A task ended, however: its worker has room. Return what it was, None for an unknown one."""
        launched = self.tasks.pop(task_id, None)
        if launched is not None:
            self.executors.free(launched.executor_id, task_id)
            if launched.wanted:
                self._leave(launched)
        return launched

    def cancel(self, launched: Launched) -> None:
        """End a task that runs. It holds its worker until the word of its end comes."""
        launched.wanted = False
        self._leave(launched)
        self.effects.append(CancelTask(task_id=launched.task_id))

    def lose_agent(self, agent_id: str) -> None:
        """An agent is gone for good."""
        self.lost_agents[agent_id] = None
        self.missed_at.pop(agent_id, None)
        if len(self.lost_agents) > MAX_LOST_AGENTS:
            del self.lost_agents[next(iter(self.lost_agents))]

    def _unrank(self, run: Run) -> None:
        self.order.remove(run.stage_id)
        self.barriers.discard(run.stage_id)

    def _leave(self, launched: Launched) -> None:
        copies = launched.run.running[launched.slot]
        copies.remove(launched)
        if not copies:
            del launched.run.running[launched.slot]
        self.order.count(launched.pool, -1)
        self.running -= 1
