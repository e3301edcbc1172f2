"""A Celery worker in the cluster's Flower, as a dispatcher is: Celery's own, whose threads play the warm workers of two agents.

python -m tests.integration.celery_worker_program BROKER CLUSTER_REDIS SHOWN_PER_S [options of `celery worker`]
"""

import itertools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from celery import Celery, Task, signals
from celery.concurrency.thread import TaskPool

from mesolite.executors.celery.protocol import TaskRun
from mesolite.frameworks.celery.calls import TaskOptions
from mesolite.frameworks.celery.crossing import Crossing
from mesolite.frameworks.celery.flower import CeleryFlower
from mesolite.frameworks.futures.options import Kind
from mesolite.transport.celery_broker import celery_settings

#: What every call used.
PEAK_KIB: Final = 20 * 1024
AGENTS: Final = ("agent-1", "agent-2")


def make_app(broker_url: str) -> Any:
    """The application, for the worker and for whoever calls it."""
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(celery_settings(broker_url), result_backend="cache+memory://", worker_hijack_root_logger=False)

    def add(a: int, b: int) -> int:
        return a + b

    def fail(message: str) -> None:
        raise ValueError(message)

    def nap(seconds: float) -> str:
        threading.Event().wait(seconds)
        return "rested"

    def again(self: Task) -> int:
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    for function in (add, fail, nap):
        app.task(name=f"shop.{function.__name__}", shared=False)(function)
    app.task(name="shop.again", shared=False, bind=True)(again)
    return app


@dataclass(frozen=True)
class At:
    """A place."""

    agent_id: str
    hostname: str = "host-a"
    executor_id: str = "celery-1"


@dataclass(eq=False)
class Call:
    """A run."""

    run: TaskRun
    place: At | None = None
    name: str = field(init=False)
    options: TaskOptions = field(default_factory=lambda: TaskOptions(kind=Kind(500, 256, "*", "app:1", None)))

    def __post_init__(self) -> None:
        # A retry is another run.
        self.name = f"{self.run.task_id}.{self.run.request.get('retries') or 0}"


class PlayedPool(TaskPool):  # type: ignore[misc] # Celery has no types
    """Threads that say where they are."""

    flower: CeleryFlower
    crossing: Crossing
    controller: Any
    #: As in the dispatcher, whose event loop has one thread: what is said of a call and Celery's callback are one step.
    one_by_one: Final = threading.RLock()
    places: Final = itertools.cycle(map(At, AGENTS))

    def on_start(self) -> None:
        """The controller has its name, and no consumer yet."""
        shown_per_s = float(sys.argv[3])
        PlayedPool.crossing = Crossing()
        PlayedPool.flower = CeleryFlower(
            controller=self.controller,
            post=self.crossing.post,
            redis_url=sys.argv[2],
            framework_id="celery-shop",
            shown_tasks_per_s=shown_per_s if shown_per_s else None,
        )

    def register_with_event_loop(self, loop: Any) -> None:
        """Let the loop hear what is asked in the cluster's Flower."""
        loop.add_reader(self.crossing.fileno(), self.crossing.run)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Threads cannot be ended; say that one was to be."""
        sys.stderr.write(f"told to end with {signal}\n")

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> Any:
        """Say what the dispatcher's pool says."""
        name, task_id, request, *_ = args
        call = Call(TaskRun(name, task_id, request, b"", None, None, None))
        self.flower.given(call)

        def accepted(*more: Any) -> None:
            call.place = next(self.places)
            with self.one_by_one:
                self.flower.started(call)
                accept_callback(*more)

        def ended(*more: Any) -> None:
            with self.one_by_one:
                self.flower.ended(call, PEAK_KIB)
                callback(*more)

        return super().on_apply(target, args, kwargs, ended, accepted, **options)

    def on_stop(self) -> None:
        """Finish, and say goodbye."""
        super().on_stop()
        self.flower.close()


def main() -> None:
    """Be the worker until told to stop."""
    # Not this module, which is `__main__`: the one that Celery imports.
    played: Any = import_module("tests.integration.celery_worker_program").PlayedPool

    def remember(sender: Any, **_: Any) -> None:
        played.controller = sender

    signals.worker_init.connect(remember, weak=False)
    run: Callable[..., None] = make_app(sys.argv[1]).worker_main
    run(["worker", "-P", "custom", "-c", "4", *sys.argv[4:]])


if __name__ == "__main__":
    main()
