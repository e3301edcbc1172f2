"""What a dispatcher answers in the cluster's Flower: as Celery's worker would, by Celery's own handlers."""

import threading
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state as worker_state

from mesolite.frameworks.celery.crossing import Crossing
from mesolite.frameworks.celery.flower_answers import PanelAnswers


class Listening:
    """Counts signs of life."""

    def __init__(self) -> None:
        self.came = 0
        self.asked = 0

    def listener_came(self) -> None:
        self.came += 1

    def enable_asked(self) -> None:
        self.asked += 1


class Loop:
    """An event loop's thread, which does what is posted."""

    def __init__(self) -> None:
        self.crossing = Crossing()
        self._ends = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self._ends.is_set():
            self.crossing.wait(0.05)

    def close(self) -> None:
        """End the thread."""
        self._ends.set()
        self.thread.join(10)
        self.crossing.close()


@pytest.fixture
def loop() -> Generator[Loop]:
    running = Loop()
    yield running
    running.close()


@pytest.fixture
def unmarked() -> Generator[None]:
    """Celery's worker is not told to stop before or after the test."""
    yield
    worker_state.should_stop = worker_state.should_terminate = None
    worker_state.revoked.clear()


LISTENING = Listening()


def answers(post: Callable[[Callable[[], None]], None], *, starting: bool = False) -> PanelAnswers:
    """Of a dispatcher with an application and no broker."""
    app = Celery(set_as_current=False)
    consumer = None if starting else SimpleNamespace(app=app, hostname="celery@h")
    return PanelAnswers(SimpleNamespace(consumer=consumer), post, lambda task_id: task_id == "mine/1", LISTENING)


def test_celerys_own_handlers_answer(loop: Loop, unmarked: None) -> None:
    asked = answers(loop.crossing.post)
    assert asked.answer("ping", {}) == {"ok": "pong"}
    assert asked.answer("active", {}) == []
    reply: Any = asked.answer("revoke", {"task_id": "one"})
    assert "one" in str(reply["ok"])
    assert "one" in worker_state.revoked


def test_the_ids_of_other_frameworks_are_not_kept_as_revoked(loop: Loop, unmarked: None) -> None:
    asked = answers(loop.crossing.post)
    assert asked.answer("revoke", {"task_id": "fw-1/1"}) == {"ok": "no such task here"}
    assert asked.answer("terminate", {"signal": "SIGTERM", "task_id": None}) == {"ok": "no such task here"}
    asked.answer("revoke", {"task_id": ["fw-1/1", "mine/1", "plain"]})
    assert [each in worker_state.revoked for each in ("fw-1/1", "mine/1", "plain")] == [False, True, True]


def test_what_concerns_the_broker_that_was_asked_is_answered_here(loop: Loop) -> None:
    asked, came = answers(loop.crossing.post), LISTENING.came
    assert "ok" in dict(asked.answer("heartbeat", {}))  # type: ignore[call-overload]
    assert LISTENING.came == came + 1
    asked.answer("enable_events", {})
    assert LISTENING.asked > 0
    for method in ("disable_events", "hello"):
        assert "error" in str(asked.answer(method, {}))


def test_a_request_that_makes_no_sense_is_refused_and_nothing_breaks(loop: Loop) -> None:
    asked = answers(loop.crossing.post)
    assert "does not know 'dance'" in str(asked.answer("dance", {}))
    assert "TypeError" in str(asked.answer("rate_limit", {}))
    assert asked.answer("ping", {}) == {"ok": "pong"}


def test_shutdown_is_answered_and_then_done(loop: Loop, unmarked: None) -> None:
    reply: Any = answers(loop.crossing.post).answer("shutdown", {})
    assert "ends" in reply["ok"]
    assert worker_state.should_stop == 0
    assert loop.thread.is_alive()


def test_a_dispatcher_that_starts_says_so(loop: Loop) -> None:
    assert answers(loop.crossing.post, starting=True).answer("ping", {}) == {"error": "it is starting"}


def test_a_loop_that_is_busy_is_not_waited_for_long() -> None:
    posted: list[Callable[[], None]] = []
    assert "busy" in str(answers(posted.append).answer("ping", {}))
    assert len(posted) == 1
