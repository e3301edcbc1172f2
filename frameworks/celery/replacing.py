"""What a dispatcher does when another life of the same name has taken over, whichever side it hears it from: it says so and ends.

All that it had is the other's from then on: what runs, what is owned, and who it is on the cluster.
"""

from typing import Final

from celery.exceptions import WorkerTerminate
from celery.worker import state as worker_state

from mesolite.logs import get_logger

#: What the process exits with.
EXIT_CODE: Final = 1

_log = get_logger("mesolite.celery")


class Replacement:
    """Of this dispatcher, should it come to that.

    Args:
        name: The dispatcher's.
    """

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self.has_come = False

    def hear(self) -> None:
        """It has come: have Celery end at once, as soon as its loop turns. From any thread."""
        if not self.has_come:
            self.has_come = True
            _log.error(
                "celery.replaced",
                name=self._name,
                reason="another dispatcher of this name has taken over; this one ends",
            )
        worker_state.should_terminate = EXIT_CODE

    def leave(self) -> None:
        """The same, from Celery's loop itself.

        Raises:
            WorkerTerminate: Always.
        """
        self.hear()
        raise WorkerTerminate(EXIT_CODE)
