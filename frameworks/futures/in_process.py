"""A pool in this process: threads instead of workers, everything else as on a cluster. For tests and for trying things out.

What is submitted is pickled and unpickled as it would be for a worker, and how calls end is said in the same way, so that
a program that works on it has no surprise on a cluster but those of other machines: no time limit ends a thread (the call
is left alone and counts as timed out), none has a limit of memory, and none can be killed.
"""

import pickle
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence

from mesolite.executors.python.calls import PICKLE_PROTOCOL, End, Outcome
from mesolite.executors.python.codec import pack_raised

from .pickling import dumps
from .settings import DEFAULT_MAX_RESULT_BYTES
from .work import Work


class InProcessPool:
    """A `Backend` of threads.

    Args:
        workers: How many calls run at a time.
        max_result_bytes: Larger results are refused.
    """

    def __init__(self, workers: int = 2, max_result_bytes: int = DEFAULT_MAX_RESULT_BYTES) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        #: Calls that run, with what ends them early; who takes one out of here ends it.
        self._running: dict[int, Work] = {}
        self._timers: dict[int, threading.Timer] = {}
        self._closed = False
        self._max_result_bytes = max_result_bytes
        self._threads = [
            threading.Thread(target=self._work, name=f"in-process worker {number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, works: Sequence[Work]) -> None:
        """See `Backend`."""
        with self._changed:
            self._waiting.extend(works)
            self._changed.notify(len(works))

    def withdraw(self, work: Work) -> None:
        """See `Backend`. A worker that comes to it finds that it is not wanted."""

    def kill(self, work: Work) -> None:
        """See `Backend`."""
        self._end(work, Outcome(End.CANCELLED, message="killed by its caller"))

    def close(self) -> None:
        """See `Backend`."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._running.clear()
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> None:
        """See `Backend`. A thread that still runs a call is left alone."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(0 if timeout_s is None else timeout_s)

    def _work(self) -> None:
        while (work := self._take()) is not None:
            self._end(work, self._run(work))

    def _take(self) -> Work | None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return None
                work = self._waiting.popleft()
            if work.claim():
                with self._changed:
                    self._running[work.number] = work
                    self._watch(work)
                return work

    def _watch(self, work: Work) -> None:
        timeout_ms = work.options.timeout_ms
        if timeout_ms is not None:
            outcome = Outcome(End.TIMED_OUT, message=f"it ran longer than {timeout_ms / 1000:g} s")
            timer = self._timers[work.number] = threading.Timer(timeout_ms / 1000, self._end, (work, outcome))
            timer.daemon = True
            timer.start()

    def _end(self, work: Work, outcome: Outcome) -> None:
        with self._changed:
            known = self._running.pop(work.number, None)
            timer = self._timers.pop(work.number, None)
        if timer is not None:
            timer.cancel()
        if known is not None:
            work.end(outcome)

    def _run(self, work: Work) -> Outcome:
        assert isinstance(work.function.pickled, bytes), "there are no blocks in one process"
        started = time.monotonic_ns()
        try:
            function = pickle.loads(work.function.pickled)
            args, kwargs = pickle.loads(work.arguments)
        except Exception as error:  # noqa: BLE001 - whatever unpickling runs into is the caller's to know
            return Outcome(End.UNPICKLABLE, message=f"cannot be unpickled in the worker: {error}", begun=False)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a call's exception, whichever, is its outcome
            return _raised(error)
        return self._returned(value, (time.monotonic_ns() - started) // 1000)

    def _returned(self, value: object, ran_us: int) -> Outcome:
        try:
            payload = dumps(value)
        except Exception as error:  # noqa: BLE001 - whatever pickling runs into is the caller's to know
            return Outcome(End.UNPICKLABLE, message=f"the result cannot be pickled: {error}")
        if len(payload) > self._max_result_bytes:
            message = f"the result has {len(payload)} bytes; max_result_bytes is {self._max_result_bytes}"
            return Outcome(End.TOO_LARGE, message=message)
        return Outcome(End.RETURNED, payload, ran_us=ran_us)


def _raised(error: BaseException) -> Outcome:
    text = "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error.with_traceback(None), PICKLE_PROTOCOL)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - an exception that does not travel lives on in its texts
        pickled = None
    return Outcome(End.RAISED, pack_raised(pickled, type(error).__qualname__, str(error), text))
