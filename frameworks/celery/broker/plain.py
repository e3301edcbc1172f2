"""`Ownership` on brokers that own messages themselves, such as RabbitMQ.

There what is unacknowledged is delivered again when its connection ends, and what a dispatcher gave away the next does not know.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from mesolite.logs import get_logger

_log = get_logger("mesolite.celery.broker")

#: Messages of which it is known how often they were given: more than are held at once.
_MAX_KNOWN: Final = 20_000


class _Count:
    """How often a message was given."""

    def __init__(self) -> None:
        self.given = 0
        self.asked_back = 0
        #: It is given now. What no worker wanted is given again, and that is no return.
        self.is_given = False
        #: Its task had its last word.
        self.is_over = False


class PlainOwnership:
    """See `owning.Ownership`."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def give(self, tags: Sequence[str]) -> None:
        """See `Ownership`."""
        for tag in tags:
            count = self._counts.setdefault(tag, _Count())
            count.given += not count.is_given
            # Who sends a task's message anew, under the same id, wants it run anew.
            count.is_given, count.is_over = True, False
            self._counts.move_to_end(tag)
            if len(self._counts) > _MAX_KNOWN:
                self._counts.popitem(last=False)

    @property
    def knows_earlier_lives(self) -> bool:
        """See `Ownership`."""
        return False

    def is_over(self, tag: str) -> bool:
        """See `Ownership`."""
        return tag in self._counts and self._counts[tag].is_over

    def over(self, tag: str) -> None:
        """See `Ownership`."""
        if tag in self._counts:
            self._counts[tag].is_over = True

    def end(self, tag: str) -> None:
        """See `Ownership`. It may come again, so that its count is kept."""
        if tag in self._counts:
            self._counts[tag].is_given = False

    def take_back(self, tag: str) -> None:
        """See `Ownership`."""
        if tag in self._counts and self._counts[tag].is_given:
            self._counts[tag].given -= 1
            self._counts[tag].is_given = False

    def was_given(self, tag: str) -> bool:
        """See `Ownership`."""
        return False

    def was_acknowledged(self, tag: str) -> bool:
        """See `Ownership`."""
        return False

    def losses(self, tag: str) -> int:
        """See `Ownership`."""
        count = self._counts.get(tag)
        return 0 if count is None else max(0, count.given - count.asked_back)

    def returns(self, tag: str) -> int:
        """See `Ownership`."""
        count = self._counts.get(tag)
        return 0 if count is None else count.given

    def asked_back(self, tag: str) -> None:
        """See `Ownership`."""
        if tag in self._counts:
            self._counts[tag].asked_back += 1

    def set_aside(self, tag: str, why: str) -> None:
        """See `Ownership`. There is no place for it but the queue's dead letters, where the broker has some."""
        _log.error("celery.set_aside", tag=tag, reason=why)

    def close(self, *, release: bool) -> None:
        """See `Ownership`. The broker gives to others what was not acknowledged."""
