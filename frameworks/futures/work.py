"""One submitted call on its way, and what whoever runs it (a backend) looks like.

A backend is told of works and answers each with exactly one `end`. Before it lets a call out of its hands it asks `claim`:
a call that was cancelled meanwhile is not wanted any more, and one that was claimed cannot be cancelled. So
`Future.cancel` says True only of calls that never began and never will.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mesolite.executors.python.calls import Function, Outcome

from .options import CallOptions

if TYPE_CHECKING:
    from .future import ClusterFuture

#: How a call ended: what the executor said, or why it says nothing.
Ending: TypeAlias = Outcome | Exception


class Work:
    """A call that was submitted and has not ended."""

    __slots__ = ("_end", "arguments", "function", "future", "name", "number", "options")

    def __init__(
        self,
        number: int,
        name: str,
        function: Function,
        arguments: bytes,
        options: CallOptions,
        future: "ClusterFuture[Any]",
        end: Callable[["Work", Ending], None],
    ) -> None:
        #: Unique in one executor's life; grows.
        self.number = number
        #: The function's, for people: Flower and logs show it.
        self.name = name
        self.function = function
        #: Pickled `(args, kwargs)`.
        self.arguments = arguments
        self.options = options
        #: Told how it ended; the session's to touch.
        self.future = future
        self._end = end

    def claim(self) -> bool:
        """Whether it is still wanted; from now on it cannot be cancelled. May be asked again of one that was claimed."""
        return self.future.claim()

    def end(self, ending: Ending) -> None:
        """Tell its caller. Once; callbacks of the user run inside, and cannot raise."""
        self._end(self, ending)


class Backend(Protocol):
    """Runs calls. Methods may be used from any thread, return at once and raise nothing for what is in a call."""

    def submit(self, works: Sequence[Work]) -> None:
        """Take calls on; each ends once, in any order, from any thread, and may do so before this returns."""
        ...

    def withdraw(self, work: Work) -> None:
        """Forget a call that was cancelled before it was claimed: it is not ended."""
        ...

    def kill(self, work: Work) -> None:
        """End a call though it runs; it may still return first. Unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Let go of everything: what runs is killed, and nothing is ended any more. May be repeated."""
        ...

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until a `close` is through. Not from a thread that ends calls."""
        ...


class BackendListener(Protocol):
    """What a backend has to say beside how calls end."""

    def broke(self, reason: str) -> None:
        """It cannot go on; it ends no call any more."""
        ...
