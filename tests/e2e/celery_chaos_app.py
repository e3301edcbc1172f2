"""The Celery application of the tests that kill: tasks that write down each time that they begin, and some that die.

It is copied into a folder of the test with a last line that makes `app` (`bench.celery_site.Site`), and needs nothing but Celery.
"""

import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from signal import SIGKILL
from typing import Any

import celery
import redis

#: Of the hash that counts how often each task began.
STARTS = "starts"
#: The limit of a worker stops it long before.
MOST_MIB = 1024
STEP_MIB = 8
MIB = 2**20


def make_app(broker: str, backend: str, options: dict[str, Any], folder: str, counters: str) -> Any:
    """Make the application.

    Args:
        broker: As Celery writes it.
        backend: As well.
        options: Of both transports.
        folder: Where `journal` and `bodies` are.
        counters: A Redis for counts; empty: none.
    """
    app: Any = celery.Celery("chaos", broker=broker, backend=backend)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options=options,
        # A failover takes Sentinels some seconds; by default Celery gives up earlier.
        result_backend_transport_options=options | {"retry_policy": {"max_retries": 100, "interval_max": 0.5}},
        result_backend_always_retry=True,
    )

    def late(number: int, seconds: float) -> int:
        return _written(Path(folder) / "journal", number, seconds)

    def early(number: int, seconds: float) -> int:
        return _written(Path(folder) / "journal", number, seconds)

    def gathered(numbers: Sequence[int]) -> int:
        _append(Path(folder) / "bodies", f"{len(numbers)} {sum(numbers)}")
        return sum(numbers)

    def counted(task: Any, number: int, how: str) -> int:
        _client(counters).hincrby(STARTS, task.request.id, 1)
        _die(how)
        return number

    # Not of every application in this process: a test's client makes several.
    app.task(name="late", shared=False, acks_late=True, reject_on_worker_lost=True)(late)
    app.task(name="early", shared=False)(early)
    app.task(name="gathered", shared=False)(gathered)
    app.task(name="counted", shared=False, bind=True)(counted)
    return app


@cache
def _client(url: str) -> redis.Redis:
    """One for each worker process: it is first asked for by a task."""
    return redis.Redis.from_url(url)


def _written(journal: Path, number: int, seconds: float) -> int:
    """Write down that a task begins, and in which process; then take a while."""
    _append(journal, f"{number} {os.getpid()}")
    threading.Event().wait(seconds)
    return number


def _die(how: str) -> None:
    """Take all memory, or end the worker; "fine" does neither."""
    if how == "greedy":
        held: list[bytes] = []
        while len(held) * STEP_MIB < MOST_MIB:
            held.append(b"x" * (STEP_MIB * MIB))
    elif how == "exits":
        os._exit(3)
    elif how == "killed":
        os.kill(os.getpid(), SIGKILL)


def _append(path: Path, line: str) -> None:
    # In one write, so that lines of several processes do not mix.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, f"{line}\n".encode())
    os.close(file)
