"""What the dispatcher says of its runs to those who show them: the cluster's Flower.

That a task was received, succeeded, failed, is retried or was revoked is not said here: whoever watches hears Celery's own
events of it (`flower_events.py`), which are right in every case that Celery knows. What Celery cannot know is said here, each
time before the callback of Celery's that makes the event:

    given --> started, before `on_accepted` --> ended, before `on_success`, `on_failure` or `on_timeout`
"""

from typing import Protocol

from mesolite.executors.celery.protocol import TaskRun

from .calls import Place, TaskOptions


class WatchedCall(Protocol):
    """One run of one message's task, as watchers read it."""

    @property
    def name(self) -> str:
        """Its Mesolite id."""
        ...

    @property
    def options(self) -> TaskOptions: ...

    @property
    def run(self) -> TaskRun: ...

    @property
    def place(self) -> Place | None:
        """Where it is or was, as far as is known."""
        ...


class TaskWatcher(Protocol):
    """Told from the thread of the event loop; returns at once, and never raises."""

    def given(self, call: WatchedCall) -> None:
        """It was taken on, and waits for a worker. Told again where its message was delivered again meanwhile."""
        ...

    def started(self, call: WatchedCall) -> None:
        """A worker has it, or had it: also told of one that ended before anybody heard that it had begun."""
        ...

    def given_back(self, call: WatchedCall) -> None:
        """It did not begin, and its message goes back to its queue: instead of `started` and `ended`."""
        ...

    def ended(self, call: WatchedCall, peak_kib: int | None) -> None:
        """It is over.

        Args:
            call: Which.
            peak_kib: The most memory that its worker used; None where nobody knows.
        """
        ...


class NobodyWatches:
    """The watcher of a dispatcher that appears in no Flower."""

    def given(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""

    def started(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""

    def given_back(self, call: WatchedCall) -> None:
        """See `TaskWatcher`."""

    def ended(self, call: WatchedCall, peak_kib: int | None) -> None:
        """See `TaskWatcher`."""
