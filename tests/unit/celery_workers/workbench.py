"""A group's core with a clock in hand, and short words for what happens to it."""

from collections.abc import Mapping
from itertools import count

from mesolite.frameworks.celery_workers.core import WorkersCore
from mesolite.frameworks.celery_workers.effects import LaunchWorkers, LetGo, WorkersEffect
from mesolite.frameworks.celery_workers.events import DrainAsked, Looked, LookFailed
from mesolite.frameworks.celery_workers.group import Group, WorkerShape
from mesolite.frameworks.celery_workers.looks import Look, WorkerView
from mesolite.frameworks.celery_workers.worker import Worker, node_name
from mesolite.frameworks.driver.scheduling import Offered, StateDemand, Ticked, Updated
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import Offer, Reason, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import scalars

_numbers = count(1)


def group(
    least: int = 0,
    most: int = 10,
    concurrency: int = 2,
    messages_per_worker: int | None = None,
    max_wait_ms: int = 30_000,
    quiet_ms: int = 60_000,
    queues: tuple[str, ...] = (),
) -> Group:
    """A group called "g"."""
    return Group(
        name="g",
        app="proj",
        worker=WorkerShape(concurrency=concurrency, cpus=1, mem_mib=100),
        queues=queues,
        least=least,
        most=most,
        messages_per_worker=messages_per_worker,
        max_wait_ms=max_wait_ms,
        quiet_ms=quiet_ms,
    )


def offer(workers: int, name: str | None = None) -> Offer:
    """Room for so many workers on one agent."""
    number = next(_numbers)
    return Offer(
        offer_id=OfferId(name or f"offer-{number}"),
        framework_id=FrameworkId("framework"),
        agent_id=AgentId(f"agent-{number}"),
        hostname=f"host-{number}",
        resources=scalars(cpus=workers, mem_mib=100 * workers).allocated_to("*").to_wire(),
        allocation_role="*",
    )


class Bench:
    """One life of a group after another."""

    def __init__(self, wanted: Group) -> None:
        self.group = wanted
        self.now_ms = 1_000_000
        self.core = WorkersCore(wanted, "a")

    def restart(self, token: str = "b", kept: tuple[Worker, ...] | None = None) -> None:
        """Another life, with what was kept."""
        self.core = WorkersCore(self.group, token, kept=self.core.workers if kept is None else kept)

    def look(
        self, waiting: int = 0, *, seen: Mapping[int, WorkerView] | None = None, **views: WorkerView
    ) -> list[WorkersEffect]:
        """Look; workers are named by their numbers: w1=view(active=2), or seen={1: view(active=2)}."""
        numbered = {int(name.removeprefix("w")): view for name, view in views.items()} | dict(seen or {})
        workers = {node_name("g", number): view for number, view in numbered.items()}
        return self.apply(Looked(now_ms=self.now_ms, look=Look(waiting={"q": waiting}, workers=workers)))

    def look_failed(self, reason: str = "gone") -> list[WorkersEffect]:
        return self.apply(LookFailed(now_ms=self.now_ms, reason=reason))

    def offer(self, *offers: Offer) -> list[WorkersEffect]:
        return self.apply(Offered(now_ms=self.now_ms, offers=offers))

    def update(
        self, task_id: str, state: TaskState, reason: Reason | None = None, message: str = ""
    ) -> list[WorkersEffect]:
        status = TaskStatus(
            task_id=TaskId(task_id),
            state=state,
            source=Source.AGENT,
            timestamp_ms=self.now_ms,
            reason=reason,
            message=message,
        )
        return self.apply(Updated(now_ms=self.now_ms, statuses=(status,)))

    def tick(self) -> list[WorkersEffect]:
        return self.apply(Ticked(now_ms=self.now_ms))

    def drain(self) -> list[WorkersEffect]:
        return self.apply(DrainAsked(now_ms=self.now_ms))

    def later(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    def apply(self, event: Looked | LookFailed | Offered | Updated | Ticked | DrainAsked) -> list[WorkersEffect]:
        effects = self.core.apply(event)
        self.core.check()
        return effects

    def run_up(self, workers: int) -> None:
        """Have so many workers, each of which has answered."""
        self.look(waiting=workers * self.group.per_worker)
        while len(self.core.workers) < workers:
            self.offer(offer(workers))
            self.look(waiting=workers * self.group.per_worker)
        for worker in self.core.workers:
            self.update(worker.task_id, TaskState.RUNNING)
        self.look(seen={number: view() for number in range(1, workers + 1)})


def view(active: int = 0, reserved: int = 0, scheduled: int = 0, begun: int = 0) -> WorkerView:
    return WorkerView(active=active, reserved=reserved, scheduled=scheduled, begun=begun)


def launched(effects: list[WorkersEffect]) -> list[TaskInfo]:
    return [task for effect in effects if isinstance(effect, LaunchWorkers) for task in effect.tasks]


def let_go(effects: list[WorkersEffect]) -> list[str]:
    return [effect.task_id for effect in effects if isinstance(effect, LetGo)]


def demanded(effects: list[WorkersEffect]) -> int | None:
    """How many more are asked for; None where that did not change."""
    stated = [effect for effect in effects if isinstance(effect, StateDemand)]
    return sum(demand.count for demand in stated[-1].demands) if stated else None
