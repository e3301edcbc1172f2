"""Looks at queues and workers again and again, in a thread of its own: brokers take their time."""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from mesolite.errors import Unavailable
from mesolite.logs import get_logger

from .looks import Look
from .settings import LOOK_INTERVAL_MS

_log = get_logger("mesolite.celery_workers")


class Lookout(Protocol):
    """What looks: `application.Application`."""

    def look(self, nodes: Sequence[str]) -> Look:
        """Look once.

        Raises:
            Unavailable: Nothing could be seen.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Looking:
    """The thread.

    Args:
        lookout: What looks.
        nodes: Whom to ask; called on the thread.
        seen: Told of each look, on the thread.
        failed: Told of each that failed, with the reason.
        interval_ms: Between looks.
    """

    def __init__(
        self,
        lookout: Lookout,
        nodes: Callable[[], Sequence[str]],
        seen: Callable[[Look], None],
        failed: Callable[[str], None],
        interval_ms: int = LOOK_INTERVAL_MS,
    ) -> None:
        self._lookout: Final = lookout
        self._nodes: Final = nodes
        self._seen: Final = seen
        self._failed: Final = failed
        self._interval_ms: Final = interval_ms
        self._stopping: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="celery-workers-look", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. Not waited for longer than a look that answers takes: a broker that hangs is left behind."""
        self._stopping.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        was_blind = False
        while not self._stopping.is_set():
            try:
                look = self._lookout.look(self._nodes())
            except Unavailable as error:
                if not was_blind:
                    _log.warning("celery_workers.broker_away", reason=str(error))
                was_blind = True
                self._failed(str(error))
            else:
                was_blind = False
                self._seen(look)
            self._stopping.wait(self._interval_ms / 1000)
        self._lookout.close()
