"""How many whole no-op tasks the cores carry: master, agent and driver, over the memory transport, on one core.

Every task goes the whole way: demand, offer, accept, launch command, checkpoint, container started and exited, two status
updates, each resent-able, forwarded and acknowledged. Messages are encoded and decoded as on Redis. Only what a core is not
about is left out: containers are answered for at once, checkpoints are made but not written.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path

from mesolite.agent.containerizer.contract import ContainerEvent, ContainerExited, ContainerStarted
from mesolite.agent.core import AgentCore
from mesolite.agent.effects import AgentEffect, LaunchContainers, SendReports
from mesolite.agent.events import CommandsArrived, ContainersRecovered, ContainersReported, Tick
from mesolite.clock import SystemClock
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.lease import LeaseKeeper, LeaseSettings
from mesolite.lease.settings import MAX_TTL_MS
from mesolite.master import MasterSettings, MasterShell
from mesolite.master.allocator import HierarchicalDrfAllocator
from mesolite.protocol import (
    AgentInfo,
    CommandInfo,
    Demand,
    Filters,
    FrameworkInfo,
    Offer,
    ReportBatch,
    TaskInfo,
    TaskState,
    TaskStatus,
    decode_commands,
    decode_events,
    encode,
)
from mesolite.resources import Resources, scalars
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import agent_queue, calls_stream, framework_stream, reports_stream
from mesolite.transport.memory import MemoryBus, MemoryStore
from mesolite.transport.memory_broker import MemoryBroker

from .figures import Figure, Outcome, main

TASKS = 20_000
AGENTS = 2
#: Tasks that fit an agent at once: as many as a busy agent may have running short ones.
SLOTS = 250
SHAPE = scalars(cpus=0.01, mem_mib=32)
NO_FILTER = Filters(refuse_ms=0)
STREAM_LENGTH = 100_000


class NoOps(Scheduler):
    """Runs so many tasks that do nothing."""

    def __init__(self, count: int) -> None:
        self.unlaunched = count
        self.unfinished = count
        self.shape = SHAPE.to_wire()
        self.command = CommandInfo(value="true")

    def subscribed(self, driver: SchedulerDriver) -> None:
        self._demand(driver)

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            have = Resources.of(offer.resources)
            fit = min(have.scalar("cpus") // 10, have.scalar("mem") // 32_000, self.unlaunched)
            tasks = [
                TaskInfo(
                    task_id=TaskId(f"t{self.unlaunched - n}"),
                    agent_id=offer.agent_id,
                    name="no-op",
                    resources=self.shape,
                    command=self.command,
                )
                for n in range(fit)
            ]
            self.unlaunched -= fit
            driver.launch([offer.offer_id], tasks, NO_FILTER)
        self._demand(driver)

    def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
        for status in statuses:
            if status.state is TaskState.FINISHED:
                self.unfinished -= 1
            else:
                assert status.state is TaskState.RUNNING, status

    def _demand(self, driver: SchedulerDriver) -> None:
        driver.set_demand([Demand(role="*", shape=self.shape, count=self.unlaunched)])


class Agent:
    """An agent's core with containers that start and exit at once."""

    def __init__(self, name: str, store: MemoryStore, bus: MemoryBus, now_ms: int) -> None:
        info = AgentInfo(
            agent_id=AgentId(name),
            hostname=name,
            resources=scalars(cpus=SLOTS * 0.01, mem_mib=SLOTS * 32).to_wire(),
        )
        self.core = AgentCore(
            info, session=SessionId(name), life=name.encode().ljust(8), boot_id="boot", sandbox_root=Path("/sandboxes")
        )
        self.store, self.bus, self.number = store, bus, 0
        self.queue = agent_queue(info.agent_id)
        self.handle(self.core.apply(ContainersRecovered(now_ms=now_ms)), now_ms)

    def step(self, now_ms: int) -> None:
        for payload in self.bus.receive(self.queue, limit=100, wait_ms=0):
            self.handle(self.core.apply(CommandsArrived(now_ms=now_ms, batch=decode_commands(payload))), now_ms)
        deadline_ms = self.core.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms:
            self.handle(self.core.apply(Tick(now_ms=now_ms)), now_ms)

    def handle(self, effects: list[AgentEffect], now_ms: int) -> None:
        for effect in effects:
            if isinstance(effect, SendReports):
                self.number += 1
                batch = ReportBatch(
                    agent_id=self.core.info.agent_id,
                    session=self.core.session,
                    number=self.number,
                    epoch=effect.epoch,
                    confirmed=effect.confirmed,
                    gap=effect.gap,
                    reports=effect.reports,
                )
                self.store.append(reports_stream(), encode(batch), max_length=STREAM_LENGTH)
            elif isinstance(effect, LaunchContainers):
                events: list[ContainerEvent] = []
                for spec in effect.specs:
                    events.append(ContainerStarted(container_id=spec.container_id))
                    events.append(
                        ContainerExited(
                            container_id=spec.container_id, exit_code=0, oom_killed=False, peak_mem_bytes=1 << 20
                        )
                    )
                self.handle(self.core.apply(ContainersReported(now_ms=now_ms, events=tuple(events))), now_ms)


def once() -> tuple[float, float]:
    """Run all tasks; return tasks per second of the core's time, and of the clock on the wall."""
    broker, clock = MemoryBroker(), SystemClock()
    store, bus = MemoryStore(broker), MemoryBus(broker)
    keeper = LeaseKeeper(store=store, clock=clock, settings=LeaseSettings(ttl_ms=MAX_TTL_MS))
    master = MasterShell(
        leadership=keeper,
        store=store,
        bus=bus,
        settings=MasterSettings(),
        new_allocator=HierarchicalDrfAllocator,
        clock=clock,
    )
    keeper.step()
    master.turn(0)
    agents = [Agent(f"agent-{n}", store, bus, clock.now_ms()) for n in range(AGENTS)]
    scheduler = NoOps(TASKS)
    info = FrameworkInfo(framework_id=FrameworkId("no-ops"), name="no-ops")
    driver = SchedulerDriver(scheduler, info, session=SessionId("bench"), rng=random.Random(0))
    position = BEGINNING
    stream = framework_stream(info.framework_id)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    while scheduler.unfinished:
        now_ms = clock.now_ms()
        entries = store.read({stream: position}, limit=100, wait_ms=0)
        if entries:
            position = entries[-1].entry_id
        for calls in driver.step(now_ms, [decode_events(entry.payload) for entry in entries]):
            store.append(calls_stream(), encode(calls), max_length=STREAM_LENGTH)
        master.step(0)
        for agent in agents:
            agent.step(now_ms)
    return TASKS / (time.process_time() - began_cpu_s), TASKS / (time.perf_counter() - began_s)


def measure(runs: int) -> Outcome:
    """Measure."""
    once()
    both = [once() for _ in range(runs)]
    return Outcome(
        figures=[
            Figure(name="cores", unit="tasks/s", values=[cpu for cpu, _ in both], goal=10_000, better="higher"),
            Figure(name="cores, by the wall clock", unit="tasks/s", values=[wall for _, wall in both], better="higher"),
        ],
        notes=[
            "the first counts the process's own CPU time, so that neighbours on the machine do not count",
            f"{TASKS:,} tasks on {AGENTS} agents of {SLOTS} slots, one process, one core",
        ],
    )


if __name__ == "__main__":
    main("cores", measure)
