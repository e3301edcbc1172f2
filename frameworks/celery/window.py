"""How many messages are to be at hand: as many as the workers need that there are, and a few more, for which others are started.

Tasks of a shape that waits for room are not to fill the window, or those of other shapes behind them in the queue would wait with
them though their workers are idle. So what waits for long counts only as far as workers of its shape need it. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Tasks that are at hand before any worker is: they are what workers are asked for.
LEAST_LIMIT: Final = 4
#: A shape whose oldest task has waited so long is held up: a warm worker begins within some seconds on any machine that is not.
HELD_UP_S: Final = 5.0
#: At hand in all, whatever is held up: so many the ownership of messages has room for (broker/book.py).
MAX_AT_HAND: Final = 10_000


@dataclass(slots=True)
class ShapeAtHand:
    """What there is of one shape."""

    workers: int = 0
    #: Some of its workers run, or begin.
    is_placed: bool = False
    #: Tasks that no worker has, and since when the oldest of them waits.
    waiting: int = 0
    waiting_since_s: float | None = None

    def waits_since(self, since_s: float) -> None:
        """Count a task that waits."""
        self.waiting += 1
        if self.waiting_since_s is None or since_s < self.waiting_since_s:
            self.waiting_since_s = since_s


def messages_at_hand(shapes: Iterable[ShapeAtHand], most: int, now_s: float) -> int:
    """Return how many messages are to be at hand, begun or not.

    Args:
        shapes: Those of which there are tasks or workers.
        most: That may run at once.
        now_s: On the clock of `waiting_since_s`.
    """
    shapes = list(shapes)
    needed = max(LEAST_LIMIT, _needed(sum(shape.workers for shape in shapes)))
    return min(MAX_AT_HAND, min(most, needed) + sum(_uncounted(shape, now_s) for shape in shapes))


def _needed(workers: int) -> int:
    return workers + workers // 4 + 1


def _uncounted(shape: ShapeAtHand, now_s: float) -> int:
    """How many of a shape's tasks do not stand for others."""
    if shape.waiting_since_s is None or now_s - shape.waiting_since_s < HELD_UP_S:
        return 0
    if shape.workers:
        return max(0, shape.waiting - _needed(shape.workers))
    # Where nothing of it is placed, whole queues of it may stand before the others: half as many again each time get past them.
    return shape.waiting if shape.is_placed else shape.waiting + shape.waiting // 2
