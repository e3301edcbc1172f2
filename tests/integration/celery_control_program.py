"""A worker to be inspected and controlled: Celery's own with threads, or the dispatcher's pool with a runner of two workers.

python -m tests.integration.celery_control_program BROKER plain|dispatcher [options of `celery worker`]
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import signals

from mesolite.frameworks.celery import dispatching
from mesolite.frameworks.celery.broker.plain import PlainOwnership
from mesolite.frameworks.celery.calls import TaskCall
from mesolite.frameworks.celery.dispatching import Dispatching, Holds
from mesolite.frameworks.celery.fake_runner import FakeRunner
from mesolite.frameworks.celery.options import OptionsBook
from mesolite.frameworks.celery.watching import NobodyWatches
from tests.integration.celery_worker_program import make_app

#: Of either.
WORKERS: Final = 2


class TwoWorkers(FakeRunner):
    """Two workers: naps hold one until they are ended, all else is over at once."""

    def __init__(self) -> None:
        super().__init__()
        #: Naps that wait, oldest first.
        self._waiting: Final[list[str]] = []

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`."""
        super().submit(calls)
        for call in calls:
            if call.run.name == "shop.nap":
                self._waiting.append(call.name)
            else:
                self.cells.succeed(call.name)
        self._begin()

    def kill(self, name: str) -> None:
        """See `Runner`."""
        super().kill(name)
        if name in self._waiting:
            self._waiting.remove(name)
        self._begin()

    def _begin(self) -> None:
        while self._waiting and len(self.cells.running) < WORKERS:
            self.cells.begin(self._waiting.pop(0))


def main() -> None:
    """Be the worker until told to stop."""
    broker_url, which, *options = sys.argv[1:]
    controllers: list[Any] = []

    def remember(sender: Any, **_: Any) -> None:
        controllers[:] = [sender]

    def prepare(app: Any, _holds: Holds) -> Dispatching:
        return Dispatching(
            ownership=PlainOwnership(),
            runners={"worker": TwoWorkers()},
            options=OptionsBook(app.conf),
            watcher=NobodyWatches(),
            max_losses=3,
            controller=controllers[0],
            leave_running=False,
            start=lambda: None,
            finish=lambda: None,
        )

    signals.worker_init.connect(remember, weak=False)
    dispatching.use(prepare)
    run: Callable[..., None] = make_app(broker_url).worker_main
    pool = ["-P", "threads", "-c", str(WORKERS)] if which == "plain" else ["-P", "custom", "-c", "10"]
    run(["worker", *pool, *options])


if __name__ == "__main__":
    main()
