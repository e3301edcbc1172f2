"""The calls of one executor between their futures and the backend that runs them: who is outstanding, and when it is over.

It does not know the `Executor` that programs hold, so that one which nobody holds any more is collected, and its pool
closes when the last call has ended. Nor does interpreter exit lose calls: as with the pools of the standard library, what
was submitted is run to its end first, and the pool is closed after it, so that nothing of it stays on the cluster.
"""

import atexit
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

from mesolite.errors import BadInput
from mesolite.executors.python.calls import BlockRef, Function, Outcome

from .broken import ExecutorBroken
from .errors import CallError
from .future import ClusterFuture
from .options import CallOptions
from .outcomes import value_of
from .settings import MAX_OUTSTANDING
from .work import Backend, BackendListener, Ending, Work

#: How long interpreter exit waits that a closed pool has told the cluster, which takes milliseconds unless Redis is away.
EXIT_PATIENCE_S: Final = 5.0
#: Results that lie in block stores are fetched by so many threads: the wire is the bottleneck soon.
FETCHERS: Final = 4

AFTER_SHUTDOWN: Final = "cannot schedule new futures after shutdown"
AFTER_EXIT: Final = "cannot schedule new futures after interpreter shutdown"
AFTER_FORK: Final = (
    "this executor belongs to the process that this one was forked from, where its threads are; "
    "make a new Executor in this process"
)

#: Sessions that have not been closed, in this process.
_open: set["Session"] = set()
#: This process; a variable, because each call asks, and asking the kernel costs more than a dictionary does.
_pid = os.getpid()
_exiting = False


class Progress(Protocol):
    """Hears how many calls there are; from any thread."""

    def added(self, count: int) -> None:
        """So many more were submitted."""
        ...

    def ended(self) -> None:
        """One has ended, or was cancelled."""
        ...

    def close(self) -> None:
        """There will be no more."""
        ...


class Session:
    """Futures on one side, a backend on the other.

    Args:
        make_backend: Starts what runs the calls.
        fetch: Brings a result that lies in a block store.
        progress: Who wants to watch.
        broken_by: Beginning of the text of an exception that means that an initializer failed: then all is over.
    """

    def __init__(
        self,
        make_backend: Callable[[BackendListener], Backend],
        fetch: Callable[[BlockRef], bytes],
        progress: Progress | None = None,
        broken_by: str | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        #: Calls that have not ended, by number.
        self._outstanding: dict[int, Work] = {}
        #: As many, and those whose future is being told.
        self._unsettled = 0
        self._closing = False
        self._broken: str | None = None
        self._pid = _pid
        self._fetch = fetch
        self._fetchers: ThreadPoolExecutor | None = None
        self._progress = progress
        self._broken_by = broken_by
        #: One method object for all calls.
        self._end_call = self._end
        with self._lock:
            # Under the lock: it may break before it is known here.
            self._backend = make_backend(self)
        _open.add(self)

    # For the executor

    def submit(
        self, name: str, function: Function, argument_list: Sequence[bytes | CallError], options: CallOptions
    ) -> list[ClusterFuture[Any]]:
        """Submit one call for each of the arguments; where these are an error, the future raises it.

        Raises:
            RuntimeError: After a shutdown, in a forked process, or because the pool is broken (`ExecutorBroken`).
            BadInput: So many calls are outstanding that the program has lost count.
        """
        futures: list[ClusterFuture[Any]] = []
        works: list[Work] = []
        for arguments in argument_list:
            if isinstance(arguments, CallError):
                futures.append(self.failed(arguments))
            else:
                future = ClusterFuture[Any]()
                work = Work(next(self._numbers), name, function, arguments, options, future, self._end_call)
                future.bind(self, work)
                futures.append(future)
                works.append(work)
        with self._lock:
            self.check_open()
            if len(self._outstanding) + len(works) > MAX_OUTSTANDING:
                raise BadInput(f"{MAX_OUTSTANDING} calls are outstanding; wait for some, or give map() a buffersize")
            for work in works:
                self._outstanding[work.number] = work
            self._unsettled += len(works)
        if self._progress is not None:
            self._progress.added(len(works))
        self._backend.submit(works)
        return futures

    def withdraw(self, work: Work) -> None:
        """See `Caller`."""
        with self._lock:
            known = self._outstanding.pop(work.number, None)
        if known is not None:
            self._backend.withdraw(work)
            self._settled()

    def kill(self, work: Work) -> None:
        """See `Caller`."""
        self._backend.kill(work)

    def failed(self, error: BaseException) -> ClusterFuture[Any]:
        """A future of a call that cannot even be sent.

        Raises:
            RuntimeError: As `submit`.
        """
        self.check_open()
        future = ClusterFuture[Any]()
        future.claim()
        future.set_exception(error)
        return future

    def check_open(self) -> None:
        """Make sure that calls are taken.

        Raises:
            RuntimeError: They are not.
        """
        if self._pid != _pid:
            raise RuntimeError(AFTER_FORK)
        if self._broken is not None:
            raise ExecutorBroken(self._broken)
        if self._closing:
            raise RuntimeError(AFTER_EXIT if _exiting else AFTER_SHUTDOWN)
        if _exiting:
            raise RuntimeError(AFTER_EXIT)

    def shutdown(self, *, wait: bool, cancel_futures: bool = False) -> None:
        """Take no more calls, and close the pool once those taken have ended.

        Args:
            wait: Until then, and until the cluster has been told.
            cancel_futures: Those that no executor has yet.
        """
        if self._pid != _pid:
            return
        with self._lock:
            self._closing = True
            pending = [work.future for work in self._outstanding.values()] if cancel_futures else []
        # The youngest first, so that none of them is sent into the place of one before.
        for future in reversed(pending):
            future.cancel()
        self._close_if_done()
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: self._unsettled == 0)
            self._backend.join()

    def join(self, timeout_s: float) -> None:
        """Wait until a closed pool has told the cluster."""
        self._backend.join(timeout_s)

    # For the backend

    def broke(self, reason: str) -> None:
        """See `BackendListener`."""
        with self._changed:
            if self._broken is not None:
                return
            self._broken = reason
            ended = list(self._outstanding.values())
        for work in ended:
            self._end(work, ExecutorBroken(reason))
        self._backend.close()
        _open.discard(self)

    def _end(self, work: Work, ending: Ending) -> None:
        with self._lock:
            known = self._outstanding.pop(work.number, None)
        if known is None:
            return
        future = work.future
        future.let_go()
        if isinstance(ending, Outcome) and isinstance(ending.payload, BlockRef):
            # Fetching takes long; whoever ends calls has others to end.
            self._fetcher().submit(self._settle, work, future, ending)
        else:
            self._settle(work, future, ending)

    def _settle(self, work: Work, future: ClusterFuture[Any], ending: Ending) -> None:
        if future.claim():
            if isinstance(ending, Outcome):
                try:
                    future.set_result(value_of(work.name, ending, self._fetch))
                except BaseException as error:  # noqa: BLE001 - whatever the call raised is the future's to raise
                    self._set_exception(future, error)
            else:
                future.set_exception(ending)
        self._settled()

    def _set_exception(self, future: Future[Any], error: BaseException) -> None:
        text = str(error)
        if self._broken_by is not None and isinstance(error, RuntimeError) and text.startswith(self._broken_by):
            reason = f"an initializer failed: {text.removeprefix(self._broken_by).lstrip(': ')}"
            broken = ExecutorBroken(reason)
            broken.__cause__ = error.__cause__
            future.set_exception(broken)
            self.broke(reason)
        else:
            future.set_exception(error)

    def _settled(self) -> None:
        if self._progress is not None:
            self._progress.ended()
        with self._lock:
            self._unsettled -= 1
            if self._unsettled:
                return
            self._changed.notify_all()
        self._close_if_done()

    def _close_if_done(self) -> None:
        with self._changed:
            if not self._closing or self._unsettled or self not in _open:
                return
            _open.discard(self)
            fetchers, self._fetchers = self._fetchers, None
        self._backend.close()
        if fetchers is not None:
            fetchers.shutdown(wait=False)
        if self._progress is not None:
            self._progress.close()

    def _fetcher(self) -> ThreadPoolExecutor:
        with self._changed:
            if self._fetchers is None:
                self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch results")
            return self._fetchers


def _at_exit() -> None:
    """Run what was submitted to its end, and leave nothing on the cluster."""
    global _exiting  # noqa: PLW0603 - there is one interpreter, and it exits once
    _exiting = True
    sessions = list(_open)
    for session in sessions:
        session.shutdown(wait=False)
    for session in sessions:
        session.shutdown(wait=True)


def _in_child() -> None:
    """The sessions are the parent's, and so is what they hold on the cluster; nothing is locked here, for locks may be held."""
    global _pid  # noqa: PLW0603 - as above: there is one process
    _pid = os.getpid()
    _open.clear()


# Before threads are joined, as the pools of the standard library do it: what ends calls are threads.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
os.register_at_fork(after_in_child=_in_child)
