"""An application whose tasks eat, die and tell what they were given."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

from celery import Celery

#: What the greedy one may have.
GREEDY_MIB = 96


def make_app(broker: str, backend: str, folder: str) -> Celery:
    """Make it.

    Args:
        broker: Where it is.
        backend: The same, of results.
        folder: Where tasks write.
    """
    app = Celery("limits", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        mesolite={"cpus": 0.5, "mem": "128MiB"},
        mesolite_routes=[{"task": "limits.routed", "queue": "slow", "mem": "160MiB"}],
        broker_connection_retry_on_startup=True,
        result_extended=True,
    )

    def told(self: Any) -> dict[str, Any]:
        """Say where it runs."""
        return {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "retries": self.request.retries,
            "tz": os.environ.get("TZ", ""),
        }

    def eat() -> None:
        """Take more and more."""
        eaten = bytearray()
        while True:
            eaten += b"x" * 4_000_000

    def die(name: str) -> str:
        """Write down that it begins, and kill its worker; but return once somebody has forgiven it."""
        journal = Path(folder) / name
        with journal.open("a") as lines:
            lines.write("begun\n")
        if not (Path(folder) / f"{name}.forgiven").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return "forgiven"

    def wait(name: str) -> str:
        """Wait until there is a file."""
        never = threading.Event()
        (Path(folder) / f"{name}.begun").touch()
        while not (Path(folder) / name).exists():
            never.wait(0.01)
        return name

    decorate: Any = app.task
    decorate(name="limits.told", bind=True)(told)
    decorate(name="limits.routed", bind=True)(told)
    decorate(name="limits.alone", bind=True, mesolite={"isolation": "task", "env": {"TZ": "Asia/Tokyo"}})(told)
    decorate(name="limits.alone_waits", mesolite={"isolation": "task"})(wait)
    decorate(name="limits.alone_eats", mesolite={"isolation": "task", "mem_mib": GREEDY_MIB})(eat)
    decorate(name="limits.alone_slow", mesolite={"isolation": "task", "max_time_s": 0.5})(wait)
    decorate(name="limits.greedy", mesolite={"mem_mib": GREEDY_MIB})(eat)
    decorate(name="limits.huge", bind=True, mesolite={"mem": "900GiB"})(told)
    decorate(name="limits.huge_alone", bind=True, mesolite={"mem": "900GiB", "isolation": "task"})(told)
    decorate(name="limits.dies")(die)
    decorate(name="limits.poison", acks_late=True, reject_on_worker_lost=True)(die)
    return app
