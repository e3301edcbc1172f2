"""Who has a message from when it left its queue until the last word on it: what the dispatcher asks, whatever the broker.

    queue --taken--> owned --given--> may have begun --ended, and acknowledged or rejected--> gone, or back in its queue

While a message is owned no other consumer can get it: not after a visibility timeout, not by a restart. A dispatcher that starts
under the same name gets all that its predecessor owned, delivered again, `was_given` where it may have begun.
"""

from collections.abc import Sequence
from typing import Protocol


class Ownership(Protocol):
    """Of one dispatcher. Used from the thread of its event loop; nothing here waits for the broker."""

    def give(self, tags: Sequence[str]) -> None:
        """These messages' tasks are about to be sent to executors: said to the broker before they are.

        From here on an acknowledgement (Celery acknowledges early when a task begins) is kept in mind, the message stays owned
        until `end`, and it is not delivered again after a lost connection. What is attached to is given too.
        """
        ...

    @property
    def knows_earlier_lives(self) -> bool:
        """Whether `was_given` tells. Otherwise a message that is delivered again may have been given away, or may not."""
        ...

    def is_over(self, tag: str) -> bool:
        """Whether its task had its last word in this life: if it comes again, its acknowledgement was lost with a connection."""
        ...

    def over(self, tag: str) -> None:
        """Its task had its last word, and Celery wants nothing more of its message; told before `end`."""
        ...

    def end(self, tag: str) -> None:
        """The last word on its task is out: with its acknowledgement, before or after, the message is forgotten."""
        ...

    def take_back(self, tag: str) -> None:
        """A message that was given away certainly did not begin: it is as before."""
        ...

    def was_given(self, tag: str) -> bool:
        """Whether an earlier life gave this message away, so that its task may have begun or ended."""
        ...

    def was_acknowledged(self, tag: str) -> bool:
        """Whether an earlier life had it acknowledged, as Celery does early, and not ended."""
        ...

    def losses(self, tag: str) -> int:
        """How often it went back to its queue because a worker was lost under it: after it was given, and not `asked_back`."""
        ...

    def returns(self, tag: str) -> int:
        """How often it went back to its queue after it was given, for any reason. Its tag stays, so this tells runs apart."""
        ...

    def asked_back(self, tag: str) -> None:
        """Its task asks that it goes back to its queue (`Reject(requeue=True)`): when it does, that is no loss."""
        ...

    def set_aside(self, tag: str, why: str) -> None:
        """Put a message that nobody shall run again where people find it, instead of back into its queue."""
        ...

    def close(self, *, release: bool) -> None:
        """Write what is to be written, within a few seconds, and let go.

        Args:
            release: Put what is owned and was not given back into its queues, for any consumer. Else the next life gets it.
        """
        ...
