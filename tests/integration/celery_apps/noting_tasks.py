"""The Celery application of `dispatcher_rig`: tasks that note that they began.

It is copied with a last line that makes `app`, and needs nothing but Celery and Redis's client.
"""

import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import celery
import redis
from kombu.entity import Queue

#: What queues are, by their names.
QUEUES: dict[str, dict[str, Any]] = {
    "classic": {},
    "ranked": {"x-max-priority": 10},
    "quorum": {"x-queue-type": "quorum"},
}


def make_app(broker: str, backend: str, queues: Sequence[str]) -> Any:
    """Make the application, whose default queue is the first of these; notes are where results are."""
    queue: Any = Queue
    app: Any = celery.Celery("noting", broker=broker, backend=backend)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_default_queue=queues[0],
        task_default_queue_type="quorum" if queues[0] == "quorum" else "classic",
        task_queues=[queue(name, queue_arguments=QUEUES[name], routing_key=name) for name in queues],
    )

    def add(x: int, y: int) -> int:
        return x + y

    def total(numbers: Sequence[int]) -> int:
        return sum(numbers)

    def noted(task: Any, key: str) -> None:
        _notes(backend).rpush(key, task.request.id)

    def held(task: Any, key: str, until: str) -> str:
        """Note the beginning, and wait until somebody says to go on."""
        notes = _notes(backend)
        notes.rpush(key, task.request.id)
        while not notes.exists(until):
            threading.Event().wait(0.02)
        return "held"

    def dies(task: Any, key: str, times: int) -> str:
        """Take the worker with it, the first times."""
        if _notes(backend).rpush(key, task.request.id) <= times:
            os._exit(9)
        return "lived"

    app.task(name="add", shared=False)(add)
    app.task(name="total", shared=False)(total)
    app.task(name="noted", shared=False, bind=True)(noted)
    app.task(name="held", shared=False, bind=True)(held)
    app.task(name="held_late", shared=False, bind=True, acks_late=True, reject_on_worker_lost=True)(held)
    app.task(name="alone", shared=False, bind=True, mesolite={"isolation": "task", "cpus": 3})(held)
    app.task(name="dies", shared=False, bind=True, acks_late=True, reject_on_worker_lost=True)(dies)
    _add_lasting(app, backend)
    return app


def _add_lasting(app: Any, backend: str) -> None:
    """Add tasks that take a while, of each kind."""

    def lasts(task: Any, key: str, seconds: float) -> str:
        """Note the beginning and, after a while, the end."""
        notes = _notes(backend)
        notes.rpush(key, task.request.id)
        threading.Event().wait(seconds)
        notes.rpush(f"{key}-ended", task.request.id)
        return "lasted"

    app.task(name="lasts", shared=False, bind=True)(lasts)
    app.task(name="lasts_alone", shared=False, bind=True, mesolite={"isolation": "task", "cpus": 1})(lasts)
    app.task(name="lasts_late", shared=False, bind=True, acks_late=True, reject_on_worker_lost=True)(lasts)


@cache
def _notes(url: str) -> redis.Redis:
    """One for each worker process."""
    return redis.Redis.from_url(url)
