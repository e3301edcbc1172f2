"""The load: a framework of its own that keeps ten long tasks running and pushes short ones through, as a process to be killed.

    python -m tests.e2e.load_program PLAN.json

Everything that it knows stands in its journal before it counts, so a process that was killed is simply started again: it
takes its framework over, with the tasks that the journal says have not ended. How many short tasks there are to be in all
stands in a file that the tests raise while it runs. Work that was lost through no fault of its own (its launch never arrived,
its agent vanished) is tried again under a new task id; that and nothing else is tried again.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
from msgspec import Struct

from mesolite import (
    TERMINAL_STATES,
    CommandInfo,
    ContainerInfo,
    Demand,
    FrameworkId,
    FrameworkInfo,
    Offer,
    Resource,
    SessionId,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    scalars,
)
from mesolite.frameworks import DriverShell, Scheduler, SchedulerDriver, Want, demands, place
from mesolite.logs import configure_logs
from mesolite.protocol import Filters
from mesolite.transport import open_store
from tests.e2e.load_journal import (
    Began,
    Ended,
    Heard,
    JournalWriter,
    Launched,
    Line,
    Offered,
    Subscribed,
    heard,
    now_ms,
    read_journal,
)

#: How often the goal is looked at.
LOOK_EVERY_MS: Final = 200
#: The goal that ends the framework.
TEAR_DOWN: Final = -1
#: What is left of an offer may come back at once: somebody else's work may fit it, and so may the next of ours.
NO_FILTER: Final = Filters(refuse_ms=0)

#: Leaves its id in its sandbox, once for each time it is started.
SHORT: Final = "echo {task_id} >> ran; true"
#: The same, and then a numbered line every two seconds, so that a hole in its output shows.
LONG: Final = (
    "echo {task_id} >> ran; trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo tick $n; sleep 2 & wait $!; done"
)


class Plan(Struct, frozen=True, kw_only=True):
    """What one load is to do."""

    redis_url: str
    cluster: str
    framework_id: FrameworkId
    journal: str
    #: A file with the number of short tasks there are to be in all, or TEAR_DOWN.
    goal: str
    #: Begins every task id, so that no two loads of one cluster share one.
    run: str
    #: Long tasks that are kept running.
    longs: int
    #: Short tasks that may be on their way at once.
    window: int
    #: Short tasks that come due in a second, so that some still flow when what broke comes back.
    pace_per_s: float
    image: str | None
    cpus: float
    mem_mib: float


class Ledger:
    """Which work is done, which is on its way, and as which task: what the lines of a journal amount to."""

    def __init__(self, longs: int) -> None:
        self._longs = [f"long-{number}" for number in range(longs)]
        #: Short tasks that have come due.
        self.due = 0.0
        #: Tasks that have not ended, with their work.
        self.running: dict[TaskId, str] = {}
        self._done: set[str] = set()
        self._attempts: dict[str, int] = {}

    def launched(self, task_id: TaskId, work: str) -> None:
        """Take a launch in."""
        self.running[task_id] = work
        self._attempts[work] = self._attempts.get(work, 0) + 1

    def heard(self, task_id: TaskId, state: TaskState) -> None:
        """Take a status in."""
        if state not in TERMINAL_STATES:
            return
        work = self.running.pop(task_id, None)
        if work is not None and state is TaskState.FINISHED:
            self._done.add(work)

    def come_due(self, goal: int, more: float) -> None:
        """Let some more short tasks come due, up to a goal."""
        begun = sum(work.startswith("short-") for work in self._attempts)
        self.due = min(goal, max(self.due, begun) + more)

    def missing_longs(self) -> list[str]:
        """Long work that does not run."""
        busy = set(self.running.values())
        return [work for work in self._longs if work not in busy]

    def waiting_shorts(self, window: int) -> list[str]:
        """Short work that may be launched now."""
        busy = {work for work in self.running.values() if work.startswith("short-")}
        waiting = [
            work
            for work in (f"short-{number}" for number in range(int(self.due)))
            if work not in busy and work not in self._done
        ]
        return waiting[: max(0, window - len(busy))]

    def next_task_id(self, run: str, work: str) -> TaskId:
        """A fresh id for work."""
        return TaskId(f"{run}-{work}-{self._attempts.get(work, 0) + 1}")


class Load(Scheduler):
    """The framework."""

    def __init__(self, plan: Plan, ledger: Ledger, journal: JournalWriter) -> None:
        self._plan = plan
        self._ledger = ledger
        self._journal = journal
        self._looked_ms = 0
        self._shape: tuple[Resource, ...] = scalars(cpus=plan.cpus, mem_mib=plan.mem_mib).to_wire()

    def _wants(self) -> list[Want[str]]:
        ledger, window = self._ledger, self._plan.window
        return [
            Want(key="long", shape=self._shape, count=len(ledger.missing_longs())),
            Want(key="short", shape=self._shape, count=len(ledger.waiting_shorts(window))),
        ]

    def _demand(self) -> tuple[Demand, ...]:
        return demands(self._wants())

    def subscribed(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        self._journal.write([Subscribed(at_ms=now_ms(), epoch=driver.core.epoch)])
        self.wakeup(driver)

    def wakeup(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`: look at the goal."""
        goal = int(Path(self._plan.goal).read_text())
        if goal == TEAR_DOWN:
            driver.teardown()
            return
        # Time that passed unseen counts for little: what should have come due meanwhile would come all at once.
        passed_ms = min(2 * LOOK_EVERY_MS, driver.now_ms - self._looked_ms)
        self._looked_ms = driver.now_ms
        self._ledger.come_due(goal, self._plan.pace_per_s * passed_ms / 1000)
        driver.set_demand(self._demand())
        driver.wake_at(driver.now_ms + LOOK_EVERY_MS)

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self._journal.write([Offered(at_ms=now_ms(), offer_ids=tuple(offer.offer_id for offer in offers))])
        plan = place(offers, self._wants())
        for placement in plan.placements:
            tasks = [
                self._task(work, placement.offers[0], fill.resources)
                for fill in placement.fills
                for work in self._take(fill.key, fill.count)
            ]
            driver.launch(placement.offer_ids, tasks, NO_FILTER)
        driver.decline(plan.unused, NO_FILTER)
        driver.set_demand(self._demand())

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        """See `Scheduler`: on disk first, then acknowledged by the driver when this returns."""
        at_ms = now_ms()
        self._journal.write([heard(status, at_ms) for status in statuses])
        for status in statuses:
            self._ledger.heard(status.task_id, status.state)
        driver.set_demand(self._demand())

    def error(self, driver: SchedulerDriver, message: str) -> None:
        """See `Scheduler`."""
        self._journal.write([Ended(at_ms=now_ms(), message=message)])

    def _take(self, kind: str, count: int) -> list[str]:
        ledger = self._ledger
        pending = ledger.missing_longs() if kind == "long" else ledger.waiting_shorts(self._plan.window)
        return pending[:count]

    def _task(self, work: str, offer: Offer, resources: tuple[Resource, ...]) -> TaskInfo:
        task_id = self._ledger.next_task_id(self._plan.run, work)
        self._journal.write([Launched(at_ms=now_ms(), task_id=task_id, work=work, agent_id=offer.agent_id)])
        self._ledger.launched(task_id, work)
        text = (LONG if work.startswith("long-") else SHORT).format(task_id=task_id)
        return TaskInfo(
            task_id=task_id,
            agent_id=offer.agent_id,
            name=work.partition("-")[0],
            resources=resources,
            command=CommandInfo(value=text),
            container=ContainerInfo(image=self._plan.image) if self._plan.image is not None else None,
        )


def remembered(lines: Sequence[Line], longs: int) -> Ledger:
    """What the lives before this one left."""
    ledger = Ledger(longs)
    for line in lines:
        match line:
            case Launched():
                ledger.launched(line.task_id, line.work)
            case Heard():
                ledger.heard(line.task_id, line.state)
            case _:
                pass
    return ledger


def main() -> None:
    """Run until torn down or refused."""
    configure_logs("info")
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    lines = read_journal(Path(plan.journal))
    ledger = remembered(lines, plan.longs)
    journal = JournalWriter(Path(plan.journal))
    journal.write([Began(at_ms=now_ms())])
    agents = {line.task_id: line.agent_id for line in lines if isinstance(line, Launched)}
    driver = SchedulerDriver(
        Load(plan, ledger, journal),
        FrameworkInfo(plan.framework_id, "load", failover_timeout_ms=3_600_000),
        session=SessionId(uuid4().hex),
        rng=random.Random(),
        known_tasks=[(task_id, agents[task_id]) for task_id in ledger.running],
    )
    DriverShell(driver, lambda: open_store(plan.redis_url, plan.cluster)).run()


if __name__ == "__main__":
    main()
