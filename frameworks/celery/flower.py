"""Makes a dispatcher and its tasks appear in the cluster's Flower.

    Celery's events --> flower_events --> flower_story, which decides --> a queue --> a thread (transport/celery_events)
    the pool: where, what it is given, what it used ----^
    Flower's questions --> a thread that answers (transport/celery_control) --> flower_answers --> Celery's own handlers

The event loop never waits for any of it.
"""

import os
import random
import time
from functools import partial
from typing import Any, Final
from uuid import uuid4

from mesolite.transport.celery_broker import open_broker
from mesolite.transport.celery_control import ControlMailbox
from mesolite.transport.celery_events import EventPublisher
from mesolite.transport.event_repeats import Repeats
from mesolite.transport.event_sampler import Sampler
from mesolite.transport.event_tally import EventTally
from mesolite.transport.keys import DEFAULT_CLUSTER, key_prefix

from .flower_answers import PanelAnswers, Post
from .flower_events import hear_events, is_same_place
from .flower_story import TaskStories
from .watching import WatchedCall

#: New tasks a second that are shown: as many as an agent shows of its own. Three events each.
DEFAULT_SHOWN_TASKS_PER_S: Final = 200.0
#: Of repetitions, where all are shown.
_ALL_REPEATED_PER_S: Final = 200.0
#: How often what lives is said again unasked: in the application's broker a dispatcher does not hear of everybody who comes.
REPEAT_EVERY_S: Final = 60.0

#: The end of a key of Redis: the sorted set of who sends events, agents included (`agent/flower.py`).
_ALIVE: Final = "flower"


class CeleryFlower:
    """The `TaskWatcher` that tells the cluster's Flower. Made before Celery's worker starts its consumer.

    Args:
        controller: Celery's worker, with its name.
        post: The way into the thread of its event loop.
        redis_url: The cluster's Redis, as settings write it.
        framework_id: Begins the paths of logs.
        cluster: The cluster's name.
        shown_tasks_per_s: Above this rate new tasks are left out, except some that fail; None: none is left out.
    """

    def __init__(
        self,
        *,
        controller: Any,
        post: Post,
        redis_url: str,
        framework_id: str,
        cluster: str = DEFAULT_CLUSTER,
        shown_tasks_per_s: float | None = DEFAULT_SHOWN_TASKS_PER_S,
    ) -> None:
        app = controller.app
        self._redis_url: Final = redis_url
        self._exchange: Final[str] = app.conf.event_exchange
        self._controller: Final = controller
        self.worker: Final[str] = controller.hostname
        #: Nothing is left out.
        self._shows_all = shown_tasks_per_s is None
        self._tally: Final = EventTally(f"{self.worker}.{os.getpid()}.{uuid4().hex[:8]}")
        rate = shown_tasks_per_s or _ALL_REPEATED_PER_S
        shown, failures = Sampler(rate, time.monotonic), Sampler(max(1.0, rate / 4), time.monotonic)
        self._stories: Final = TaskStories(
            self.worker,
            framework_id,
            self._tally,
            admit=lambda: self._shows_all or shown.admit(),
            admit_failure=lambda: self._shows_all or failures.admit(),
            wall_clock_s=time.time,
        )
        self._repeats: Final = Repeats(
            self._stories,
            rate,
            clock_s=time.monotonic,
            wall_clock_s=time.time,
            random=random.random,
            repeat_every_s=REPEAT_EVERY_S,
        )
        broker = partial(open_broker, redis_url)
        alive = f"{key_prefix(cluster)}{_ALIVE}"
        self._events: Final = EventPublisher(self.worker, broker, self._heartbeat, self._repeats, alive, self._tally)
        answers = PanelAnswers(controller, post, self._stories.lives, self)
        self._control: Final = ControlMailbox(self.worker, broker, answers, self)
        #: Whether the application's broker is the cluster's Redis; None until its first connection.
        self._is_same_place: bool | None = None
        hear_events(app, self._told, self._replaces, self.listener_came)
        self._events.start()

    # As the pool's watcher

    def given(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        self._stories.given(call)

    def started(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        self._stories.started(call)

    def given_back(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""
        self._stories.given_back(call)

    def ended(self, call: WatchedCall, peak_kib: int | None) -> None:
        """See `TaskWatcher`."""
        self._stories.ended(call, peak_kib)

    # As `Listeners`

    def listener_came(self) -> None:
        """Somebody listens anew: say everything again soon."""
        self._tally.say_all()
        self._repeats.listener_came()
        self._events.wake()

    def enable_asked(self) -> None:
        """Flower gave its regular sign of life."""
        self._repeats.enable_asked()
        self._events.wake()

    def close(self) -> None:
        """Say goodbye and stop, within a few seconds whatever the broker does."""
        self._events.close()
        self._control.close()

    def _told(self, kind: str, fields: dict[str, Any]) -> None:
        events = self._stories.told(kind, fields)
        if events:
            self._events.put(*events)

    def _replaces(self, connection: Any) -> bool:
        if self._is_same_place is None:
            # There Celery's own mailbox hears what is asked.
            self._is_same_place = is_same_place(connection, self._exchange, self._redis_url)
            if not self._is_same_place:
                self._control.start()
            elif self._controller.task_events:
                # `-E`, where ours stand for Celery's: whoever asked for the events of all tasks gets them.
                self._shows_all = True
        return self._is_same_place

    def _heartbeat(self) -> dict[str, object]:
        return {**self._stories.figures(), "sw_ident": "mesolite-celery", "sw_ver": "0", "sw_sys": "Linux"}
