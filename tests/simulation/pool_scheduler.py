"""A scheduler for the simulator that brings executors: launches tasks in them, alone and in groups, talks to them, ends them."""

import random
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.ids import AgentId, ExecutorId, TaskId
from mesolite.protocol import (
    ExecutorInfo,
    Filters,
    LaunchGroupOperation,
    LaunchOperation,
    Offer,
    Operation,
    TaskInfo,
)
from mesolite.resources import Resources, scalars

from .executors import OWN, executor_info
from .schedulers import MAX_LIVE_TASKS, MAX_TASKS, Memory, PlainScheduler


def any_work(rng: random.Random) -> bytes:
    """Draw what a task does in its executor: it succeeds, fails, lasts, does not listen, or takes all others down with it."""
    kind = rng.random()
    if kind < 0.45:
        return f"sleep {rng.randint(0, 300) / 10}".encode()
    if kind < 0.75:
        return rng.choice((b"", b"fail", b"echo done"))
    if kind < 0.87:
        return rng.choice((b"hang", b"stubborn"))
    return rng.choice((b"exit 0", b"exit 3", b"crash", b"oom", b"hang-up", b"leave", b"garbage"))


class PoolScheduler(PlainScheduler):
    """As the plain one, with executors."""

    def __init__(self, name: str, roles: tuple[str, ...], memory: Memory, rng: random.Random) -> None:
        super().__init__(name, roles, memory, rng)
        self._pool_name: Final = name
        self._pool_memory: Final = memory
        self._dice: Final = rng

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        for offer in offers:
            if self._dice.random() < 0.1:
                super().offers(driver, [offer])
                continue
            operations = self._operations(offer)
            filters = Filters(refuse_ms=self._dice.choice((0, 1000, 5000)))
            if operations:
                driver.accept([offer.offer_id], operations, filters)
            elif self._dice.random() < 0.8 or self._pool_memory.closing:
                driver.decline([offer.offer_id], filters)

    def wakeup(self, driver: SchedulerDriver) -> None:
        """See `Scheduler`."""
        super().wakeup(driver)
        known = list(self._pool_memory.executors)
        if self._pool_memory.closing:
            # As often as it takes: who has not heard of their end cannot know that they need it no more.
            for agent_id, executor_id in known:
                driver.shutdown_executor(agent_id, executor_id)
        elif known and self._dice.random() < 0.5:
            agent_id, executor_id = self._dice.choice(known)
            if self._dice.random() < 0.2:
                driver.shutdown_executor(agent_id, executor_id)
            else:
                driver.send_message(agent_id, executor_id, b"are you there?")

    def _operations(self, offer: Offer) -> list[Operation]:
        """Put tasks of one executor, or of both, onto an offer."""
        left = Resources.of(offer.resources)
        cpus_milli, mem_milli = left.scalar("cpus"), left.scalar("mem")
        operations: list[Operation] = []
        for executor_id, own in OWN.items():
            if self._dice.random() < 0.3:
                continue
            if executor_id not in offer.executor_ids:
                cpus_milli, mem_milli = cpus_milli - own.scalar("cpus"), mem_milli - own.scalar("mem")
            tasks: list[TaskInfo] = []
            memory = self._pool_memory
            while (
                not memory.closing
                and len(memory.live) < MAX_LIVE_TASKS
                and memory.launched < MAX_TASKS
                and self._dice.random() < 0.75
            ):
                cpus, mem = self._dice.choice((10, 200, 500)), self._dice.choice((1_000, 32_000))
                # Now and then more than is left: the master must refuse that one, and no other; or the group.
                if (cpus > cpus_milli or mem > mem_milli) and self._dice.random() > 0.05:
                    break
                cpus_milli, mem_milli = cpus_milli - cpus, mem_milli - mem
                memory.launched += 1
                tasks.append(self._inside(offer.agent_id, memory.launched, cpus, mem))
                memory.live[tasks[-1].task_id] = offer.agent_id
            if tasks:
                memory.executors[offer.agent_id, executor_id] = None
                operations.append(self._operation(self._described(executor_id), tasks))
        return operations

    def _described(self, executor_id: ExecutorId) -> ExecutorInfo:
        """Describe an executor, now and then otherwise than before: where it is already, its tasks must be refused."""
        info = executor_info(executor_id)
        return replace(info, labels={"odd": "yes"}) if self._dice.random() < 0.05 else info

    def _operation(self, executor: ExecutorInfo, tasks: list[TaskInfo]) -> Operation:
        kind = self._dice.random()
        if kind < 0.3:
            return LaunchGroupOperation(executor, tuple(tasks))
        if kind < 0.6:
            return LaunchOperation(tuple(replace(task, executor=executor) for task in tasks))
        return LaunchOperation(tuple(tasks), executor)

    def _inside(self, agent_id: AgentId, number: int, cpus_milli: int, mem_milli: int) -> TaskInfo:
        return TaskInfo(
            task_id=TaskId(f"{self._pool_name}-{number}"),
            agent_id=agent_id,
            resources=scalars(cpus=cpus_milli / 1000, mem_mib=mem_milli / 1000).to_wire(),
            data=any_work(self._dice),
            kill_policy=self._policy(),
            max_completion_time_ms=self._dice.choice((None, None, None, 5_000)),
        )
