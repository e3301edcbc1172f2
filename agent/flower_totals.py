"""The work that executors do without a task for each piece, summed for Flower: an agent's calls beside its tasks."""

import threading
from collections.abc import Sequence
from typing import Final

from mesolite.ids import ContainerId
from mesolite.protocol import ExecutorTotals

from .effects import TotalsChange

#: What Flower's pages count the calls under, where they count tasks under their names.
CALL_NAME: Final = "mesolite.pool.call"


class CallTotals:
    """Sums of one agent's executors; from any thread.

    Calls of an executor count from its start, and stay counted when it has ended, while the agent's process lives.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        #: The newest word of each executor that lives, and has said one.
        self._living: Final[dict[ContainerId, ExecutorTotals]] = {}
        self._ended = 0

    def changed(self, changes: Sequence[TotalsChange]) -> None:
        """Take up what executors said."""
        with self._lock:
            for change in changes:
                if change.totals is not None:
                    self._living[change.container_id] = change.totals
                elif (last := self._living.pop(change.container_id, None)) is not None:
                    self._ended += last.succeeded + last.failed

    def processed(self) -> int:
        """How many calls have ended."""
        with self._lock:
            return self._ended + sum(each.succeeded + each.failed for each in self._living.values())

    def active(self) -> int:
        """How many run now."""
        with self._lock:
            return sum(each.active for each in self._living.values())

    def by_name(self) -> dict[str, int]:
        """How many have ended, as Celery's workers count tasks by name; nothing where there were none."""
        processed = self.processed()
        return {CALL_NAME: processed} if processed else {}
