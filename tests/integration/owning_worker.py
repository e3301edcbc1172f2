"""A Celery worker for tests, with our transport where it is told an owner. Its argument is what `CeleryWorker` says, as JSON."""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery

from mesolite.frameworks.celery.broker.opening import install


def main() -> None:
    """Run the worker."""
    said: dict[str, Any] = json.loads(sys.argv[1])
    notes: Any = redis.Redis.from_url(said["notes_url"])
    app: Any = Celery("owning_worker", broker=said["url"])
    app.conf.update(
        broker_transport_options=said["options"],
        worker_prefetch_multiplier=4,
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        **said["config"],
    )
    ownership = None if said["owner"] is None else install(said["owner"])

    task: Callable[..., Callable[[Callable[..., None]], object]] = app.task

    @task(name="note")
    def note(key: str, number: int) -> None:
        notes.rpush(key, number)

    @task(name="quick")
    def quick() -> None:
        """Do nothing."""

    @task(name="hold", acks_late=True)
    def hold(key: str, number: int, until: str) -> None:
        """Note the beginning, and wait until somebody says to go on."""
        notes.rpush(key, number)
        while not notes.exists(until):
            threading.Event().wait(0.02)

    @task(name="die", acks_late=True)
    def die(key: str, number: int) -> None:
        """Take the worker with it, the first time."""
        if notes.rpush(key, number) == 1:
            os._exit(9)

    arguments = ["worker", "--loglevel=INFO", "--without-mingle", "--without-gossip", *said["arguments"]]
    try:
        app.worker_main(arguments)
    finally:
        if ownership is not None:
            ownership.close(release=True)


if __name__ == "__main__":
    main()
