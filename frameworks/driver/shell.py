"""The driver's shell: two threads between Redis and a `SchedulerDriver`. It decides nothing.

A reader thread follows the framework's stream with a store of its own, because a blocking read would hold up everything
else. The driver's thread takes what was read, and what others handed in with `post`, runs the scheduler's callbacks, and
appends the calls that came of it in one round trip.
"""

import threading
from collections.abc import Callable
from typing import Final

from mesolite.clock import Clock, SystemClock
from mesolite.errors import ProtocolError, RedisUnavailable
from mesolite.logs import get_logger
from mesolite.protocol import DeadLetter, EventBatch, decode_events, malformed
from mesolite.retries import Retries
from mesolite.transport.contract import BEGINNING, Store
from mesolite.transport.keys import DEFAULT_PRINCIPAL, MAX_CALLS_LENGTH, calls_stream, framework_stream

from .driver import Action, SchedulerDriver
from .inbox import Inbox
from .packing import pack
from .sender import Sender

#: Longest wait for something to happen, so that a store that went away without a word is noticed.
MAX_WAIT_MS: Final = 1000
#: Entries of the framework's stream read at once; each may hold hundreds of events.
READ_LIMIT: Final = 200
#: After so many reads in a row that brought nothing, it is made sure that what is waited for can come. A primary may be replaced
#: by one with other clocks without a connection breaking; the ids of its entries are then below those that were read.
EMPTY_READS: Final = 5
#: The core's invariants are asserted once in so many steps: milliseconds where there are 10,000 tasks.
CHECK_EVERY_STEPS: Final = 1000

_log = get_logger("mesolite.driver")


class DriverShell:
    """Runs one driver.

    Args:
        driver: Whose steps to run; used only from the driver's thread.
        open_store: Opens a store of one's own; called once per thread.
        clock: The time.
        principal: Whose calls stream to write (DESIGN 6).
    """

    def __init__(
        self,
        driver: SchedulerDriver,
        open_store: Callable[[], Store],
        *,
        clock: Clock | None = None,
        principal: str = DEFAULT_PRINCIPAL,
    ) -> None:
        self._driver = driver
        self._open_store = open_store
        self._clock = clock or SystemClock()
        self._calls_stream = calls_stream(principal)
        self._events_stream = framework_stream(driver.framework_id)
        self._inbox = Inbox()
        #: Somebody wants it to let go. A framework that is being torn down first waits to hear that it is.
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._steps = 0

    def post(self, action: Action) -> None:
        """Have something done with the driver on its thread; from any thread, at any time."""
        self._inbox.put_action(action)

    def stop(self) -> None:
        """Let go of the framework without ending it: its tasks run on until its failover timeout. From any thread.

        One that was just torn down, even by what was posted a moment ago, is let go of when that is confirmed.
        """
        self._stopping.set()
        self._inbox.put_action(_wake_up)

    def start(self) -> None:
        """Run in a thread of its own."""
        assert self._thread is None, "a shell runs once"
        self._thread = threading.Thread(
            target=self._run_keeping_failure, name=f"driver {self._driver.framework_id}", daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of a shell that was started.

        Raises:
            BaseException: What a callback raised.
        """
        assert self._thread is not None, "not started"
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def run(self) -> None:
        """Run until `stop`, until the framework ends, or until a callback raises.

        Raises:
            Exception: Whatever a callback raised. Its updates are not acknowledged, so they come again.
        """
        store = self._open_store()
        try:
            position = self._first_position(store)
            if position is None:
                return
            # Not joined at the end: it may be in a blocking read, and leaves by itself within MAX_WAIT_MS.
            name = f"reader {self._driver.framework_id}"
            threading.Thread(target=self._read, args=(position,), name=name, daemon=True).start()
            self._serve(Sender(store, self._calls_stream, MAX_CALLS_LENGTH, self._clock))
        finally:
            self._inbox.close()
            store.close()

    # The driver's thread

    def _serve(self, sender: Sender) -> None:
        while not self._driver.ended and not self._stopping.is_set():
            self._take_and_step(sender, self._wait_ms(sender))
        if not self._driver.ended:
            self._take_and_step(sender, 0)  # what was posted just before the stop
        while self._driver.leaving:
            self._take_and_step(sender, self._wait_ms(sender))

    def _take_and_step(self, sender: Sender, wait_ms: int) -> None:
        handed = self._inbox.take(wait_ms)
        if handed.store_returned:
            sender.try_now()
            self._driver.store_returned(self._clock.now_ms())
        batches = [batch for payload in handed.payloads for batch in self._decode(sender, payload)]
        self._step(sender, batches, handed.actions)

    def _decode(self, sender: Sender, payload: bytes) -> list[EventBatch]:
        try:
            return [decode_events(payload)]
        except ProtocolError as error:
            # Its number is missing now, which the core notices with the next batch.
            refused = malformed(str(error), payload)
            _log.warning("driver.malformed_batch", reason=refused.reason, size_bytes=len(payload))
            letter = DeadLetter(
                timestamp_ms=self._clock.now_ms(),
                source=f"{self._events_stream}, refused by its driver",
                reason=refused.reason,
                payload=refused.payload,
            )
            sender.set_aside(letter)
            return []

    def _step(self, sender: Sender, batches: list[EventBatch], actions: list[Action]) -> None:
        now_ms = self._clock.now_ms()
        was_subscribed = self._driver.subscribed
        for batch in self._driver.step(now_ms, batches, actions):
            payloads, impossible = pack(batch)
            for payload in payloads:
                sender.add(payload)
            if impossible:
                self._driver.calls_impossible(now_ms, impossible, "it is too large to travel; send less data")
        self._watch(was_subscribed)
        if sender.send():
            _log.info("driver.store_returned")
            self._driver.store_returned(self._clock.now_ms())

    def _watch(self, was_subscribed: bool) -> None:
        """Tell of changes, and see now and then that all is well."""
        if self._driver.subscribed != was_subscribed:
            name = "driver.subscribed" if self._driver.subscribed else "driver.disconnected"
            _log.info(name, framework_id=self._driver.framework_id, epoch=self._driver.core.epoch)
        self._steps += 1
        if self._steps % CHECK_EVERY_STEPS == 0:
            self._driver.core.check()

    def _wait_ms(self, sender: Sender) -> int:
        now_ms = self._clock.now_ms()
        deadlines = [now_ms + MAX_WAIT_MS]
        deadlines += [each for each in (self._driver.next_deadline_ms(), sender.retry_ms) if each is not None]
        return max(0, min(deadlines) - now_ms)

    def _run_keeping_failure(self) -> None:
        try:
            self.run()
        except BaseException as failure:  # noqa: BLE001 - a thread has nobody to raise to; `join` raises it
            self._failure = failure

    # The reader's thread

    def _first_position(self, store: Store) -> str | None:
        """Find the end of the stream: what is older is for earlier sessions. None if stopped before Redis answered."""
        retries, pause_ms = Retries(), 0
        while not self._stopping.wait(pause_ms / 1000):
            try:
                return store.last_id(self._events_stream)
            except RedisUnavailable as unavailable:
                if retries.is_first:
                    _log.warning("driver.store_away", reason=str(unavailable))
                pause_ms = retries.take_ms()
        return None

    def _read(self, position: str) -> None:
        store = self._open_store()
        retries = Retries()
        away = False
        empty = 0
        try:
            while not self._inbox.closed:
                try:
                    if away or empty >= EMPTY_READS:
                        before, empty = position, 0
                        position = self._position_after_outage(store, position)
                        if away or position != before:
                            self._inbox.put_store_returned()
                        away = False
                        retries.reset()
                    entries = store.read({self._events_stream: position}, limit=READ_LIMIT, wait_ms=MAX_WAIT_MS)
                except RedisUnavailable:
                    away = True
                    self._inbox.pause(retries.take_ms())
                    continue
                empty = 0 if entries else empty + 1
                if entries:
                    position = entries[-1].entry_id
                    self._inbox.put_payloads([entry.payload for entry in entries])
        finally:
            store.close()

    def _position_after_outage(self, store: Store, position: str) -> str:
        """Go back to the beginning where a promoted replica lacks what was read: numbers tell which batches are new."""
        return BEGINNING if _is_before(store.last_id(self._events_stream), position) else position


def _wake_up(driver: SchedulerDriver) -> None:
    """Nothing is to be done but to look around."""


def _is_before(entry_id: str, other_id: str) -> bool:
    """Whether one Redis stream id ("milliseconds-sequence") is below another."""
    first, second = ([int(part) for part in each.split("-")] for each in (entry_id, other_id))
    return first < second
