"""How many workers are wanted: by what is in hand and waits, at once upwards, late and one at a time downwards.

Four things ask for workers: processes for all tasks that run; so many messages for each worker; messages that wait for longer
than they should, more than there are; and anything that happens at all, one. The highest counts.

Upwards it counts at once, at most doubling what there is. Downwards the highest wish of the quiet time counts, so that a load
which comes and goes within it moves nothing; those that stay must have processes to spare for what ran in that time; and where
one is missed soon after it had gone, the quiet time is longer for a while.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from .group import Group
from .settings import FORGET_AFTER, LEAST_GROWTH, MAX_LOOKS, MAX_PATIENCE, MISSED_WITHIN, MOST_USED, SHRINK_STEP_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a look says of a group's load."""

    #: Tasks that run on workers that stay.
    active: int
    #: Tasks that run on workers that are leaving: others like them will come, and go to those that stay.
    leaving: int = 0
    #: Messages that wait, in queues or with workers.
    waiting: int
    #: Messages that workers keep until their time.
    scheduled: int = 0
    #: Tasks begun since the look before. Short ones are never seen while they run.
    begun: int = 0
    #: How long the oldest message has waited.
    age_ms: int = 0
    #: No worker is still on its way: what waits does so in spite of all there are.
    all_up: bool


class Sizing:
    """Of one group."""

    def __init__(self, group: Group) -> None:
        self._group: Final = group
        #: (when, wish, tasks that ran), of the quiet time.
        self._seen: Final[deque[tuple[int, int, int]]] = deque(maxlen=MAX_LOOKS)
        self._target = group.least
        #: When the target changed last.
        self._changed_ms: int | None = None
        #: When one was let go last, and when that was last found to be wrong.
        self._shrunk_ms: int | None = None
        self._regretted_ms = 0
        #: The quiet time is so many times the group's.
        self._patience = 1
        #: When looks began, and when they began again after a time without.
        self._looking_since_ms: int | None = None

    @property
    def target(self) -> int:
        """How many there should be."""
        return self._target

    def begin_at(self, workers: int) -> None:
        """Start from what an earlier life had."""
        self._target = min(max(workers, self._group.least), self._group.most)

    def blind(self) -> None:
        """Nothing can be seen: what there is stays, and the quiet time begins anew with the next look."""
        self._looking_since_ms = None
        self._seen.clear()

    def look(self, now_ms: int, load: Load) -> None:
        """Take in what is seen."""
        if self._looking_since_ms is None:
            self._looking_since_ms = now_ms
        self._lose_patience(now_ms)
        wish = self._wish(load)
        if load.waiting and load.age_ms > self._group.max_wait_ms and load.all_up and wish <= self._target:
            wish = self._target + 1
            self._regret(now_ms, FORGET_AFTER * self._quiet_ms)
        wish = min(max(wish, self._group.least), self._group.most)
        self._seen.append((now_ms, wish, load.active + load.leaving))
        while self._seen[0][0] < now_ms - self._quiet_ms:
            self._seen.popleft()
        if wish > self._target:
            self._regret(now_ms, MISSED_WITHIN * self._quiet_ms)
            self._target = min(wish, self._target + max(LEAST_GROWTH, self._target))
            self._changed_ms = now_ms
        elif self._may_shrink(now_ms):
            self._target -= 1
            self._changed_ms = self._shrunk_ms = now_ms

    @property
    def _quiet_ms(self) -> int:
        return self._group.quiet_ms * self._patience

    def _wish(self, load: Load) -> int:
        wish = max(self._workers_for(load.active), min(self._target, self._workers_for(load.active + load.leaving)))
        wish = max(wish, -(-(load.active + load.waiting) // self._group.per_worker))
        return max(wish, 1) if load.scheduled or load.begun else wish

    def _workers_for(self, active: int) -> int:
        return -(-active // self._group.worker.concurrency)

    def _may_shrink(self, now_ms: int) -> bool:
        assert self._looking_since_ms is not None
        if now_ms - self._looking_since_ms < self._quiet_ms:
            return False
        # The newest first: most looks end here, and they are hundreds where the quiet time is long.
        if any(wish >= self._target for _, wish, _ in reversed(self._seen)):
            return False
        processes = (self._target - 1) * self._group.worker.concurrency
        if sum(active for _, _, active in self._seen) > MOST_USED * processes * len(self._seen):
            return False
        return self._changed_ms is None or now_ms - self._changed_ms >= min(SHRINK_STEP_MS, self._group.quiet_ms)

    def _regret(self, now_ms: int, within_ms: int) -> None:
        """Be more patient from now on, where one was let go within that time; once for each."""
        if self._shrunk_ms is not None and now_ms - self._shrunk_ms < within_ms:
            self._patience = min(2 * self._patience, MAX_PATIENCE)
            self._regretted_ms, self._shrunk_ms = now_ms, None

    def _lose_patience(self, now_ms: int) -> None:
        if self._patience > 1 and now_ms - self._regretted_ms > FORGET_AFTER * self._quiet_ms:
            self._patience //= 2
            self._regretted_ms = now_ms
