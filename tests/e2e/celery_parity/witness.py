"""Hears all events of one broker, as Flower does, in a thread of its own."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

#: What a task's last event is. A retry is not: the task is received again.
LAST = frozenset({"task-succeeded", "task-failed", "task-revoked", "task-rejected"})


@dataclass(frozen=True)
class Heard:
    """One event of a task."""

    kind: str
    task_id: str
    fields: dict[str, Any]


class Witness:
    """All task events since `forget`."""

    def __init__(self, app: Any) -> None:
        """Begin to listen; returns when events are heard."""
        self._app = app
        self._heard: list[Heard] = []
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._receiver: Any = None
        self._listens = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)
        self._thread.start()
        assert self._listens.wait(10), "no events can be heard"

    def forget(self) -> None:
        """Let a new story begin."""
        with self._lock:
            self._heard.clear()

    def events(self) -> list[Heard]:
        """Give what was heard, in order of hearing."""
        with self._lock:
            return list(self._heard)

    def of(self, task_id: str) -> list[str]:
        """The kinds of a task's events so far."""
        return [each.kind for each in self.events() if each.task_id == task_id]

    def unended(self) -> list[str]:
        """Names of tasks that were received and have no last event since."""
        last = self._last_kinds()
        return sorted(self._name(task_id) for task_id, kind in last.items() if kind not in LAST)

    def has_ended(self, task_ids: Iterable[str]) -> bool:
        """Whether the last event of each of these was heard."""
        last = self._last_kinds()
        return all(last.get(task_id) in LAST for task_id in task_ids)

    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each task's name and kinds of events, in any order; what matters is which and how often."""
        kinds: dict[str, list[str]] = {}
        for each in self.events():
            kinds.setdefault(each.task_id, []).append(each.kind)
        return sorted((self._name(task_id), tuple(sorted(those))) for task_id, those in kinds.items())

    def close(self) -> None:
        """Stop listening."""
        self._ends.set()
        self._receiver.should_stop = True
        self._thread.join(10)

    def _last_kinds(self) -> dict[str, str]:
        """Each task's last event but for retries: one may be told after the next try, in another process, has ended."""
        return {each.task_id: each.kind for each in self.events() if each.kind != "task-retried"}

    def _name(self, task_id: str) -> str:
        return self._names.get(task_id, "?")

    def _listen(self) -> None:
        with self._app.connection_for_read() as connection:
            errors: tuple[type[Exception], ...] = connection.connection_errors
        while not self._ends.is_set():
            # Tests of other files end all connections of the Redis that this one shares with them.
            with suppress(*errors), self._app.connection_for_read() as connection:
                self._receiver = self._app.events.Receiver(connection, handlers={"*": self._hear})
                self._receiver.on_consume_ready = self._ready
                self._receiver.capture(limit=None, timeout=None, wakeup=True)
            self._ends.wait(0.1)

    def _ready(self, *_: Any, **__: Any) -> None:
        self._listens.set()

    def _hear(self, event: dict[str, Any]) -> None:
        if not event["type"].startswith("task-"):
            return
        with self._lock:
            if event.get("name"):
                self._names[event["uuid"]] = event["name"]
            self._heard.append(Heard(event["type"], event["uuid"], event))
