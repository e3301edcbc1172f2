"""A client of one server: calls tasks as a program does, and tells the story of what came of them so that two can be compared."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from difflib import unified_diff
from itertools import count
from pprint import pformat
from typing import Any, Generic, TypeVar

from celery import states
from redis import Redis

from tests.waiting import eventually

from .parity_app import make_app
from .parity_app.board import SIGNALS
from .witness import Witness

#: For anything a test waits for.
WITHIN_S = 30.0
#: Events are sent in groups, each some tenths of a second after the last.
LATE_S = 3.0

#: As Celery makes them: another in each run.
TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ToldT = TypeVar("ToldT")


@dataclass(frozen=True)
class Story(Generic[ToldT]):
    """What came of a scenario on one server."""

    told: ToldT
    #: Each task's name and events.
    events: list[tuple[str, tuple[str, ...]]]
    #: Signals with what they were sent with, in any order.
    signals: list[list[str]]

    def events_of(self, name: str) -> tuple[str, ...]:
        """The events of the only task of this name."""
        [found] = [kinds for task, kinds in self.events if task == name]
        return found


class Client:
    """One server's client; `told` runs a scenario on it."""

    def __init__(self, server: str, addresses: Mapping[str, str]) -> None:
        """Prepare, and begin to listen.

        Args:
            server: Its name, for messages.
            addresses: Of its broker, its backend, and the board where its tasks write.
        """
        self.server = server
        self._addresses = addresses
        self.app = self.another_app()
        self.board: Any = Redis.from_url(addresses["board"], decode_responses=True)
        self.witness = Witness(self.app)
        self._keys = count(1)
        self._awaited: list[str] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=server)

    def another_app(self) -> Any:
        """The application with this server's addresses, to be configured otherwise."""
        app: Any = make_app(**self._addresses)
        app.loader.import_default_modules()
        app.finalize()
        return app

    def begin(self, scenario: "Callable[[Client], ToldT]", *, unended: int = 0) -> "Future[Story[ToldT]]":
        """Begin to run a scenario, in this client's own thread: Celery's connections are a thread's."""
        return self._thread.submit(self.tell, scenario, unended=unended)

    def tell(self, scenario: "Callable[[Client], ToldT]", *, unended: int = 0) -> Story[ToldT]:
        """Run a scenario and wait until its tasks have ended.

        Args:
            scenario: Calls tasks and returns what can be compared.
            unended: So many tasks have no last event at the end.
        """
        self.app.set_current()
        self.witness.forget()
        self.board.delete(SIGNALS)
        self._awaited.clear()
        told = scenario(self)
        self.wait(lambda: self.witness.has_ended(self._awaited), "events of what ended", self.witness.told)
        self.wait(lambda: len(self.witness.unended()) == unended, "tasks end", self.witness.unended)
        return self.story(told)

    def story(self, told: ToldT) -> Story[ToldT]:
        """The story as far as it was heard."""
        return Story(told, self.witness.told(), sorted(self._signals()))

    def key(self) -> str:
        """A word that no other scenario uses."""
        return f"k{next(self._keys)}"

    def wait(self, look: Callable[[], Any], what: str, seen: Callable[[], Any] = lambda: "") -> Any:
        """Wait for something, with the server's name in the failure."""
        try:
            return eventually(look, within_s=WITHIN_S)
        except AssertionError as late:
            raise AssertionError(f"{self.server}: {what}: {late} {seen()}") from None

    # -- results ------------------------------------------------------------------------------------------------------

    def state(self, result: Any, state: str) -> dict[str, Any]:
        """Wait for a state and return the meta, comparable."""
        self.wait(lambda: result.state == state, f"{state} of {result.id}", lambda: result.state)
        return self.meta(result)

    def end(self, result: Any) -> dict[str, Any]:
        """Wait for the end of a task and return the meta, comparable."""
        self.wait(lambda: result.state in states.READY_STATES, f"the end of {result.id}", lambda: result.state)
        self._awaited.append(result.id)
        return self.meta(result)

    def value(self, result: Any) -> Any:
        """The result itself; an error is raised."""
        self._awaited += [each.id for each in getattr(result, "results", (result,))]
        return result.get(timeout=WITHIN_S)

    def revoke(self, result: Any, **how: Any) -> None:
        """Revoke a task; returns when the worker has heard it."""
        self.app.control.revoke(result.id, reply=True, limit=1, timeout=5, **how)

    def meta(self, result: Any) -> dict[str, Any]:
        """What the backend holds, without what differs from run to run."""
        meta = dict(self.app.backend.get_task_meta(result.id))
        meta["own id"] = meta.pop("task_id", None) == result.id
        for present in ("date_done", "worker", "traceback"):
            meta[present] = bool(meta.get(present))
        meta["children"] = len(meta.get("children") or ())
        meta["result"] = shown(meta["result"])
        for changing in ("args", "kwargs"):
            meta[changing] = shown(meta.get(changing))
        for linking in ("parent_id", "group_id"):
            meta[linking] = bool(meta.get(linking))
        return meta

    # -- the board ----------------------------------------------------------------------------------------------------

    def notes(self, key: str, *, at_least: int = 0) -> list[str]:
        """What tasks wrote under a key, once there is as much."""
        return list(self.wait(lambda: self._notes(key, at_least), f"{at_least} notes of {key}")[1:])

    def arrived(self, gate: str) -> None:
        """Wait until a task waits at a gate."""
        self.wait(lambda: self.board.lpop(f"parity:waiting:{gate}"), f"somebody waits at {gate}")

    def open(self, gate: str, word: str = "opened") -> None:
        """Let a task through."""
        self.board.rpush(f"parity:open:{gate}", word)

    def close(self) -> None:
        """Stop listening."""
        self.witness.close()
        self._thread.submit(self._let_go).result()
        self._thread.shutdown()
        self.app.close()
        self.board.close()

    def _let_go(self) -> None:
        """Results that are collected after their server's end are not to ask it for anything."""
        self.app.backend.remove_pending_result = shown

    def _notes(self, key: str, at_least: int) -> list[str]:
        found = self.board.lrange(f"parity:notes:{key}", 0, -1)
        return [key, *found] if len(found) >= at_least else []

    def _signals(self) -> Iterator[list[str]]:
        for line in self.board.lrange(SIGNALS, 0, -1):
            yield json.loads(TASK_ID.sub("ID", line))


def shown(value: Any) -> Any:
    """A value that compares: errors by class and arguments, what is long by its beginning."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}{value.args!r}"[:300]
    if isinstance(value, dict) and set(value) & {"pid", "hostname"}:
        return sorted(value)
    return value


def both(
    clients: "tuple[Client, Client]", scenario: Callable[[Client], ToldT], *, unended: int = 0
) -> tuple[Story[ToldT], Story[ToldT]]:
    """Run a scenario on both servers at the same time and return both stories."""
    one, other = [client.begin(scenario, unended=unended) for client in clients]
    # Both are awaited, whichever fails: the next scenario must not meet what is left of this one.
    wait([one, other])
    return one.result(), other.result()


def same(clients: "tuple[Client, Client]", scenario: Callable[[Client], ToldT], *, unended: int = 0) -> Story[ToldT]:
    """Run a scenario on both, find both stories equal, and return the plain one.

    Events and signals that nothing waits for come late: both have some time to become equal.
    """
    one, other = both(clients, scenario, unended=unended)
    deadline_s = time.monotonic() + LATE_S
    while one != other and time.monotonic() < deadline_s:
        threading.Event().wait(0.05)
        one, other = clients[0].story(one.told), clients[1].story(other.told)
    assert other == one, apart(one, other)
    return one


def apart(one: Story[Any], other: Story[Any]) -> str:
    """Say in which lines two stories differ."""
    was, now = [pformat([each.told, each.events, each.signals], width=200).splitlines() for each in (one, other)]
    return "\n".join(unified_diff(was, now, "plain", "mesolite", lineterm="", n=0))


def answer(client: Client, question: str, *arguments: Any) -> Any:
    """What the only worker answers to an inspection."""
    asked = getattr(client.app.control.inspect(timeout=5, limit=1), question)(*arguments)
    assert asked is not None
    [said] = asked.values()
    return said
