"""Where the threads of a driver's shell meet: what others hand in for the driver's own thread to take."""

import threading
from dataclasses import dataclass, field

from .driver import Action


@dataclass(slots=True)
class Handed:
    """What was handed in since the last time."""

    payloads: list[bytes] = field(default_factory=list[bytes])
    actions: list[Action] = field(default_factory=list[Action])
    #: The reader lost Redis and found it again.
    store_returned: bool = False


class Inbox:
    """Payloads from the reader, actions from any thread. `close` lets every waiting thread go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._handed = Handed()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def put_payloads(self, payloads: list[bytes]) -> None:
        """Hand in what was read, and wait until it is taken: the stream itself holds what comes after.

        A reader that went on at once would keep the interpreter's lock from the driver's thread until it waits for Redis again.
        """
        with self._changed:
            self._handed.payloads += payloads
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or not self._handed.payloads)

    def put_action(self, action: Action) -> None:
        """Hand in something to be done with the driver."""
        with self._changed:
            self._handed.actions.append(action)
            self._changed.notify_all()

    def put_store_returned(self) -> None:
        """Say that Redis was away and is back."""
        with self._changed:
            self._handed.store_returned = True
            self._changed.notify_all()

    def take(self, wait_ms: int) -> Handed:
        """Take everything, waiting at most so long for the first of it."""
        with self._changed:
            self._changed.wait_for(self._has_something, timeout=max(0, wait_ms) / 1000)
            handed, self._handed = self._handed, Handed()
            self._changed.notify_all()
        return handed

    def pause(self, wait_ms: int) -> None:
        """Wait so long, or until it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=wait_ms / 1000)

    def close(self) -> None:
        """Let everybody go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_something(self) -> bool:
        handed = self._handed
        return self._closed or bool(handed.payloads or handed.actions or handed.store_returned)
