"""The Celery application that bench/celery.py runs under every kind of worker: tasks, and how the application is configured.

`bench/celery_site.py` writes this file, with a last line that makes `app`, into a folder for each worker: there it needs nothing
beside it but Celery, wherever it is imported.
"""

import os
import time
from typing import Any

import celery

#: Where the greedy task stops by itself, should nothing stop it: no machine is to swap for a benchmark.
MOST_MIB = 4096
#: It takes so much at a time.
STEP_MIB = 8
MIB = 2**20


def nothing(number: int) -> int:
    """Cost nothing, so that all time goes into the task's way."""
    return number


def ordinary(seconds: float, mem_mib: int) -> int:
    """Use a little memory for a while, as tasks do."""
    held = bytearray(os.urandom(1)) * (mem_mib * MIB)
    time.sleep(seconds)
    return len(held)


def greedy() -> int:
    """Take memory until there is none."""
    held: list[bytes] = []
    while len(held) * STEP_MIB < MOST_MIB:
        # Not zeros, which the kernel could share.
        held.append(b"x" * (STEP_MIB * MIB))
        time.sleep(0.002)
    return len(held)


def make_app(broker: str, backend: str, options: dict[str, Any]) -> Any:
    """Make the application.

    Args:
        broker: As Celery writes it.
        backend: As well.
        options: Of both transports: what Sentinels need.
    """
    app: Any = celery.Celery("bench", broker=broker, backend=backend)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options=options,
        result_backend_transport_options=options,
    )
    for function in (nothing, ordinary, greedy):
        app.task(name=function.__name__, shared=False)(function)
    return app
