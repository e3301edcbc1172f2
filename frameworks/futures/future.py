"""A `concurrent.futures.Future` whose call may be on another machine."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ClusterFuture(Future[Result], Generic[Result]):
    """What `Executor.submit` returns.

    `cancel` is true of calls that have not been given to an executor; `kill` ends the others, too.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Whoever waits has been told that it runs, or will not: to be done once.
        self._told = False
        #: Given by the executor when the call is on its way; taken away with its end.
        self._withdraw: Callable[[], None] | None = None
        self._kill: Callable[[], None] | None = None

    def bind(self, withdraw: Callable[[], None], kill: Callable[[], None]) -> None:
        """Say what cancelling and killing does; for the executor."""
        self._withdraw, self._kill = withdraw, kill

    def claim(self) -> bool:
        """Mark it as running, unless it was cancelled; for the executor. May be asked again while it runs."""
        with self._condition:
            if self._told:
                return self.running()
            self._told = True
            return self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Cancel the call if it has not been given to an executor; see `concurrent.futures.Future.cancel`."""
        if not super().cancel():
            return False
        with self._condition:
            fresh = not self._told
            if fresh:
                self._told = True
                self.set_running_or_notify_cancel()
        # Outside of the lock: the executor takes its own, and may be at claiming this one.
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None:
            withdraw()
        return True

    def kill(self) -> bool:
        """Cancel the call, or end its worker process if it runs: then it raises `CallKilled`, unless it returns first.

        Returns:
            False where it had ended already.
        """
        if self.cancel():
            return True
        if self.done():
            return False
        kill = self._kill
        if kill is not None:
            kill()
        return True

    def let_go(self) -> None:
        """The call has ended: forget what led back to the executor."""
        self._withdraw = self._kill = None
