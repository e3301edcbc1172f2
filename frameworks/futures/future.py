"""A `concurrent.futures.Future` whose call may be on another machine."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from .work import Work

Result = TypeVar("Result")


class Caller(Protocol):
    """Who has the calls of futures: the session."""

    def withdraw(self, work: "Work") -> None:
        """A call's future was cancelled."""
        ...

    def kill(self, work: "Work") -> None:
        """End a call though it runs."""
        ...


class ClusterFuture(Future[Result], Generic[Result]):
    """What `Executor.submit` returns.

    `cancel` is true of calls that have not been given to an executor; `kill` ends the others, too.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Whoever waits has been told that it runs, or will not: to be done once.
        self._told = False
        #: The call, and who has it, for as long as it is on its way. Two references and no closures: thousands of futures may
        #: be outstanding, and the garbage collector walks over each object that they hold.
        self._call: tuple[Caller, Work] | None = None

    def bind(self, caller: Caller, work: "Work") -> None:
        """Say which call it is; for the executor."""
        self._call = caller, work

    def claim(self) -> bool:
        """Mark it as running, unless it was cancelled; for the executor. May be asked again while it runs."""
        told = self._told
        if told:
            return self.running()
        with self._condition:
            if self._told:
                return self.running()
            wanted = self.set_running_or_notify_cancel()
            # Last: whoever sees it without the lock is to see the state that goes with it.
            self._told = True
            return wanted

    def cancel(self) -> bool:
        """Cancel the call if it has not been given to an executor; see `concurrent.futures.Future.cancel`."""
        if not super().cancel():
            return False
        with self._condition:
            fresh = not self._told
            if fresh:
                self.set_running_or_notify_cancel()
                self._told = True
        # Outside of the lock: the executor takes its own, and may be at claiming this one.
        call, self._call = self._call, None
        if call is not None:
            caller, work = call
            caller.withdraw(work)
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
        call = self._call
        if call is not None:
            caller, work = call
            caller.kill(work)
        return True

    def let_go(self) -> None:
        """The call has ended: forget what led back to the executor."""
        self._call = None
