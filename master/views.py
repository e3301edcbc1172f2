"""What people and programs may see of a master: plain dictionaries, made between two batches.

Names are those of Mesos's v0 endpoints where they exist (reference 3.4).
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from mesolite.ids import FrameworkId
from mesolite.protocol import CommandInfo
from mesolite.resources import Resources

from .core import MasterCore
from .state import Agent, Framework, HeldOffer, Task

Json: TypeAlias = dict[str, Any]


def agents(core: MasterCore) -> list[Json]:
    """Return every agent: what it has, what is in use and on offer, whether it is offered."""
    now_ms = core.context.now_ms
    rows = [_agent(agent, now_ms) for agent in core.state.agents.values()]
    rows += [
        {
            "agent_id": lost.agent_id,
            "hostname": lost.hostname,
            "state": "unreachable" if lost.unreachable else "recovering",
            "since_ms": lost.since_ms,
        }
        for lost in core.state.lost_agents.values()
    ]
    return sorted(rows, key=lambda row: row["agent_id"])


def frameworks(core: MasterCore) -> list[Json]:
    """Return every framework, ended ones last."""
    rows = [_framework(framework) for framework in core.state.frameworks.values()]
    rows.sort(key=lambda row: row["framework_id"])
    ended = [
        {"framework_id": framework_id, "state": "ended", "message": why}
        for framework_id, why in core.state.completed_frameworks.items()
    ]
    return rows + ended


def offers(core: MasterCore) -> list[Json]:
    """Return the outstanding offers, oldest first: who holds what, and for how long."""
    return [_offer(offer, core) for offer in core.state.offers.values()]


def tasks(core: MasterCore, query: Mapping[str, str]) -> list[Json]:
    """Return tasks, oldest first.

    Args:
        core: The master.
        query: `task_id` and `framework_id` choose; `active=true` leaves ended ones out.
    """
    include_ended = query.get("active") != "true"
    found: list[Task] = []
    for framework in core.state.frameworks.values():
        found += framework.tasks.values()
        found += framework.unreachable.values()
        if include_ended:
            found += framework.completed
    if include_ended:
        found += core.context.ended_tasks
    task_id, framework_id = query.get("task_id"), query.get("framework_id")
    found = [
        task
        for task in found
        if (task_id is None or task.info.task_id == task_id)
        and (framework_id is None or task.framework_id == framework_id)
    ]
    found.sort(key=lambda task: (task.accepted_ms, task.info.task_id))
    urls = {agent_id: agent.info.url for agent_id, agent in core.state.agents.items()}
    return [_task(task, urls.get(task.agent_id, "")) for task in found]


def summary(core: MasterCore) -> Json:
    """Return the master's own state: epoch, sums, counters."""
    state = core.state
    return {
        "epoch": core.context.epoch,
        "agents": len(state.agents),
        "agents_lost": len(state.lost_agents),
        "frameworks": len(state.frameworks),
        "tasks": sum(len(framework.tasks) for framework in state.frameworks.values()),
        "offers": len(state.offers),
        "counts": dict(sorted(core.context.counts.items())),
    }


def explain(core: MasterCore, framework_id: FrameworkId) -> list[Json]:
    """Say why a framework is not offered (more): one row per role and agent."""
    return [
        {
            "role": row.role,
            "agent_id": row.agent_id,
            "reason": row.reason.value,
            "message": row.message,
            "until_ms": row.until_ms,
        }
        for row in core.context.allocator.explain(framework_id, core.context.now_ms)
    ]


def command_text(command: CommandInfo | None) -> str:
    """Write a command as a person would."""
    if command is None:
        return ""
    if command.shell:
        return command.value or ""
    first = [] if command.value is None else [command.value]
    return " ".join([*first, *command.arguments])


def _agent(agent: Agent, now_ms: int) -> Json:
    return {
        "agent_id": agent.info.agent_id,
        "hostname": agent.info.hostname,
        "url": agent.info.url,
        "state": "active" if agent.active else "quiet",
        "containerizer": agent.info.containerizer,
        "version": agent.info.version,
        "attributes": {attribute.name: attribute.text for attribute in agent.info.attributes},
        "resources": str(agent.total),
        "used_resources": _text(agent.used),
        "offered_resources": _text(agent.offered),
        "tasks": len(agent.tasks),
        "unconfirmed_commands": len(agent.commands),
        "registered_ms": agent.registered_ms,
        "heard_ms_ago": now_ms - agent.last_heard_ms,
    }


def _framework(framework: Framework) -> Json:
    info = framework.info
    return {
        "framework_id": info.framework_id,
        "name": info.name,
        "state": "ending" if framework.ending else "active" if framework.active else "silent",
        "user": info.user,
        "roles": list(info.roles),
        "suppressed_roles": sorted(framework.suppressed),
        "hostname": info.hostname,
        "tasks": len(framework.tasks),
        "unreachable_tasks": len(framework.unreachable),
        "offers": len(framework.offers),
        "demand": [
            {"role": demand.role, "shape": str(Resources.of(demand.shape)), "count": demand.count}
            for demand in framework.demands
        ],
        "failover_timeout_ms": info.failover_timeout_ms,
        "registered_ms": framework.registered_ms,
        "silent_since_ms": framework.silent_since_ms,
    }


def _offer(offer: HeldOffer, core: MasterCore) -> Json:
    return {
        "offer_id": offer.offer_id,
        "framework_id": offer.framework_id,
        "agent_id": offer.agent_id,
        "hostname": core.state.agents[offer.agent_id].info.hostname,
        "role": offer.role,
        "resources": _text(offer.resources),
        "age_ms": core.context.now_ms - offer.made_ms,
        "expires_in_ms": offer.made_ms + core.context.settings.offer_timeout_ms - core.context.now_ms,
    }


def _task(task: Task, agent_url: str) -> Json:
    container = task.status.container_status
    return {
        "task_id": task.info.task_id,
        "name": task.info.name,
        "framework_id": task.framework_id,
        "agent_id": task.agent_id,
        "agent_url": agent_url,
        "state": task.state.value,
        "reason": None if task.status.reason is None else task.status.reason.value,
        "message": task.status.message,
        "resources": _text(task.resources),
        "command": command_text(task.info.command),
        "image": None if task.info.container is None else task.info.container.image,
        "labels": task.info.labels,
        "accepted_ms": task.accepted_ms,
        "ended_ms": task.ended_ms,
        "exit_code": None if container is None else container.exit_code,
        "peak_mem_bytes": None if container is None else container.peak_mem_bytes,
        "container_id": None if container is None else container.container_id,
    }


def _text(resources: Resources) -> str:
    return str(resources.unallocated())
