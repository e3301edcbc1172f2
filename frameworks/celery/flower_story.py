"""What the cluster's Flower is told of a dispatcher's tasks: decides, and remembers what may have to be said again.

Every task is counted (`transport/event_tally`). Above a rate new ones are not shown; of what was left out, failures are shown
after all, up to a rate of their own. Reads no clock: it is given one. Two threads use it, the event loop's and the publisher's.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from mesolite.transport.event_repeats import Event
from mesolite.transport.event_tally import EventTally

from .flower_words import (
    ENDS,
    RECEIVED,
    SIDE_WORDS,
    STARTED,
    Attempt,
    agent_of,
    ending_event,
    received_event,
    started_event,
    story,
)
from .watching import WatchedCall

#: Attempts that live and are remembered, some 1 KB each; a dispatcher takes a few hundred at a time, and all that wait for their
#: time. Of the oldest beyond, the end is told without a name.
MAX_LIVE: Final = 50_000
#: Shown ends that may be said again, newest: five seconds of the default rate.
MAX_ENDED: Final = 1_000
#: Ends that were not shown, remembered for a second word that some ends have (rejected, then failed).
MAX_JUST_ENDED: Final = 200
#: Celery is told of an end within the same call; only ends that it says nothing of stay.
MAX_SPOKEN_OF: Final = 100


class TaskStories:
    """A dispatcher's `Stories`.

    Args:
        dispatcher: Its name in Flower.
        framework_id: Begins the paths of logs.
        tally: Counts.
        admit: Whether one more task is shown.
        admit_failure: Whether one more failure is shown of a task that was not.
        wall_clock_s: The time.
    """

    def __init__(
        self,
        dispatcher: str,
        framework_id: str,
        tally: EventTally,
        *,
        admit: Callable[[], bool],
        admit_failure: Callable[[], bool],
        wall_clock_s: Callable[[], float],
    ) -> None:
        self._dispatcher: Final = dispatcher
        self._framework_id: Final = framework_id
        self._tally: Final = tally
        self._admit: Final = admit
        self._admit_failure: Final = admit_failure
        self._wall_clock_s: Final = wall_clock_s
        self._lock: Final = threading.Lock()
        #: By Celery's ids, oldest first. Of a task that is retried the newest attempt, which may be received before anything is
        #: heard of the end of the last.
        self._live: Final[OrderedDict[str, Attempt]] = OrderedDict()
        #: Those that were given to be run, by the ids of their calls.
        self._given: Final[dict[str, Attempt]] = {}
        #: Whose beginning or end Celery is about to be told, by Celery's ids.
        self._spoken_of: Final[OrderedDict[str, Attempt]] = OrderedDict()
        self._ended: Final[OrderedDict[str, Attempt]] = OrderedDict()
        self._just_ended: Final[OrderedDict[str, Attempt]] = OrderedDict()
        self._running = 0
        self._processed = 0

    # What the pool says

    def given(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        with self._lock:
            attempt, before = self._live.get(call.run.task_id), self._given.get(call.name)
            if attempt is None or attempt is before:
                return
            if before is not None:
                # Its message was delivered again: the same run goes on.
                self._leave(attempt)
                self._live[attempt.task_id] = before
                return
            attempt.call = call
            self._given[call.name] = attempt

    def started(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        with self._lock:
            attempt = self._given.get(call.name)
            if attempt is not None:
                _remember(self._spoken_of, attempt.task_id, attempt, MAX_SPOKEN_OF)

    def given_back(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        with self._lock:
            attempt = self._given.pop(call.name, None)
            if attempt is not None:
                self._leave(attempt)

    def ended(self, call: WatchedCall, peak_kib: int | None) -> None:
        """See `TaskWatcher`. Of a task that ignores its own end Celery says no more."""
        with self._lock:
            attempt = self._given.pop(call.name, None)
            if attempt is not None:
                attempt.peak_kib = peak_kib
                if attempt.ending is None:
                    _remember(self._spoken_of, attempt.task_id, attempt, MAX_SPOKEN_OF)
                self._leave(attempt)

    # What Celery says

    def told(self, kind: str, fields: dict[str, Any]) -> list[Event]:
        """Hear an event that Celery makes; return what Flower is told."""
        with self._lock:
            if kind == RECEIVED:
                return self._received(fields)
            if kind == STARTED:
                return self._started(fields["uuid"])
            if kind in ENDS:
                return self._over(kind, fields)
            attempt = self._live.get(fields.get("uuid", ""))
            if attempt is None or not attempt.shown:
                return []
            return [(kind, {**fields, "hostname": attempt.worker, "timestamp": self._wall_clock_s()})]

    # What others ask

    def lives(self, task_id: str) -> bool:
        """Whether a task with this id was received, and is not over."""
        with self._lock:
            return task_id in self._live

    def figures(self) -> dict[str, object]:
        """How many run and how many began, as heartbeats say it."""
        with self._lock:
            return {"active": self._running, "processed": self._processed}

    def to_repeat(self, ended_after_s: float) -> list[str]:
        """See `Stories`."""
        with self._lock:
            live = [task_id for task_id, attempt in self._live.items() if attempt.shown]
            ended = [
                task_id
                for task_id, attempt in reversed(self._ended.items())
                if attempt.ending is not None and float(str(attempt.ending[1]["timestamp"])) >= ended_after_s
            ]
            return [*live, *(task_id for task_id in ended if task_id not in self._live)]

    def story(self, shown_id: str) -> list[Event]:
        """See `Stories`."""
        with self._lock:
            attempt = self._live.get(shown_id) or self._ended.get(shown_id)
            return [] if attempt is None or not attempt.shown else story(attempt, self._dispatcher, self._framework_id)

    # Inside

    def _received(self, fields: dict[str, Any]) -> list[Event]:
        task_id, name = fields["uuid"], fields["name"]
        attempt = Attempt(
            task_id=task_id,
            name=name,
            fields=fields,
            received_s=self._wall_clock_s(),
            shown=self._admit(),
            worker=self._dispatcher,
        )
        before = self._live.pop(task_id, None)
        if before is not None and before.call is None:
            # Its message came twice, or again with a new connection. Of one that was given to be run the pool will tell more.
            self._leave(before)
        self._live[task_id] = attempt
        if attempt.waits_in_turn:
            self._tally.waits(self._dispatcher, name, 1)
        if len(self._live) > MAX_LIVE:
            self._leave(next(iter(self._live.values())))
        return [received_event(attempt, self._dispatcher, self._framework_id)] if attempt.shown else []

    def _started(self, task_id: str) -> list[Event]:
        attempt = self._spoken_of.pop(task_id, None) or self._live.get(task_id)
        if attempt is None or attempt.started_s is not None:
            return []
        in_turn = attempt.waits_in_turn
        attempt.started_s = self._wall_clock_s()
        attempt.worker = agent_of(attempt.call, self._dispatcher)
        self._processed += 1
        # It counts as received where it runs, as each of Celery's workers counts those that it received.
        self._tally.count(attempt.worker, attempt.name, RECEIVED)
        self._tally.count(attempt.worker, attempt.name, STARTED)
        if attempt.left:
            return []
        self._running += 1
        if in_turn:
            self._tally.waits(self._dispatcher, attempt.name, -1)
            self._tally.waited(attempt.worker, attempt.name, attempt.started_s - attempt.received_s)
        if not attempt.shown or self._is_outdated(attempt):
            return []
        return [started_event(attempt, self._framework_id)]

    def _over(self, kind: str, fields: dict[str, Any]) -> list[Event]:
        task_id = fields["uuid"]
        attempt = self._spoken_of.pop(task_id, None) or self._live.get(task_id)
        if attempt is None:
            attempt = self._ended.get(task_id) or self._just_ended.get(task_id) or self._unheard_of(task_id)
        elif attempt.started_s is None and attempt.ending is None:
            self._tally.count(self._dispatcher, attempt.name, RECEIVED)
        self._leave(attempt)
        self._tally.count(attempt.worker, attempt.name, kind, fields.get("runtime"))
        if self._is_outdated(attempt) and kind == "task-retried":
            # What it is retried by has been told of: Flower would show the older word.
            return []
        was_shown = attempt.shown
        attempt.shown = was_shown or (kind == "task-failed" and self._admit_failure())
        ending = ending_event(attempt, kind, fields, self._wall_clock_s(), self._framework_id)
        # Of two last words the one that says more is kept: a failure may be rejected, before or after.
        if attempt.ending is None or kind not in SIDE_WORDS:
            attempt.ending = ending
        if not attempt.shown:
            _remember(self._just_ended, task_id, attempt, MAX_JUST_ENDED)
            return []
        _remember(self._ended, task_id, attempt, MAX_ENDED)
        return [ending] if was_shown else story(attempt, self._dispatcher, self._framework_id)

    def _is_outdated(self, attempt: Attempt) -> bool:
        """Whether a later attempt at the same task is known, which may even have ended."""
        task_id = attempt.task_id
        newest = self._live.get(task_id) or self._ended.get(task_id) or self._just_ended.get(task_id)
        return newest is not None and newest is not attempt and newest.received_s >= attempt.received_s

    def _leave(self, attempt: Attempt) -> None:
        """It does not wait or run any more."""
        if self._live.get(attempt.task_id) is attempt:
            del self._live[attempt.task_id]
        if attempt.left:
            return
        attempt.left = True
        if attempt.started_s is not None:
            self._running -= 1
            self._tally.waited(attempt.worker, attempt.name, 0.0)
        elif attempt.waits_in_turn and attempt.name:
            self._tally.waits(self._dispatcher, attempt.name, -1)

    def _unheard_of(self, task_id: str) -> Attempt:
        """One that ends without having been received, as one does that had been revoked before it came."""
        return Attempt(
            task_id=task_id,
            name="",
            fields={},
            received_s=self._wall_clock_s(),
            shown=self._admit(),
            worker=self._dispatcher,
        )


def _remember(kept: OrderedDict[str, Attempt], task_id: str, attempt: Attempt, most: int) -> None:
    kept[task_id] = attempt
    kept.move_to_end(task_id)
    if len(kept) > most:
        kept.popitem(last=False)
