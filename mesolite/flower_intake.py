"""What our Flower does with an event that it hears: takes it in, skips what it knew, and counts what senders have counted.

repeated, and known ------------------> nothing: it would be counted twice, and cost as much as the first time
counted by its sender (`counted`) ----> shown, not counted
a sender's sums (`event_tally`) ------> counted, nothing shown
any other ----------------------------> Flower's own way
"""

from collections.abc import Mapping
from typing import Any, Final

from mesolite.flower_totals import FlowerFigures, TallyBook
from mesolite.transport.event_tally import TALLY_EVENT


class EventIntake:
    """Takes events to Flower's state, in Flower's thread."""

    def __init__(self, events: Any) -> None:
        self._events: Final = events
        self._book: Final = TallyBook()
        self._figures: Final = FlowerFigures(events.state)

    def on_event(self, event: dict[str, Any]) -> None:
        """Hand over an event; from the event thread."""
        self._events.io_loop.add_callback(self.apply, event)

    def apply(self, event: dict[str, Any]) -> None:
        """Take an event in, unless it only repeats what is known."""
        if event.get("type") == TALLY_EVENT:
            for grown in self._book.take(event):
                self._figures.add(grown)
            return
        state = self._events.state
        if event.pop("repeated", False):
            # `data`: looking must not make the task the most recently used.
            if is_known(state.tasks.data.get(event.get("uuid")), event):
                return
            # Its time is that of what happened, which Celery would take for a clock that is wrong.
            event["local_received"] = event["timestamp"]
        if event.pop("counted", False):
            self._figures.uncounted(event, state.event)
        else:
            state.event(event)


def is_known(task: object | None, event: Mapping[str, Any]) -> bool:
    """Say whether a task has heard of an event: Celery keeps the time of each kind of event as an attribute.

    A task that is tried again has each kind of event once more, later; those who count for themselves repeat exact times.

    Args:
        task: Celery's task, None where there is none.
        event: One of its events.
    """
    kind = str(event.get("type", "")).removeprefix("task-")
    heard = getattr(task, kind, None) if task is not None else None
    return heard is not None and (not event.get("counted") or heard >= event["timestamp"])
