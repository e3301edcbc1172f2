"""What a journal amounts to: per task its launch and what was heard of it. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from mesolite import TERMINAL_STATES, OfferId, TaskId, TaskState

from .load_journal import Began, Ended, Heard, Launched, Line, Offered, Subscribed


@dataclass(slots=True)
class TaskStory:
    """One task."""

    task_id: TaskId
    work: str
    launched_ms: int
    #: All that was heard, in order.
    heard: list[Heard] = field(default_factory=list[Heard])

    def last_words(self) -> list[Heard]:
        """What was said of its end."""
        return [each for each in self.heard if each.state in TERMINAL_STATES]

    def started_ms(self) -> int | None:
        """When its agent saw it run for the first time."""
        return next((each.made_ms for each in self.heard if each.state is TaskState.RUNNING and each.uuid), None)

    def runs(self) -> bool:
        """Whether it runs, as far as was heard."""
        return bool(self.heard) and self.heard[-1].state is TaskState.RUNNING


@dataclass(slots=True)
class Story:
    """One load, all its lives."""

    #: In the order of their launches.
    tasks: dict[TaskId, TaskStory] = field(default_factory=dict[TaskId, TaskStory])
    #: Statuses of tasks that nobody launched.
    strangers: list[Heard] = field(default_factory=list[Heard])
    #: How often each offer was delivered.
    offers: Counter[OfferId] = field(default_factory=Counter[OfferId])
    #: Epochs subscribed under, in order.
    epochs: list[int] = field(default_factory=list[int])
    lives: int = 0
    refusals: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Story":
        """Read a journal."""
        story = cls()
        for line in lines:
            match line:
                case Began():
                    story.lives += 1
                case Launched():
                    assert line.task_id not in story.tasks, f"the load used {line.task_id} twice"
                    story.tasks[line.task_id] = TaskStory(line.task_id, line.work, line.at_ms)
                case Heard():
                    task = story.tasks.get(line.task_id)
                    (task.heard if task is not None else story.strangers).append(line)
                case Offered():
                    story.offers.update(line.offer_ids)
                case Subscribed():
                    story.epochs.append(line.epoch)
                case Ended():
                    story.refusals.append(line.message)
        return story

    def finished_work(self) -> set[str]:
        """Work that a task of it FINISHED."""
        return {
            task.work
            for task in self.tasks.values()
            if any(word.state is TaskState.FINISHED for word in task.last_words())
        }

    def running_longs(self) -> frozenset[TaskId]:
        """Long tasks that run."""
        return frozenset(task.task_id for task in self.tasks.values() if task.work.startswith("long-") and task.runs())

    def longest_gap_ms(self, since_ms: int, until_ms: int) -> int:
        """The longest time within a span in which no task started, seen from the agents that start them."""
        starts = sorted(
            started
            for task in self.tasks.values()
            if (started := task.started_ms()) is not None and since_ms <= started <= until_ms
        )
        marks = [since_ms, *starts, until_ms]
        return max(later - earlier for earlier, later in pairwise(marks))
