"""A framework that always has more tasks waiting than a cluster has room for, and notes when each was placed and ran."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from mesolite.frameworks import DriverShell, Scheduler, SchedulerDriver, Want, demands, place
from mesolite.ids import FrameworkId, SessionId, TaskId
from mesolite.protocol import CommandInfo, FrameworkInfo, Offer, TaskInfo, TaskState, TaskStatus
from mesolite.resources import scalars
from mesolite.transport.contract import Store

CPUS: Final = 0.1
MEM_MIB: Final = 32
#: More than fit at once.
WAITING: Final = 100


@dataclass(slots=True)
class Ran:
    """A task on its way."""

    #: When the scheduler accepted an offer for it, and when it heard that it runs; seconds of `time.monotonic`.
    placed_s: float
    running_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """The first of some tasks; seconds of `time.monotonic`."""

    #: When the scheduler first accepted an offer.
    placed_s: float
    #: When it first heard that a task runs.
    running_s: float


class Pressure(Scheduler):
    """Keeps every offer busy."""

    def __init__(self, command: str) -> None:
        self._command = CommandInfo(value=command)
        self._want = Want(key="task", shape=scalars(cpus=CPUS, mem_mib=MEM_MIB).to_wire(), count=WAITING)
        self._numbers = itertools.count()
        self._tasks: dict[TaskId, Ran] = {}
        self._changed = threading.Condition()

    def subscribed(self, driver: SchedulerDriver) -> None:
        driver.set_demand(demands([self._want]))

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        plan = place(offers, [self._want])
        for placement in plan.placements:
            tasks = [
                TaskInfo(
                    TaskId(f"t{next(self._numbers)}"),
                    placement.agent_id,
                    resources=fill.resources,
                    command=self._command,
                )
                for fill in placement.fills
                for _ in range(fill.count)
            ]
            with self._changed:
                self._tasks.update((task.task_id, Ran(time.monotonic())) for task in tasks)
            driver.launch(placement.offer_ids, tasks)
        driver.decline(plan.unused)
        driver.set_demand(demands([self._want]))

    def status_update(self, driver: SchedulerDriver, status: TaskStatus) -> None:
        with self._changed:
            ran = self._tasks.get(status.task_id)
            if ran is not None and status.state is TaskState.RUNNING and ran.running_s is None:
                ran.running_s = time.monotonic()
                self._changed.notify_all()

    def wait_for_launches(self, count: int, *, after_s: float, timeout_s: float) -> Launches:
        """Wait until so many tasks run that were placed after a moment.

        Raises:
            TimeoutError: They did not.
        """

        def enough() -> bool:
            return sum(ran.placed_s > after_s and ran.running_s is not None for ran in self._tasks.values()) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout_s):
                raise TimeoutError(f"not {count} tasks were launched within {timeout_s} s")
            since = [ran for ran in self._tasks.values() if ran.placed_s > after_s]
        return Launches(
            placed_s=min(ran.placed_s for ran in since),
            running_s=min(ran.running_s for ran in since if ran.running_s is not None),
        )


@contextmanager
def pressure(open_store: Callable[[], Store], command: str) -> Generator[Pressure]:
    """Run the framework; tear it down afterwards."""
    scheduler = Pressure(command)
    info = FrameworkInfo(framework_id=FrameworkId(f"pressure-{uuid4().hex[:8]}"), name="pressure")
    driver = SchedulerDriver(scheduler, info, session=SessionId(uuid4().hex), rng=random.Random(0))
    shell = DriverShell(driver, open_store)
    shell.start()
    try:
        yield scheduler
    finally:
        shell.post(SchedulerDriver.teardown)
        shell.stop()
        shell.join(timeout_s=10)
