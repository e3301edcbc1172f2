"""ACCEPT: turning offers into tasks (reference 1.3, 2.2, 2.4 to 2.6)."""

from dataclasses import dataclass

from msgspec.structs import replace

from mesolite.errors import ResourceError
from mesolite.ids import AgentId
from mesolite.protocol import (
    Accept,
    ExecutorInfo,
    LaunchGroupOperation,
    LaunchOperation,
    Reason,
    RunTask,
    RunTaskGroup,
    RunTasks,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    Update,
)
from mesolite.resources import EMPTY, Resource, Resources

from .context import Context
from .reconcile import answer
from .settings import MAX_BATCH_BYTES, MAX_TASKS_PER_COMMAND
from .state import Agent, Framework, HeldExecutor, HeldOffer, Task
from .validation import BroughtExecutor, Launch, executor_error, group_error, offers_error, task_error


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
    launcher = _Launcher(context, framework, agent, offers[0].role, _spend(context, offers))
    for operation in call.operations:
        if isinstance(operation, LaunchOperation):
            launcher.launch(operation)
        else:
            launcher.launch_group(operation)
    if launcher.remaining:
        context.allocator.recover(
            framework.info.framework_id,
            agent.info.agent_id,
            launcher.remaining,
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


@dataclass(slots=True, eq=False)
class _Executor:
    """An executor that tasks of an ACCEPT name, looked at once for all of them."""

    info: ExecutorInfo
    brought: BroughtExecutor
    #: It is in the books: on the agent, or on its way there.
    is_held: bool


class _Launcher:
    """Launches on the offers of one ACCEPT."""

    def __init__(self, context: Context, framework: Framework, agent: Agent, role: str, remaining: Resources) -> None:
        self.remaining = remaining
        self._context = context
        self._framework = framework
        self._agent = agent
        self._role = role
        #: The one that was named last.
        self._executor: _Executor | None = None

    def launch(self, operation: LaunchOperation) -> None:
        """LAUNCH: each task by itself."""
        launched = EMPTY
        run = _Run(self._context, self._framework, self._agent)
        for info in operation.task_infos:
            named = info.executor or (operation.executor if info.command is None else None)
            executor = self._look_at(named) if named is not None else None
            resources, error = self._judge(info, executor)
            if error is not None:
                _refuse(self._context, self._framework, info, TaskState.ERROR, Reason.TASK_INVALID, error)
                continue
            launched += self._take(resources, executor)
            run.add(info, executor.info if executor is not None else None, is_new=self._charge(executor, info))
            self._start(info, executor, resources)
        run.send()
        self._tell_allocator(launched)

    def launch_group(self, operation: LaunchGroupOperation) -> None:
        """LAUNCH_GROUP: all tasks, or none."""
        if not operation.task_infos:
            return
        executor = self._look_at(operation.executor)
        try:
            tasks = [(info, _cache.stamped(info.resources, self._role)) for info in operation.task_infos]
            error = group_error(operation.executor, tasks, self._launch_of(executor))
        except ResourceError as bad:
            tasks, error = [], str(bad)
        if error is not None:
            for info in operation.task_infos:
                _refuse(self._context, self._framework, info, TaskState.ERROR, Reason.TASK_GROUP_INVALID, error)
            return
        launched = EMPTY
        first = operation.task_infos[0]
        for info, resources in tasks:
            launched += self._take(resources, executor)
            is_new = self._charge(executor, info)
            assert not is_new or info is first, "a group's executor is launched by its first task"
            if info is first:
                self._context.command(
                    self._agent,
                    RunTaskGroup(
                        framework=self._framework.info,
                        executor=executor.info,
                        tasks=tuple(_alone(each) for each in operation.task_infos),
                        launch_executor=is_new,
                    ),
                )
            self._start(info, executor, resources)
        self._tell_allocator(launched)

    def _look_at(self, info: ExecutorInfo) -> _Executor:
        """Find out about an executor; mostly it is the one that the task before named."""
        known = self._executor
        if known is not None and (known.info is info or known.info == info):
            return known
        held = self._agent.executors.get((self._framework.info.framework_id, info.executor_id))
        resources = EMPTY
        try:
            if held is None:
                resources = _cache.stamped(info.resources, self._role)
            error = executor_error(info, resources, held.info if held is not None else None)
        except ResourceError as bad:
            error = f"the executor's resources: {bad}"
        self._executor = _Executor(info, BroughtExecutor(error, resources), is_held=held is not None)
        return self._executor

    def _launch_of(self, executor: _Executor | None) -> Launch:
        brought = executor.brought if executor is not None else None
        return Launch(self._framework, self._agent.info.agent_id, self.remaining, brought)

    def _judge(self, info: TaskInfo, executor: _Executor | None) -> tuple[Resources, str | None]:
        try:
            resources = _cache.stamped(info.resources, self._role)
        except ResourceError as bad:
            return EMPTY, str(bad)
        return resources, task_error(info, resources, self._launch_of(executor))

    def _take(self, resources: Resources, executor: _Executor | None) -> Resources:
        """Take what a task needs, and its executor if it is new, out of what remains; returns how much that is."""
        taken = resources
        if executor is not None and not executor.is_held:
            taken = resources + executor.brought.resources
        self.remaining -= taken
        return taken

    def _charge(self, executor: _Executor | None, info: TaskInfo) -> bool:
        """Enter the executor of a task, where it is new (I4); says whether it was."""
        if executor is None or executor.is_held:
            return False
        self._context.state.add_executor(
            HeldExecutor(
                info=executor.info,
                framework_id=self._framework.info.framework_id,
                agent_id=self._agent.info.agent_id,
                resources=executor.brought.resources,
                launched_by=info.task_id,
            )
        )
        self._context.counts["executors_launched"] += 1
        executor.is_held = True
        executor.brought = BroughtExecutor(error=None, resources=EMPTY)
        return True

    def _start(self, info: TaskInfo, executor: _Executor | None, resources: Resources) -> None:
        """Enter a task that is on its way."""
        context, agent_id = self._context, self._agent.info.agent_id
        status = TaskStatus(
            task_id=info.task_id,
            state=TaskState.STAGING,
            source=Source.MASTER,
            timestamp_ms=context.now_ms,
            agent_id=agent_id,
            message="sent to its agent",
        )
        context.state.add_task(
            Task(
                info=kept(info),
                framework_id=self._framework.info.framework_id,
                agent_id=agent_id,
                resources=resources,
                state=TaskState.STAGING,
                status=status,
                accepted_ms=context.now_ms,
                executor_id=executor.info.executor_id if executor is not None else None,
            )
        )
        context.counts["tasks_launched"] += 1

    def _tell_allocator(self, launched: Resources) -> None:
        if launched:
            framework_id = self._framework.info.framework_id
            self._context.allocator.accepted(framework_id, self._agent.info.agent_id, launched)
            self._context.outbox.heard(framework_id, self._framework.session, launching=True)


class _Run:
    """Gathers tasks that follow each other and share an executor, so that it is said once for all of them."""

    def __init__(self, context: Context, framework: Framework, agent: Agent) -> None:
        self._context = context
        self._framework = framework
        self._agent = agent
        self._executor: ExecutorInfo | None = None
        self._launches = False
        self._tasks: list[TaskInfo] = []
        self._data_bytes = 0

    def add(self, info: TaskInfo, executor: ExecutorInfo | None, *, is_new: bool) -> None:
        """Take one more task; `is_new`: its executor is launched with it."""
        if executor is None:
            self.send()
            self._context.command(self._agent, RunTask(framework=self._framework.info, task=info))
            return
        full = len(self._tasks) >= MAX_TASKS_PER_COMMAND or self._data_bytes + len(info.data) > MAX_BATCH_BYTES
        if full or is_new or executor is not self._executor:
            self.send()
            self._executor, self._launches = executor, is_new
        self._tasks.append(_alone(info))
        self._data_bytes += len(info.data)

    def send(self) -> None:
        """Let out what was gathered."""
        if self._executor is not None and self._tasks:
            self._context.command(
                self._agent,
                RunTasks(
                    framework=self._framework.info,
                    executor=self._executor,
                    tasks=tuple(self._tasks),
                    launch_executor=self._launches,
                ),
            )
        self._launches = False
        self._tasks.clear()
        self._data_bytes = 0


def kept(info: TaskInfo) -> TaskInfo:
    """Return a task as the books keep it: without what only its agent needs."""
    if info.executor is None and not info.data:
        return info
    return replace(info, executor=None, data=b"")


def _alone(info: TaskInfo) -> TaskInfo:
    """Return a task without its executor, which is said beside it."""
    return info if info.executor is None else replace(info, executor=None)


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
