"""Sends Celery events from a thread of its own, so that neither Flower's broker nor its absence slows whoever sends them.

Agents appear in Flower by it (`agent/flower.py`), contexts of sparklite, and dispatchers of Celery's tasks.

The sender's threads only append to a bounded queue. The publisher drains it into groups (one broker message, many events:
Celery's `task.multi`), sends a heartbeat every few seconds, and after an outage begins again with `worker-online`. What
does not fit into the queue during an outage is lost, oldest first; when it is over, all is said again (`event_repeats`).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mesolite.ids import AgentId
from mesolite.logs import get_logger

from .celery_broker import broker_errors, count_alive
from .event_repeats import MAX_PORTION_TASKS, NEVER_S, Event, Repeats
from .event_tally import EventTally

#: How often a heartbeat is sent. Flower calls a worker offline after twice this without one (celery.events.state).
HEARTBEAT_INTERVAL_S: Final = 5.0

#: How long the first event of a group waits for company. Below what a person notices on a page.
GROUP_DELAY_S: Final = 0.1

#: Events in one broker message; some 400 bytes each, so a message stays near 100 KB.
MAX_GROUP_EVENTS: Final = 256

#: Events that wait for the broker: ten seconds of the default sampling rate, a few MB.
MAX_QUEUED_EVENTS: Final = 6000

#: How often sums that changed are said (`event_tally`): as good as at once to whoever scrapes them.
TALLY_INTERVAL_S: Final = 1.0

#: Pause after a failed attempt to reach the broker, doubled each time. A failover takes seconds, and the page is watched.
MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 2.0

#: How long `close` waits for the farewell. A broker that hangs is left behind.
CLOSE_TIMEOUT_S: Final = 2.0

#: Labels of an executor whose framework tells of its tasks itself, so that agents do not.
TOLD_ELSEWHERE: Final[Mapping[str, str]] = {"mesolite.flower": "told by the framework"}

# A portion of a repetition is one message too: three events for each task.
assert 3 * MAX_PORTION_TASKS <= MAX_GROUP_EVENTS

Fields: TypeAlias = Mapping[str, object]

_log = get_logger("mesolite.events")


class EventPublisher:
    """Publishes the events of one worker name, and what it says for others (`Event`)."""

    def __init__(
        self,
        worker: str,
        broker: Callable[[], Any],
        heartbeat: Callable[[], Fields],
        repeats: Repeats,
        alive_key: str,
        tally: EventTally | None = None,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            worker: The name that Flower lists, "mesolite@host".
            broker: Makes a connection to where Celery's events go.
            heartbeat: Fields for each heartbeat: active, processed, sw_ident.
            repeats: What is said again, whenever there is time.
            alive_key: Of the sorted set in which senders note that they live.
            tally: What there has been in all, said when it changes.
        """
        self._worker = worker
        self._broker = broker
        self._heartbeat = heartbeat
        self._repeats = repeats
        self._alive_key = alive_key
        self._tally = tally
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition()
        #: Somebody changed what `repeats` is waiting for.
        self._woken = False
        self._closing = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="flower-events", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def put(self, *events: Event) -> None:
        """Queue events and return at once."""
        with self._changed:
            was_empty = not self._queue
            for event in events:
                if len(self._queue) >= MAX_QUEUED_EVENTS:
                    self._queue.popleft()
                    self._dropped += 1
                self._queue.append(event)
            # Waking at the first is enough: the publisher then waits for company anyway.
            if was_empty:
                self._changed.notify()

    def wake(self) -> None:
        """Look again when the next repetition is due."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def dropped(self) -> int:
        """Count the events that were lost to a full queue."""
        with self._changed:
            return self._dropped

    def close(self) -> None:
        """Send what waits and `worker-offline`, within CLOSE_TIMEOUT_S. One that was not started says nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        backoff_s = MIN_BACKOFF_S
        errors = broker_errors()
        # Also whoever closes before the first attempt has said something.
        while True:
            try:
                with self._broker() as connection:
                    dispatcher = _dispatcher(connection, self._worker)
                    self._send_heartbeat(dispatcher, "worker-online")
                    backoff_s = MIN_BACKOFF_S
                    # What was said last on the old connection may have reached nobody.
                    self._repeats.listener_came()
                    if self._tally is not None:
                        self._tally.say_all()
                    self._publish_until_closed(dispatcher)
            except errors as error:
                # Once for each outage: it is a view that is away, and the sender may be somebody's program in a terminal.
                say = _log.warning if backoff_s == MIN_BACKOFF_S else _log.debug
                say("flower_broker_unavailable", worker=self._worker, error=str(error), retry_s=backoff_s)
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, timeout=backoff_s):
                    return
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _publish_until_closed(self, dispatcher: Any) -> None:
        heartbeat_due_s = time.monotonic() + HEARTBEAT_INTERVAL_S
        tally_due_s = NEVER_S if self._tally is None else 0.0
        while True:
            closing = self._wait(min(heartbeat_due_s, tally_due_s, self._repeats.due_s()))
            self._send_queued(dispatcher)
            if closing or time.monotonic() >= tally_due_s:
                self._send_tally(dispatcher)
                tally_due_s = time.monotonic() + TALLY_INTERVAL_S
            if closing:
                dispatcher.send("worker-offline")
                return
            events, begins = self._repeats.take()
            if begins or time.monotonic() >= heartbeat_due_s:
                # Before old words, so that a Flower that has just begun does not take their times for the last sign of life.
                self._send_heartbeat(dispatcher, "worker-heartbeat")
                heartbeat_due_s = time.monotonic() + HEARTBEAT_INTERVAL_S
            if events:
                _send_group(dispatcher, self._worker, [(kind, {**fields, "repeated": True}) for kind, fields in events])

    def _wait(self, until_s: float) -> bool:
        """Wait for events, a wake or a time; say whether it is time to close."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing or self._woken, until_s - time.monotonic())
            if self._queue and not self._closing:
                self._changed.wait_for(lambda: self._closing, GROUP_DELAY_S)
            self._woken = False
            return self._closing

    def _send_queued(self, dispatcher: Any) -> None:
        """Send all that waits, in groups. A group that fails goes back to the front of the queue."""
        while group := self._take_group():
            sent = False
            try:
                _send_group(dispatcher, self._worker, group)
                sent = True
            finally:
                if not sent:
                    self._put_back(group)

    def _put_back(self, group: list[Event]) -> None:
        with self._changed:
            room = MAX_QUEUED_EVENTS - len(self._queue)
            self._dropped += max(0, len(group) - room)
            self._queue.extendleft(reversed(group[-room:] if room else []))

    def _take_group(self) -> list[Event]:
        with self._changed:
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP_EVENTS))]

    def _send_tally(self, dispatcher: Any) -> None:
        while self._tally is not None and (said := self._tally.take()) is not None:
            kind, fields = said
            dispatcher.send(kind, **fields)

    def _send_heartbeat(self, dispatcher: Any, kind: str) -> None:
        fields = {"freq": HEARTBEAT_INTERVAL_S, "loadavg": os.getloadavg(), **self._heartbeat()}
        dispatcher.send(kind, **fields)
        channel = dispatcher.producer.channel
        self._repeats.share(count_alive(channel, self._alive_key, self._worker, time.time()))


def worker_name(agent_id: AgentId) -> str:
    """Return the name under which an agent appears in Flower. By id, since two agents may share a host."""
    return f"mesolite@{agent_id}"


def _send_group(dispatcher: Any, worker: str, events: list[Event]) -> None:
    for kind, fields in events:
        others = {name: value for name, value in fields.items() if name != "hostname"}
        # The dispatcher puts its own name into each event that it makes.
        dispatcher.hostname = fields.get("hostname", worker)
        dispatcher.send(kind, **others)
    dispatcher.hostname = worker
    dispatcher.flush(errors=False)


def _dispatcher(connection: Any, worker: str) -> Any:
    """Make Celery's dispatcher. It is imported here so that whoever has no Flower never pays for Celery."""
    from celery import Celery
    from celery.events.dispatcher import EventDispatcher

    app = Celery("mesolite", set_as_current=False, fixups=[])
    return EventDispatcher(
        connection,
        hostname=worker,
        app=app,
        # The queue above is bounded and the dispatcher's own is not: a failure must come out.
        buffer_while_offline=False,
        buffer_group=frozenset({"task"}),
        # One more than is ever put in, so that only our flush sends.
        buffer_limit=MAX_GROUP_EVENTS + 1,
    )
