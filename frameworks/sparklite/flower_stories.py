"""What was said to Flower and may have to be said again: the jobs, stages and tasks that live, and those that ended lately."""

import threading
from collections import OrderedDict
from typing import Final

from mesolite.transport.event_repeats import Event

#: Living and ended ones remembered, each some 1 KB; the oldest go.
MAX_LIVE: Final = 2_000
MAX_ENDED: Final = 1_000


class SaidTasks:
    """A context's `Stories`. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        #: What was said of each, oldest first.
        self._live: Final[OrderedDict[str, list[Event]]] = OrderedDict()
        #: With when it ended (wall clock, seconds), oldest end first.
        self._ended: Final[OrderedDict[str, tuple[float, list[Event]]]] = OrderedDict()
        self._processed = 0

    def began(self, shown_id: str, events: list[Event]) -> None:
        """Remember what was said of something that lives now."""
        with self._lock:
            self._live[shown_id] = events
            if len(self._live) > MAX_LIVE:
                self._live.popitem(last=False)

    def lives(self, shown_id: str) -> bool:
        """Whether something was said of it, and not yet its end."""
        with self._lock:
            return shown_id in self._live

    def ended(self, shown_id: str, ending: Event, ended_s: float) -> None:
        """Remember how it ended."""
        with self._lock:
            self._processed += 1
            self._ended[shown_id] = ended_s, [*self._live.pop(shown_id, []), ending]
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)

    def figures(self) -> dict[str, object]:
        """How many live and how many have ended, as heartbeats say it."""
        with self._lock:
            return {"active": len(self._live), "processed": self._processed}

    def to_repeat(self, ended_after_s: float) -> list[str]:
        """See `Stories`."""
        with self._lock:
            ended = [shown for shown, (ended_s, _) in reversed(self._ended.items()) if ended_s >= ended_after_s]
            return [*self._live, *ended]

    def story(self, shown_id: str) -> list[Event]:
        """See `Stories`."""
        with self._lock:
            if shown_id in self._live:
                return self._live[shown_id]
            return self._ended[shown_id][1] if shown_id in self._ended else []
