"""How many workers to start and which to end: pure decisions of the executor about its crew."""

from collections.abc import Iterable
from typing import Final

from .assignment import Lane

#: Of a container's memory what main and zygote need, before the rest is shared out among workers.
RESERVED_BYTES: Final = 48 * 1024 * 1024
#: An idle worker that has grown by so much since its first look is replaced: its next call is not to pay for what others left.
MAX_GROWTH_BYTES: Final = 256 * 1024 * 1024
#: ... or by this part of what it may use, where that is less.
_MAX_GROWTH_PART: Final = 4
#: Workers that end before they have answered anything: after so many in a row, waiting calls are given back.
MAX_FALSE_STARTS: Final = 6
_FIRST_PAUSE_MS: Final = 50
_MAX_PAUSE_MS: Final = 5_000
#: How long calls that are tasks wait, while none ends, until they get workers beyond the CPUs: longer than a call that is worth
#: waiting for, shorter than what a person notices.
IMPATIENT_AFTER_MS: Final = 20
#: The most workers of one executor, whatever it is told: each is a process.
MAX_WORKERS: Final = 512


class Impatience:
    """Workers beyond the CPUs, for calls that hold resources of their own and wait though nothing ends.

    Calls that are tasks are all to run at the same time: each has its share of the CPUs, however small, and its memory. As long
    as they end, as many workers as there are CPUs run them one after another, which is how most come through. When none has ended
    for a while, those that wait are behind others that sleep, wait or compute for long; they get workers, at most twice as many
    at each look.
    """

    def __init__(self) -> None:
        #: Workers beyond those that the CPUs are worth.
        self.extra = 0
        self._ended = 0

    def look(self, *, ended: int, waiting: int, workers: int, calls: int) -> bool:
        """Look at the calls that are tasks, every `IMPATIENT_AFTER_MS` while there are some.

        Args:
            ended: How many have ended so far; only grows.
            waiting: How many calls wait for a worker.
            workers: How many workers there are to be.
            calls: Calls that are tasks, waiting or not: there are never more workers than these for the sake of waiting.

        Returns:
            Whether there are to be more workers than before.
        """
        idle, self._ended = ended == self._ended, ended
        if not idle or not waiting or workers >= calls:
            return False
        self.extra += min(waiting, workers, calls - workers)
        return True

    def rest(self) -> None:
        """No call that is a task has been here for a while."""
        self.extra = 0


def to_hire(wanted: int, lanes: Iterable[Lane]) -> int:
    """How many workers are missing."""
    return max(0, min(wanted, MAX_WORKERS) - sum(1 for lane in lanes if not lane.closing))


def to_dismiss(wanted: int, lanes: Iterable[Lane]) -> list[Lane]:
    """Workers that are too many: first those that have nothing to do, of these the newest."""
    staying = [lane for lane in lanes if not lane.closing]
    surplus = len(staying) - wanted
    return sorted(staying, key=lambda lane: (not lane.idle, -lane.worker))[: max(0, surplus)]


def pause_ms(false_starts: int) -> int:
    """How long to wait before the next worker is started, after so many in a row that came to nothing."""
    if false_starts == 0:
        return 0
    return int(min(_MAX_PAUSE_MS, _FIRST_PAUSE_MS * 2 ** (min(false_starts, 16) - 1)))


def share_bytes(container_bytes: int, workers: int) -> int:
    """What one worker may use where nobody said it; 0 where the container has no limit."""
    if container_bytes <= 0:
        return 0
    return max(container_bytes // 2, container_bytes - RESERVED_BYTES) // max(1, workers)


def has_grown(first_bytes: int, now_bytes: int, limit_bytes: int) -> bool:
    """Whether an idle worker holds so much more than when it was first looked at that it should be replaced."""
    allowed = MAX_GROWTH_BYTES if limit_bytes <= 0 else min(MAX_GROWTH_BYTES, limit_bytes // _MAX_GROWTH_PART)
    return now_bytes - first_bytes > allowed
