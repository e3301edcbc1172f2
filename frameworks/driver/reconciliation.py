"""Asking the master for the state of tasks until it has answered for each (reference 1.9).

One round is in progress at most. A round sends every task once, in batches; after a pause that grows it sends those that are
still unanswered again, and ends when none is left. The master's silence about a task means "not known yet": its agent may still
re-register, and until then nobody can say that the task is lost.
"""

from collections import deque
from collections.abc import Iterable

from mesolite.ids import TaskId

from .settings import RECONCILE_BATCH, RECONCILE_RETRY_CAP_MS, RECONCILE_RETRY_MS, RECONCILE_SPACING_MS
from .subscription import Backoff


class Reconciliation:
    """The tasks that were asked for and not answered yet."""

    def __init__(self) -> None:
        #: Asked for and not answered; a dict for its order.
        self._unanswered: dict[TaskId, None] = {}
        #: Still to be sent in this pass; some may have been answered meanwhile.
        self._unsent: deque[TaskId] = deque()
        self._due_ms: int | None = None
        self._backoff = Backoff(RECONCILE_RETRY_MS, RECONCILE_RETRY_CAP_MS)

    @property
    def due_ms(self) -> int | None:
        """When `take` has something to send next; None while no round is in progress."""
        return self._due_ms

    @property
    def unanswered(self) -> int:
        """How many tasks are still unanswered."""
        return len(self._unanswered)

    def begin(self, task_ids: Iterable[TaskId], now_ms: int) -> None:
        """Ask for these tasks, besides those already asked for; the pauses begin short again."""
        for task_id in task_ids:
            self._unanswered[task_id] = None
        self._unsent = deque(self._unanswered)
        self._backoff.reset()
        self._due_ms = now_ms if self._unanswered else None

    def answered(self, task_id: TaskId) -> None:
        """Hear something about a task, or forget it."""
        if self._unanswered:
            self._unanswered.pop(task_id, None)

    def take(self, now_ms: int) -> list[TaskId]:
        """Return the tasks to ask for now, at most RECONCILE_BATCH."""
        if self._due_ms is None or now_ms < self._due_ms:
            return []
        batch: list[TaskId] = []
        while self._unsent and len(batch) < RECONCILE_BATCH:
            task_id = self._unsent.popleft()
            if task_id in self._unanswered:
                batch.append(task_id)
        if self._unsent:
            self._due_ms = now_ms + RECONCILE_SPACING_MS
        elif self._unanswered:
            self._unsent = deque(self._unanswered)
            self._due_ms = now_ms + self._backoff.take_ms()
        else:
            self._due_ms = None
        return batch

    def check(self, known: Iterable[TaskId]) -> None:
        """Assert that only tasks in `known` are asked for, and that unanswered ones will be asked for again."""
        assert self._unanswered.keys() <= set(known), "asking for tasks that have ended"
        assert not self._unanswered or self._due_ms is not None, "unanswered tasks are never asked for again"
