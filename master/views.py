"""What people and programs may see of a master, as the rows of `mesolite.views`, made between two batches."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mesolite.ids import FrameworkId
from mesolite.protocol import CommandInfo, DeadLetter
from mesolite.resources import EMPTY, Resources
from mesolite.transport.contract import Entry
from mesolite.views import AgentRow, Amounts, DeadLetterRow, Explanation, FrameworkRow, OfferRow, TaskRow, Why

from .core import MasterCore
from .lifecycle import holds_resources
from .state import Absence, Agent, Framework, HeldOffer, Task

#: How much of a refused message is shown.
EXCERPT_BYTES = 200


def agents(core: MasterCore, query: Mapping[str, str]) -> list[AgentRow]:
    """Return every agent that has not left: what it has, what is in use and on offer, whether it is offered."""
    rows = [_agent_row(agent) for agent in core.state.agents.values()]
    rows += [
        AgentRow(agent_id=lost.agent_id, hostname=lost.entry.hostname, status=lost.absence.value)
        for lost in core.state.lost_agents.values()
        if lost.absence is not Absence.LEFT
    ]
    return sorted(rows, key=lambda row: row.agent_id)


def frameworks(core: MasterCore, query: Mapping[str, str]) -> list[FrameworkRow]:
    """Return the frameworks, oldest first; with `all=1` also those that ended."""
    rows = [_framework_row(core, framework) for framework in core.state.frameworks.values()]
    rows.sort(key=lambda row: (row.registered_ms, row.framework_id))
    if query.get("all") == "1":
        rows += [
            FrameworkRow(framework_id=framework_id, status="completed")
            for framework_id in core.state.completed_frameworks
        ]
    return rows


def offers(core: MasterCore, query: Mapping[str, str]) -> list[OfferRow]:
    """Return the outstanding offers, oldest first: who holds what, and for how long."""
    return [_offer_row(core, offer) for offer in core.state.offers.values()]


def tasks(core: MasterCore, query: Mapping[str, str]) -> list[TaskRow]:
    """Return tasks, newest first.

    Args:
        core: The master.
        query: `task_id`, `framework_id` and `executor_id` choose; with `all=1` ended ones are among them.
    """
    chosen = [task for task in _all_tasks(core, ended=query.get("all") == "1") if _is_chosen(task, query)]
    chosen.sort(key=lambda task: (task.accepted_ms, task.info.task_id), reverse=True)
    return [_task_row(core, task) for task in chosen]


def summary(core: MasterCore, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the master's own state: epoch, sums, counters."""
    state = core.state
    absent = Counter(lost.absence for lost in state.lost_agents.values())
    return {
        "epoch": core.context.epoch,
        "agents": len(state.agents),
        "agents_recovering": absent[Absence.RECOVERING],
        "agents_unreachable": absent[Absence.UNREACHABLE],
        "agents_overdue": sum(agent.overdue for agent in state.agents.values()),
        "agents_gone": absent[Absence.GONE],
        "frameworks": len(state.frameworks),
        "tasks": sum(len(framework.tasks) for framework in state.frameworks.values()),
        "offers": len(state.offers),
        "counts": dict(sorted(core.context.counts.items())),
    }


def explain(core: MasterCore, framework_id: FrameworkId) -> Explanation:
    """Say why a framework is not offered (more), reason by reason."""
    framework = core.state.frameworks[framework_id]
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in core.context.allocator.explain(framework_id, core.context.now_ms):
        grouped.setdefault((row.role, row.message), []).extend([row.agent_id] if row.agent_id else [])
    reasons = tuple(Why(reason=message, agents=tuple(who), role=role) for (role, message), who in grouped.items())
    if framework.offers:
        held = len(framework.offers)
        text = f"It holds {held} offer{'s' if held > 1 else ''}: its scheduler has yet to accept or decline."
    elif reasons:
        text = "Nothing is offered now: " + reasons[0].reason
    else:
        text = "Nothing stands against an offer."
    return Explanation(framework_id=framework_id, name=framework.info.name, summary=text, reasons=reasons)


def dead_letter_row(entry: Entry, letter: DeadLetter) -> DeadLetterRow:
    """Show a refused message."""
    return DeadLetterRow(
        entry_id=entry.entry_id,
        time_ms=letter.timestamp_ms,
        stream=entry.stream,
        sender=letter.source,
        reason=letter.reason,
        excerpt=letter.payload[:EXCERPT_BYTES].decode("utf-8", "backslashreplace"),
    )


def command_text(command: CommandInfo | None) -> str:
    """Write a command as a person would."""
    if command is None:
        return ""
    if command.shell:
        return command.value or ""
    # The first argument is the name that the program sees for itself; without any, there is only the executable.
    return " ".join(command.arguments) or command.value or ""


def amounts(resources: Resources) -> Amounts:
    """Write resources by name, reserved and unreserved together."""
    found: Amounts = {name: milli / 1000 for name, milli in resources.quantities()}
    for resource in resources.unallocated():
        if resource.scalar is None:
            found[resource.name] = str(Resources.of([resource])).partition(":")[2]
    return found


def _all_tasks(core: MasterCore, *, ended: bool) -> Iterable[Task]:
    for framework in core.state.frameworks.values():
        yield from framework.tasks.values()
        yield from framework.unreachable.values()
        if ended:
            yield from framework.completed
    if ended:
        yield from core.context.ended_tasks


def _is_chosen(task: Task, query: Mapping[str, str]) -> bool:
    return (
        query.get("task_id") in {None, task.info.task_id}
        and query.get("framework_id") in {None, task.framework_id}
        and query.get("executor_id") in {None, task.executor_id}
    )


def _agent_row(agent: Agent) -> AgentRow:
    return AgentRow(
        agent_id=agent.info.agent_id,
        hostname=agent.info.hostname,
        url=agent.info.url,
        status="active" if agent.active else "quiet",
        total=amounts(agent.total),
        used=amounts(agent.used),
        offered=amounts(agent.offered),
        attributes={attribute.name: attribute.text for attribute in agent.info.attributes},
        tasks=len(agent.tasks),
        executors=len(agent.executors),
        containerizer=agent.info.containerizer,
        version=agent.info.version,
        registered_ms=agent.registered_ms,
        last_heard_ms=agent.last_heard_ms,
    )


def _framework_row(core: MasterCore, framework: Framework) -> FrameworkRow:
    info = framework.info
    used = sum((task.resources for task in framework.tasks.values() if holds_resources(task.state)), EMPTY)
    executors = [executor for here in framework.executors.values() for executor in here.values()]
    used = sum((executor.resources for executor in executors), used)
    offered = sum((offer.resources for offer in framework.offers.values()), EMPTY)
    return FrameworkRow(
        framework_id=info.framework_id,
        name=info.name,
        status="connected" if framework.active else "disconnected",
        roles=info.roles,
        principal=framework.principal,
        hostname=info.hostname,
        webui_url=info.webui_url,
        used=amounts(used),
        offered=amounts(offered),
        tasks=dict(Counter(task.state.value for task in framework.tasks.values())),
        executors=len(executors),
        offers=len(framework.offers),
        demand=tuple(f"{demand.count} x {Resources.of(demand.shape)}" for demand in framework.demands),
        dominant_share=_dominant_share(core, used + offered),
        registered_ms=framework.registered_ms,
        last_heard_ms=framework.last_heard_ms,
    )


def _dominant_share(core: MasterCore, held: Resources) -> float:
    total = sum((agent.total for agent in core.state.agents.values()), EMPTY)
    return max((held.scalar(name) / total.scalar(name) for name in held.names() if total.scalar(name)), default=0.0)


def _offer_row(core: MasterCore, offer: HeldOffer) -> OfferRow:
    return OfferRow(
        offer_id=offer.offer_id,
        framework_id=offer.framework_id,
        framework_name=core.state.frameworks[offer.framework_id].info.name,
        agent_id=offer.agent_id,
        hostname=core.state.agents[offer.agent_id].info.hostname,
        role=offer.role,
        resources=amounts(offer.resources),
        made_ms=offer.made_ms,
        age_ms=core.context.now_ms - offer.made_ms,
    )


def _sandbox(task: Task) -> str:
    """Name a task's sandbox as its agent does: of one under an executor it is the executor's, in the life that it ran in."""
    if task.executor_id is None:
        return f"/{task.framework_id}/{task.info.task_id}/latest"
    container = task.status.container_status
    run = "latest" if container is None or container.container_id is None else container.container_id
    return f"/{task.framework_id}/{task.executor_id}/{run}"


def _task_row(core: MasterCore, task: Task) -> TaskRow:
    framework = core.state.frameworks.get(task.framework_id)
    agent = core.state.agents.get(task.agent_id)
    container = task.status.container_status
    return TaskRow(
        task_id=task.info.task_id,
        framework_id=task.framework_id,
        framework_name="" if framework is None else framework.info.name,
        name=task.info.name,
        state=task.state.value,
        role=next(iter(task.resources.allocation_roles()), "*"),
        agent_id=task.agent_id,
        hostname="" if agent is None else agent.info.hostname,
        agent_url="" if agent is None else agent.info.url,
        sandbox=_sandbox(task),
        resources=amounts(task.resources),
        executor_id=task.executor_id or "",
        command=command_text(task.info.command),
        image="" if task.info.container is None else task.info.container.image or "",
        accepted_ms=task.accepted_ms,
        ended_ms=task.ended_ms,
        exit_code=None if container is None else container.exit_code,
        peak_mem_bytes=None if container is None else container.peak_mem_bytes,
        reason="" if task.status.reason is None else task.status.reason.value,
        message=task.status.message,
    )
