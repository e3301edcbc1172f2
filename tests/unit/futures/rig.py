"""Agents, offers and updates for the cores of futures, said in one line each; virtual time."""

from mesolite.executors.python.calls import Outcome
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import encode_outcome
from mesolite.frameworks.driver.scheduling import Offered, Updated
from mesolite.frameworks.futures.events import FineCall
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.programs import Program
from mesolite.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from mesolite.protocol import Offer, Reason, Source, TaskState, TaskStatus
from mesolite.resources import scalars

PROGRAM = Program(name="test", settings=PythonSettings(python="3.11"))
KIND = CallOptions().kind
AGENT = AgentId("agent-1")


def call(number: int, *, kind: Kind = KIND, retries: int = 0) -> FineCall:
    """A call that waits for an offer."""
    return FineCall(number, "work", kind, b"C", retries)


def offer(
    offer_id: str = "offer-1", *, cpus: float = 4, mem_mib: float = 4096, agent_id: AgentId = AGENT, role: str = "*"
) -> Offer:
    """An offer of plain resources."""
    return Offer(
        offer_id=OfferId(offer_id),
        framework_id=FrameworkId("test"),
        agent_id=agent_id,
        hostname=agent_id,
        resources=scalars(cpus=cpus, mem_mib=mem_mib).allocated_to(role).to_wire(),
        allocation_role=role,
    )


def offered(now_ms: int, *offers: Offer) -> Offered:
    """Offers come."""
    return Offered(now_ms=now_ms, offers=offers)


def status(
    task_id: str,
    state: TaskState,
    *,
    outcome: Outcome | None = None,
    reason: Reason | None = None,
    message: str = "",
    source: Source = Source.EXECUTOR,
    executor_id: ExecutorId | None = None,
) -> TaskStatus:
    """One word about a task."""
    return TaskStatus(
        task_id=TaskId(task_id),
        state=state,
        source=source,
        timestamp_ms=0,
        agent_id=AGENT,
        executor_id=executor_id,
        reason=reason,
        message=message,
        data=encode_outcome(outcome) if outcome is not None else b"",
    )


def updated(now_ms: int, *statuses: TaskStatus) -> Updated:
    """Updates come."""
    return Updated(now_ms=now_ms, statuses=statuses)
