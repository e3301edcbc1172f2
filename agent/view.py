"""What an agent tells about itself over HTTP: GET /state."""

from collections.abc import Mapping

from .core import AgentCore


def agent_view(core: AgentCore, refusals: Mapping[str, int]) -> dict[str, object]:
    """Describe the agent as a JSON value; fields are only ever added.

    Args:
        core: Not changing meanwhile.
        refusals: Refused inputs by their reason.
    """
    book, link, executors = core.book, core.link, core.executors
    return {
        "agent_id": core.info.agent_id,
        "hostname": core.info.hostname,
        "containerizer": core.info.containerizer,
        "registered": link.registered,
        "epoch": link.epoch,
        "confirmed": link.confirmed,
        "total_milli": dict(book.ledger.total),
        "held_milli": dict(book.ledger.held),
        "shortage": book.admission.shortage,
        "trouble": book.admission.trouble,
        "refusals": dict(refusals),
        "executors": [
            {
                "framework_id": executor.framework_id,
                "executor_id": executor.info.executor_id,
                "container_id": executor.container_id,
                "phase": executor.phase.value,
                "connected": executor.connected,
                "tasks": len(executor.tasks),
                "waiting_tasks": sum(len(launch.tasks) for launch in executor.waiting.values()),
                "cpus_milli": executor.limits.cpus_milli,
                "mem_mib": executor.limits.mem_mib,
            }
            for executor in executors.living.values()
        ],
        "tasks": [
            {
                "framework_id": task.framework_id,
                "task_id": task.info.task_id,
                "container_id": task.container_id,
                "executor_id": task.executor_id,
                "state": task.latest_state.value,
                "unacknowledged_updates": len(task.pending),
            }
            for task in book.tasks.values()
        ],
    }
