"""A framework in forty lines: keeps three copies of a command running, wherever there is room.

python -m mesolite.frameworks.examples.forty_lines 'sleep 60'
"""

import random
import sys
import uuid
from collections.abc import Sequence

from mesolite import (
    TERMINAL_STATES,
    CommandInfo,
    FrameworkId,
    FrameworkInfo,
    Offer,
    SessionId,
    TaskId,
    TaskInfo,
    TaskStatus,
    scalars,
)
from mesolite.discovery import find_cluster
from mesolite.frameworks import DriverShell, Scheduler, SchedulerDriver, Want, demands, place
from mesolite.transport import open_store

COPIES = 3
SHAPE = scalars(cpus=0.1, mem_mib=32).to_wire()


class KeepRunning(Scheduler):
    """Launches as many copies as are missing; the driver subscribes, acknowledges and reconciles."""

    def __init__(self, command: str) -> None:
        self._command = CommandInfo(value=command)
        self.alive: set[TaskId] = set()

    def _missing(self) -> list[Want[str]]:
        return [Want(key="copy", shape=SHAPE, count=COPIES - len(self.alive))]

    def subscribed(self, driver: SchedulerDriver) -> None:
        driver.set_demand(demands(self._missing()))

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        plan = place(offers, self._missing())
        for placement in plan.placements:
            tasks = [
                TaskInfo(TaskId(uuid.uuid4().hex), placement.agent_id, resources=fill.resources, command=self._command)
                for fill in placement.fills
                for _ in range(fill.count)
            ]
            self.alive.update(task.task_id for task in tasks)
            driver.launch(placement.offer_ids, tasks)
        driver.decline(plan.unused)
        driver.set_demand(demands(self._missing()))

    def status_update(self, driver: SchedulerDriver, status: TaskStatus) -> None:
        if status.state in TERMINAL_STATES:
            self.alive.discard(status.task_id)
            driver.set_demand(demands(self._missing()))


def main() -> None:
    """Run until interrupted; the copies then run on for the framework's failover timeout."""
    cluster = find_cluster()
    info = FrameworkInfo(FrameworkId(f"keep-{uuid.uuid4().hex[:8]}"), "keep-running", failover_timeout_ms=60_000)
    driver = SchedulerDriver(KeepRunning(sys.argv[1]), info, session=SessionId(uuid.uuid4().hex), rng=random.Random())
    DriverShell(driver, lambda: open_store(cluster.redis_url, cluster.cluster), principal=cluster.principal).run()


if __name__ == "__main__":
    main()
