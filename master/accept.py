"""ACCEPT: turning offers into tasks (reference 1.3, 2.2, 2.4)."""

from mesolite.errors import ResourceError
from mesolite.ids import AgentId
from mesolite.protocol import (
    Accept,
    LaunchOperation,
    Reason,
    RunTask,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    Update,
)
from mesolite.resources import EMPTY, Resource, Resources

from .context import Context
from .reconcile import answer
from .state import Agent, Framework, HeldOffer, Task
from .validation import Launch, offers_error, task_error


class _ResourceCache:
    """Resources of tasks by how they were written: an array's thousand tasks say the same."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[Resource, ...], str], Resources] = {}

    def stamped(self, written: tuple[Resource, ...], role: str) -> Resources:
        """Return the resources allocated to the role; raises ResourceError."""
        key = (written, role)
        resources = self._known.get(key)
        if resources is None:
            resources = Resources.of(written).unallocated().allocated_to(role)
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            self._known[key] = resources
        return resources


_cache = _ResourceCache()


def accept(context: Context, framework: Framework, call: Accept) -> None:
    """Launch what the offers allow, refuse the rest with a word for each task, give back what is left."""
    error = offers_error(context.state, framework.info.framework_id, call.offer_ids)
    if error is not None:
        _refuse_all(context, framework, call, error)
        return
    offers = [context.state.offers[offer_id] for offer_id in call.offer_ids]
    agent = context.state.agents[offers[0].agent_id]
    remaining = _spend(context, offers)
    for operation in call.operations:
        if isinstance(operation, LaunchOperation):
            remaining = _launch(context, framework, agent, offers[0].role, operation.task_infos, remaining)
        else:
            for task in operation.task_infos:
                _refuse(context, framework, task, TaskState.ERROR, Reason.TASK_GROUP_INVALID, "no task groups yet")
    if remaining:
        context.allocator.recover(
            framework.info.framework_id,
            agent.info.agent_id,
            remaining,
            offered=True,
            refuse_ms=call.filters.refuse_ms,
            now_ms=context.now_ms,
        )


def _spend(context: Context, offers: list[HeldOffer]) -> Resources:
    """Take offers out of the books; the allocator goes on counting their resources as allocated."""
    total = EMPTY
    for offer in offers:
        context.state.remove_offer(offer)
        total += offer.resources
    return total


def _launch(
    context: Context,
    framework: Framework,
    agent: Agent,
    role: str,
    tasks: tuple[TaskInfo, ...],
    remaining: Resources,
) -> Resources:
    launched = EMPTY
    for info in tasks:
        try:
            resources = _cache.stamped(info.resources, role)
            error = task_error(info, resources, Launch(framework, agent.info.agent_id, remaining))
        except ResourceError as bad:
            resources, error = EMPTY, str(bad)
        if error is not None:
            _refuse(context, framework, info, TaskState.ERROR, Reason.TASK_INVALID, error)
            continue
        remaining -= resources
        launched += resources
        _start(context, framework, agent, info, resources)
    if launched:
        context.allocator.accepted(framework.info.framework_id, agent.info.agent_id, launched)
    return remaining


def _start(context: Context, framework: Framework, agent: Agent, info: TaskInfo, resources: Resources) -> None:
    status = TaskStatus(
        task_id=info.task_id,
        state=TaskState.STAGING,
        source=Source.MASTER,
        timestamp_ms=context.now_ms,
        agent_id=agent.info.agent_id,
        message="sent to its agent",
    )
    task = Task(
        info=info,
        framework_id=framework.info.framework_id,
        agent_id=agent.info.agent_id,
        resources=resources,
        state=TaskState.STAGING,
        status=status,
        accepted_ms=context.now_ms,
    )
    context.state.add_task(task)
    context.counts["tasks_launched"] += 1
    context.command(agent, RunTask(framework=framework.info, task=info))


def _refuse_all(context: Context, framework: Framework, call: Accept, error: str) -> None:
    """Refuse every task of an ACCEPT whose offers are no good; offers that still stand go back without a filter.

    An ACCEPT of an earlier epoch may be one that an earlier master has followed already, appended twice. Whether it was shows
    when the agent registers with what it runs: until then it is answered like a question about the task, which may be by silence,
    and the framework goes on asking (DESIGN 5).
    """
    for offer_id in dict.fromkeys(call.offer_ids):
        offer = context.state.offers.get(offer_id)
        if offer is not None and offer.framework_id == framework.info.framework_id:
            context.give_back(offer, refuse_ms=None)
    earlier = not any(offer_id.startswith(f"{context.epoch}-") for offer_id in call.offer_ids)
    for operation in call.operations:
        for task in operation.task_infos:
            if earlier and task.agent_id not in context.state.agents:
                context.counts["launches_of_earlier_epochs"] += 1
                answer(context, framework, task.task_id, task.agent_id)
                continue
            _refuse(context, framework, task, TaskState.DROPPED, Reason.INVALID_OFFERS, error)


def _refuse(
    context: Context, framework: Framework, task: TaskInfo, state: TaskState, reason: Reason, message: str
) -> None:
    """Say that a task will not run. Not said of an id that runs: its own final word would be believed twice over."""
    if task.task_id in framework.tasks or task.task_id in framework.unreachable:
        context.counts["duplicate_launches"] += 1
        return
    context.counts[f"tasks_{state.name.lower()}"] += 1
    status = TaskStatus(
        task_id=task.task_id,
        state=state,
        source=Source.MASTER,
        timestamp_ms=context.now_ms,
        agent_id=AgentId(task.agent_id),
        reason=reason,
        message=message,
    )
    context.tell(framework, Update(status))
