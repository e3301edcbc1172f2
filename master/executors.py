"""Executors in the books: charged once, from the task that launches one to the word that it has ended (reference 2.0 I4).

A life of an executor is named by the task that launched it, because ids of tasks are never used twice. So both sides can speak of
it from the moment at which the master sends RUN_TASK, when no container is there and nobody knows whether one ever will be. The
container's id, which the agent draws, is only shown to people and frameworks.

That settles the race between an executor that ends and a task that is on its way to it:

- Task sent, executor held; then EXITED_EXECUTOR is taken. The agent drops the task, since it was told that the executor is there.
  The executor is given back by its own word, the task by its own.
- EXITED_EXECUTOR taken; then a task sent with a new life of the executor. The agent launches it. Whenever the old one's word is
  said again, it names the old one's task and moves nothing.
- Task sent with a new executor; then EXITED_EXECUTOR of that task: the agent launched none, or it ended at once. The charge ends.
- Registration lists every executor that runs. What it does not list, and no command on its way launches, is over.

The agent says EXITED_EXECUTOR until it is acknowledged, and everything that it says is acknowledged, known or not. The framework
hears of each end once (FAILURE), as far as the last MAX_ENDED_EXECUTORS are remembered; a new master says it again.
"""

from collections.abc import Iterable, Iterator

from mesolite.ids import AgentId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    Command,
    ExecutorAcknowledgement,
    ExecutorExited,
    ExecutorInfo,
    Failure,
    FrameworkInfo,
    RegisteredExecutor,
    RunTask,
    RunTaskGroup,
    RunTasks,
    TaskInfo,
)
from mesolite.resources import EMPTY, Resources

from .context import Context
from .settings import MAX_ENDED_EXECUTORS
from .state import Agent, HeldExecutor
from .subscription import forget_if_empty


def launched_tasks(command: Command) -> tuple[FrameworkInfo, tuple[TaskInfo, ...]] | None:
    """Return what a command launches, and for whom; None where it launches nothing."""
    match command:
        case RunTask():
            return command.framework, (command.task,)
        case RunTasks() | RunTaskGroup():
            return command.framework, command.tasks
        case _:
            return None


def launched_executor(command: Command) -> tuple[FrameworkId, ExecutorInfo, TaskId] | None:
    """Return the executor that a command launches, for whom, and by which task; None where it launches none."""
    match command:
        case RunTask() if command.launch_executor and command.task.executor is not None:
            return command.framework.framework_id, command.task.executor, command.task.task_id
        case RunTasks() | RunTaskGroup() if command.launch_executor:
            return command.framework.framework_id, command.executor, command.tasks[0].task_id
        case _:
            return None


def exited(context: Context, agent: Agent, report: ExecutorExited) -> None:
    """Enter that an executor has ended, or was never launched; and let the agent know, whatever it is about."""
    agent_id, framework_id = agent.info.agent_id, report.framework_id
    if not agent.commands.full:
        context.outbox.acknowledge_executor(
            agent_id, ExecutorAcknowledgement(framework_id, report.executor_id, report.container_id)
        )
    held = agent.executors.get((framework_id, report.executor_id))
    if held is not None and held.launched_by == report.launched_by:
        release(context, held)
    _tell(
        context,
        agent,
        framework_id,
        report.launched_by,
        Failure(
            agent_id=agent_id,
            executor_id=report.executor_id,
            exit_code=report.exit_code,
            container_id=report.container_id,
            message=report.message,
        ),
    )
    if (framework := context.state.frameworks.get(framework_id)) is not None:
        forget_if_empty(context, framework)


def release(context: Context, held: HeldExecutor) -> None:
    """Give back what an executor held."""
    context.state.remove_executor(held)
    context.allocator.recover(held.framework_id, held.agent_id, held.resources, refuse_ms=None, now_ms=context.now_ms)


def _tell(context: Context, agent: Agent, framework_id: FrameworkId, launched_by: TaskId, failure: Failure) -> None:
    """Tell a framework of the end of an executor, unless it was told."""
    key = (framework_id, launched_by)
    framework = context.state.frameworks.get(framework_id)
    if framework is None or not framework.active or key in agent.ended_executors:
        return
    agent.ended_executors[key] = None
    if len(agent.ended_executors) > MAX_ENDED_EXECUTORS:
        del agent.ended_executors[next(iter(agent.ended_executors))]
    context.counts["executors_ended"] += 1
    context.tell(framework, failure)


class Roll:
    """The executors of an agent that registers: which it has, or is about to have, by its list and by what is on its way to it.

    Args:
        agent: Whose; its commands are confirmed as far as the registration's batch says.
        listed: What it lists.
    """

    def __init__(self, agent: Agent, listed: Iterable[RegisteredExecutor]) -> None:
        self._agent = agent
        #: Those that are to be in the books.
        self._present: dict[tuple[FrameworkId, ExecutorId], HeldExecutor] = {}
        for framework_id, info, launched_by in self._on_their_way():
            self._add(framework_id, info, launched_by)
        for each in listed:
            # What runs counts: a command that would launch another beside it is refused there.
            held = self._add(each.framework_id, each.executor, each.launched_by)
            held.container_id = each.container_id

    def frameworks(self) -> set[FrameworkId]:
        """Return whose executors these are."""
        return {framework_id for framework_id, _ in self._present}

    def strike_out(self, context: Context) -> None:
        """Release those in the books that have ended."""
        agent = self._agent
        for key, held in list(agent.executors.items()):
            present = self._present.get(key)
            if present is not None and present.launched_by == held.launched_by:
                held.container_id = present.container_id or held.container_id
                continue
            release(context, held)
            failure = Failure(
                agent_id=agent.info.agent_id,
                executor_id=held.info.executor_id,
                container_id=held.container_id,
                message="its agent came back without it",
            )
            _tell(context, agent, held.framework_id, held.launched_by, failure)
            forget_if_empty(context, context.state.frameworks[held.framework_id])

    @property
    def to_adopt(self) -> Resources:
        """What those hold that are not in the books yet, without roles."""
        missing = (held for key, held in self._present.items() if key not in self._agent.executors)
        return Resources.sum_of(held.resources.unallocated() for held in missing)

    def adopt(self, context: Context) -> None:
        """Enter those that are not in the books, of frameworks that are known."""
        for key, held in self._present.items():
            framework = context.state.frameworks.get(key[0])
            if framework is None or key in self._agent.executors:
                continue
            if not held.resources.allocation_roles():
                held.resources = held.resources.allocated_to(framework.info.roles[0])
            context.state.add_executor(held)
            context.allocator.allocated(key[0], self._agent.info.agent_id, held.resources)

    def _on_their_way(self) -> Iterator[tuple[FrameworkId, ExecutorInfo, TaskId]]:
        for command in self._agent.commands.unconfirmed():
            if (launch := launched_executor(command)) is not None:
                yield launch

    def _add(self, framework_id: FrameworkId, info: ExecutorInfo, launched_by: TaskId) -> HeldExecutor:
        agent_id: AgentId = self._agent.info.agent_id
        held = HeldExecutor(
            info=info,
            framework_id=framework_id,
            agent_id=agent_id,
            resources=Resources.of(info.resources) if info.resources else EMPTY,
            launched_by=launched_by,
        )
        self._present[framework_id, info.executor_id] = held
        return held
