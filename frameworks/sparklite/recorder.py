"""Keeps a context's history while it runs: a listener on the scheduler's thread, read from every other."""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from .history import History
from .listener import SparkEvent

T = TypeVar("T")


class Recorder:
    """A `SparkListener` that remembers."""

    def __init__(self, history: History | None = None) -> None:
        self._lock: Final = threading.Lock()
        self._history: Final = history or History()

    def heard(self, event: SparkEvent) -> None:
        """See `SparkListener`."""
        with self._lock:
            self._history.apply(event)

    def close(self) -> None:
        """Nothing: what was remembered can be read after the context was stopped."""

    def read(self, question: Callable[[History], T]) -> T:
        """Return the answer to a question about the past; nothing happens meanwhile, so it should be a short one."""
        with self._lock:
            return question(self._history)
