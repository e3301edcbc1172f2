"""Says everything again to a Flower that may not have heard it: when, how much, and how fast.

Celery's events are published and forgotten. What is said while Flower is restarted, while Redis fails over, or while the
sender's connection is down is heard by nobody, and a task whose end nobody heard would be shown as running for ever. So an
agent (and a context of sparklite) repeats all that it knows of its living and lately ended tasks

- when somebody begins to listen: Celery's receiver then broadcasts "heartbeat" (celery `events/receiver.py`);
- when Flower's "enable_events", which comes every five seconds (flower `events.py`), comes after a pause: it or we were away;
- when a connection of our own was made anew: what was said last on the old one may have reached nobody;
- and now and then in any case.

Repeated words are the same words with the same times, marked `repeated`: in Flower they change nothing that it knew, and
`mesolite.flower_app` does not even count them twice. A listener that comes while a repetition is about to begin or under way
causes one more, later: each begins after the last listener came, and they are never closer than MIN_INTERVAL_S.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

#: An event's type without what the dispatcher adds, and its fields; `hostname` where it is said for another worker name.
Event: TypeAlias = tuple[str, dict[str, object]]

#: A receiver asks for heartbeats just before it subscribes; the answer has to come after that.
DELAY_S: Final = 1.0
#: The agents of a cluster hear the same listener at the same moment: each adds a random part of this.
SPREAD_S: Final = 2.0

#: Repetitions begin at most this often, however many listeners come.
MIN_INTERVAL_S: Final = 5.0

#: A repetition that nobody asked for. Long, since a Flower of a thousand agents follows some 2,000 events a second.
REPEAT_EVERY_S: Final = 300.0

#: Flower asks to enable events every 5 s; after two that did not come, something was away.
PAUSE_S: Final = 12.0

#: A listener that comes is told of tasks that ended this long ago: longer than a failover or a restart of Flower takes.
ENDED_AGE_S: Final = 600.0

#: What all agents together may repeat. A Flower that just began takes all of it in, three events for each task, at some
#: 2,000 events a second; more would pile up in Redis until it disconnects Flower (client-output-buffer-limit pubsub), which
#: would then ask for everything again.
ALL_AGENTS_TASKS_PER_S: Final = 500.0

#: The pace: a portion so often, as many tasks as the rate allows, at most MAX_PORTION_TASKS (of three events each).
PORTION_INTERVAL_S: Final = 0.25
MAX_PORTION_TASKS: Final = 85

#: When there is nothing to say for now.
NEVER_S: Final = float("inf")


class Portion(NamedTuple):
    """As much as is said at once."""

    events: list[Event]
    #: A repetition begins; its first events come with the next portion, at once.
    begins: bool


class Stories(Protocol):
    """What a sender knows of its tasks. Called from the publisher's thread."""

    def to_repeat(self, ended_after_s: float) -> list[str]:
        """Return the ids of tasks that live, or ended since then (wall clock)."""
        ...

    def story(self, shown_id: str) -> list[Event]:
        """Return all that is to be said of a task, in its order: at most three events; nothing where it is forgotten."""
        ...


class Repeats:
    """Plans repetitions and gives them out in portions. Every method may be called from any thread."""

    def __init__(
        self,
        stories: Stories,
        tasks_per_s: float,
        *,
        clock_s: Callable[[], float],
        wall_clock_s: Callable[[], float],
        random: Callable[[], float],
        repeat_every_s: float = REPEAT_EVERY_S,
    ) -> None:
        """Plan the first repetition that nobody asked for.

        Args:
            stories: What is known.
            tasks_per_s: The pace at most; see `share`.
            clock_s: A clock that never jumps.
            wall_clock_s: The clock of the stories' times.
            random: Gives fractions in [0, 1).
            repeat_every_s: How often all is repeated that lives, and what ended since, though nobody asked.
        """
        self._stories = stories
        self._clock_s = clock_s
        self._wall_clock_s = wall_clock_s
        self._random = random
        self._tasks_per_s = tasks_per_s
        self._repeat_every_s = repeat_every_s
        self._agents = 1
        self._lock = threading.Lock()
        #: Ids still to be said in the repetition under way.
        self._left: deque[str] = deque()
        self._next_portion_s = 0.0
        #: When the repetition that was asked for begins; None where none was.
        self._asked_for_s: float | None = None
        #: Somebody came after that was planned.
        self._again = False
        self._periodic_s = clock_s() + repeat_every_s
        #: On the clock, and on the wall clock; nothing was repeated yet.
        self._began_s = -NEVER_S
        self._began_wall_s = wall_clock_s()
        self._enable_heard_s: float | None = None

    def listener_came(self) -> None:
        """Somebody listens anew, or may not have heard the last words."""
        with self._lock:
            self._ask()

    def enable_asked(self) -> None:
        """Flower gave its regular sign of life."""
        with self._lock:
            now_s = self._clock_s()
            if self._enable_heard_s is None or now_s - self._enable_heard_s > PAUSE_S:
                self._ask()
            self._enable_heard_s = now_s

    def share(self, senders: int) -> None:
        """Say how many agents there are: together they keep to ALL_AGENTS_TASKS_PER_S."""
        with self._lock:
            self._agents = max(1, senders)

    def due_s(self) -> float:
        """Return when `take` will have something, on the clock."""
        with self._lock:
            if self._left:
                return self._next_portion_s
            return min(self._periodic_s, NEVER_S if self._asked_for_s is None else self._asked_for_s)

    def take(self) -> Portion:
        """Return what is to be said now; mostly nothing."""
        with self._lock:
            now_s = self._clock_s()
            begins = not self._left and self._begin(now_s)
            if begins or now_s < self._next_portion_s:
                return Portion([], begins)
            rate = min(self._tasks_per_s, ALL_AGENTS_TASKS_PER_S / self._agents)
            interval_s = max(PORTION_INTERVAL_S, 1 / rate)
            count = max(1, min(MAX_PORTION_TASKS, int(rate * interval_s)))
            ids = [self._left.popleft() for _ in range(min(len(self._left), count))]
            if ids:
                self._next_portion_s = now_s + interval_s
        # As they are now, not as they were when the repetition began: nothing old is said after something new.
        return Portion([event for each in ids for event in self._stories.story(each)], begins)

    def _ask(self) -> None:
        if self._asked_for_s is not None:
            self._again = True
            return
        soonest_s = self._clock_s() + DELAY_S + SPREAD_S * self._random()
        self._asked_for_s = max(soonest_s, self._began_s + MIN_INTERVAL_S)

    def _begin(self, now_s: float) -> bool:
        """Begin a repetition where one is due."""
        asked_for = self._asked_for_s is not None and now_s >= self._asked_for_s
        if not asked_for and now_s < self._periodic_s:
            return False
        wall_s = self._wall_clock_s()
        # Unasked, each end is said once more; asked, those that whoever came may have missed.
        ended_after_s = wall_s - ENDED_AGE_S if asked_for else self._began_wall_s
        self._left = deque(self._stories.to_repeat(ended_after_s))
        self._next_portion_s = now_s
        self._began_s, self._began_wall_s = now_s, wall_s
        self._periodic_s = now_s + self._repeat_every_s
        if asked_for:
            self._asked_for_s = now_s + MIN_INTERVAL_S if self._again else None
            self._again = False
        return True
