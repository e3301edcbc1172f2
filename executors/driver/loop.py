"""One thread that waits for descriptors, moments and other threads, and calls back. Standard library only.

asyncio would do the same work at several times the price of a callback, and owns signals, child processes and descriptors in
ways that a program which forks cannot have. Here a turn is: what is due, what others handed in, what became readable or
writable, and last what was asked for at the end of the turn, where whoever has collected things to say says them in one write.

An exception of a callback ends the loop: `run` raises it.
"""

import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from types import FrameType
from typing import Any, Final, TypeAlias

Callback: TypeAlias = Callable[[], object]

#: A cancelled timer stays in the heap until its time has come, or until the heap is swept: when it has doubled, from here on.
SWEEP_FROM: Final = 64
_WAKE_BYTES: Final = 4096


class Timer:
    """Something to be done later."""

    __slots__ = ("_callback", "when_ms")

    def __init__(self, when_ms: float, callback: Callback) -> None:
        #: By the loop's clock.
        self.when_ms = when_ms
        #: None once it was called or cancelled.
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """Do not do it; nothing happens where it was done or cancelled before."""
        self._callback = None

    @property
    def pending(self) -> bool:
        """Whether it is still to be done."""
        return self._callback is not None

    def fire(self) -> None:
        """Do it, unless it was cancelled: the loop's own."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def __lt__(self, other: "Timer") -> bool:
        return self.when_ms < other.when_ms


class _Watch:
    """What to call when a descriptor is ready. It outlives its removal for a turn, which its empty callbacks then tell."""

    __slots__ = ("mask", "reader", "writer")

    def __init__(self) -> None:
        self.reader: Callback | None = None
        self.writer: Callback | None = None
        #: As the selector knows it; 0 where it does not.
        self.mask = 0


class Loop:
    """Calls back, one at a time, in the thread that calls `run`. All methods but `call_soon_threadsafe` are for that thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watches: dict[int, _Watch] = {}
        #: A heap, the cancelled ones among them.
        self._timers: list[Timer] = []
        self._sweep_at = SWEEP_FROM
        self._soon: deque[Callback] = deque()
        #: From other threads and signal handlers; `deque.append` needs no lock.
        self._handed_in: deque[Callback] = deque()
        self._at_turn_end: list[Callback] = []
        self._stopping = False
        self._woken = False
        self._wake_from, self._wake_to = socket.socketpair()
        self._wake_from.setblocking(False)
        self._wake_to.setblocking(False)
        self.add_reader(self._wake_from.fileno(), self._take_handed_in)

    def now_ms(self) -> float:
        """Milliseconds on a clock that only goes forward; its zero means nothing."""
        return time.monotonic() * 1000

    # Descriptors

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call whenever the descriptor can be read; replaces the callback that was there."""
        watch = self._watches.setdefault(fd, _Watch())
        watch.reader = callback
        self._select(fd, watch)

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call whenever the descriptor can be written; replaces the callback that was there."""
        watch = self._watches.setdefault(fd, _Watch())
        watch.writer = callback
        self._select(fd, watch)

    def remove_reader(self, fd: int) -> None:
        """Do not wait for reading any more; unknown descriptors are ignored."""
        if (watch := self._watches.get(fd)) is not None:
            watch.reader = None
            self._select(fd, watch)

    def remove_writer(self, fd: int) -> None:
        """Do not wait for writing any more; unknown descriptors are ignored."""
        if (watch := self._watches.get(fd)) is not None:
            watch.writer = None
            self._select(fd, watch)

    def remove(self, fd: int) -> None:
        """Forget a descriptor. Call it before the descriptor is closed: its number may be given to another."""
        self.remove_reader(fd)
        self.remove_writer(fd)

    def _select(self, fd: int, watch: _Watch) -> None:
        mask = (selectors.EVENT_READ if watch.reader else 0) | (selectors.EVENT_WRITE if watch.writer else 0)
        if mask == watch.mask:
            return
        if not watch.mask:
            self._selector.register(fd, mask, watch)
        elif mask:
            self._selector.modify(fd, mask, watch)
        else:
            self._selector.unregister(fd)
            del self._watches[fd]
        watch.mask = mask

    # Moments

    def call_at(self, when_ms: float, callback: Callback) -> Timer:
        """Call at a moment of the loop's clock, or as soon after it as nothing else is being done."""
        timer = Timer(when_ms, callback)
        if len(self._timers) >= self._sweep_at:
            self._sweep()
        heappush(self._timers, timer)
        return timer

    def call_later(self, delay_ms: float, callback: Callback) -> Timer:
        """Call after so long."""
        return self.call_at(self.now_ms() + delay_ms, callback)

    def _sweep(self) -> None:
        self._timers = [timer for timer in self._timers if timer.pending]
        heapify(self._timers)
        self._sweep_at = max(SWEEP_FROM, 2 * len(self._timers))

    def call_soon(self, callback: Callback) -> None:
        """Call in the next turn, which then does not wait."""
        self._soon.append(callback)

    def call_at_turn_end(self, callback: Callback) -> None:
        """Call once when this turn's callbacks are done: the place to write in one piece what they had to say."""
        self._at_turn_end.append(callback)

    # Other threads, and signals

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Have the loop's thread call this; from any thread, from a signal handler, at any time. Ignored once it is closed."""
        self._handed_in.append(callback)
        # The order is what makes it safe without a lock: handed in, then looked whether the loop knows. The loop forgets that
        # it was woken before it looks what was handed in.
        if not self._woken:
            self._woken = True
            self._wake()

    def _wake(self) -> None:
        try:
            self._wake_to.send(b"\0")
        except OSError:
            # Full: it wakes anyway. Closed: nobody is there to be woken.
            return

    def _take_handed_in(self) -> None:
        try:
            self._wake_from.recv(_WAKE_BYTES)
        except BlockingIOError:
            return
        self._woken = False
        for _ in range(len(self._handed_in)):
            self._handed_in.popleft()()

    def on_signal(self, number: int, callback: Callback) -> None:
        """Call in the loop's turn after a signal came. For the main thread only; signals may merge.

        Raises:
            ValueError: This is not the main thread.
        """

        def note(_number: int, _frame: FrameType | None) -> None:
            self.call_soon_threadsafe(callback)

        signal.signal(number, note)
        # The handler runs between two instructions of Python; the byte ends a wait that began just before it.
        signal.set_wakeup_fd(self._wake_to.fileno(), warn_on_full_buffer=False)

    # Running

    def run(self) -> None:
        """Run until `stop`.

        Raises:
            Exception: Whatever a callback raised.
        """
        self._stopping = False
        while not self._stopping:
            self._turn()

    def stop(self) -> None:
        """Let `run` return when this turn is over, what was asked for at its end included."""
        self._stopping = True

    def close(self) -> None:
        """Let go of the loop's own descriptors; others' are not touched."""
        if signal_wakes(self._wake_to.fileno()):
            signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake_from.close()
        self._wake_to.close()
        self._watches.clear()
        self._timers.clear()

    def _turn(self) -> None:
        ready = self._selector.select(self._wait_s())
        self._call_due()
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        for key, mask in ready:
            watch: Any = key.data
            if mask & selectors.EVENT_READ and watch.reader is not None:
                watch.reader()
            if mask & selectors.EVENT_WRITE and watch.writer is not None:
                watch.writer()
        while self._at_turn_end:
            last, self._at_turn_end = self._at_turn_end, []
            for callback in last:
                callback()

    def _wait_s(self) -> float | None:
        """How long nothing need be done; None where only a descriptor can end the wait."""
        if self._soon or self._at_turn_end or self._stopping:
            return 0
        while self._timers and not self._timers[0].pending:
            heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, (self._timers[0].when_ms - self.now_ms()) / 1000)

    def _call_due(self) -> None:
        if not self._timers:
            return
        now_ms = self.now_ms()
        due: list[Timer] = []
        while self._timers and self._timers[0].when_ms <= now_ms:
            due.append(heappop(self._timers))
        for timer in due:
            timer.fire()


def signal_wakes(fd: int) -> bool:
    """Whether signals write to this descriptor; asked where it may be: in the main thread."""
    try:
        before = signal.set_wakeup_fd(-1)
    except ValueError:
        return False
    if before != -1:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    return before == fd
