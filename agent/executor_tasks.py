"""The tasks that executors run: told, killed, spoken of, ended. See `executor_task_lifecycle.py` for what may follow upon what.

Rules that hold here:

- A task is told to its executor once. Where that got lost the task is DROPPED.
- An update is acknowledged to the executor once it is in the checkpoint, or of no use to anybody; what comes twice is
  forwarded once.
- A task holds its resources until its last word, whoever says it.
"""

from collections.abc import Collection
from typing import Final

from mesolite.executors.command import KillCause, Outcome, Verdict, container_status_of, grace_of, verdict_of
from mesolite.ids import AgentId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    ContainerStatus,
    ExecutorAcknowledged,
    ExecutorKill,
    ExecutorLaunch,
    ExecutorLaunchGroup,
    ExecutorTask,
    ExecutorUpdate,
    Reason,
    Source,
    TaskState,
    TaskStatus,
)

from .admission import Shape
from .effects import Refusal
from .executor import Executor, Launch
from .executor_checks import MAX_MESSAGE_LENGTH
from .executor_endings import ExecutorEnding
from .executor_task_lifecycle import TaskCause, TaskFollowUp, task_step
from .lifecycle import Phase
from .outbox import Outbox
from .task import Task
from .taskbook import TaskBook
from .timers import Timers

#: Ends that a time limit may be the cause of. A task that FINISHED when it was to be ended has finished.
_CUT_SHORT: Final = frozenset({TaskState.KILLED, TaskState.FAILED})


class ExecutorTasks:
    """Changes tasks that have an executor. The time and the outbox for what follows are given to each method."""

    def __init__(self, agent_id: AgentId, book: TaskBook, timers: Timers[Executor]) -> None:
        self._agent_id: Final = agent_id
        self._book: Final = book
        self._timers: Final = timers

    # Launching.

    def add(self, executor: Executor, task: Task, shape: Shape) -> None:
        """Give an executor a new task, or one from the checkpoint; what it holds is booked in the ledger already."""
        task.shape = shape
        executor.tasks[task.key] = task
        executor.kept += 1
        executor.book(shape)

    def launch(self, executor: Executor, launch: Launch, now_ms: int, outbox: Outbox) -> None:
        """Tell an executor of new tasks, now or when it listens."""
        if executor.listening:
            self._tell(executor, launch, now_ms, outbox)
        else:
            executor.waiting[executor.waiting_key(launch.tasks[0])] = launch

    def tell_all(self, executor: Executor, now_ms: int, outbox: Outbox) -> None:
        """Tell an executor that listens anew what waits for it, and once more what is to end."""
        for task in executor.tasks.values():
            if task.phase is Phase.KILLING:
                self._tell_kill(executor, task, outbox)
        waiting = list(executor.waiting.values())
        executor.waiting.clear()
        for launch in waiting:
            self._tell(executor, launch, now_ms, outbox)

    def show_preparing(self, executor: Executor, message: str, now_ms: int, outbox: Outbox) -> None:
        """Show that something is fetched for an executor before it can start."""
        for task in list(executor.tasks.values()):
            self._advance(executor, task, TaskCause.PREPARING, now_ms, outbox, message=message)

    # Ending.

    def kill(
        self, executor: Executor, task: Task, cause: KillCause, asked_ms: int | None, now_ms: int, outbox: Outbox
    ) -> None:
        """Ask an executor to end a task. One that it was not told of ends at once, and its group with it: all or none."""
        key = executor.waiting_key(task)
        waiting = executor.waiting.pop(key, None)
        for each in waiting.tasks if waiting is not None else (task,):
            each.note_kill(cause, asked_ms)
            self._advance(executor, each, TaskCause.KILL, now_ms, outbox)

    def expire(self, executor: Executor, task: Task, now_ms: int, outbox: Outbox) -> None:
        """Ask an executor to end a task that has run for too long."""
        task.note_kill(KillCause.TIME_LIMIT, None)
        self._advance(executor, task, TaskCause.EXPIRED, now_ms, outbox)

    def shut_down(self, executor: Executor, cause: KillCause, now_ms: int, outbox: Outbox) -> None:
        """Note that an executor's tasks are to end with it."""
        executor.waiting.clear()
        for task in list(executor.tasks.values()):
            task.note_kill(cause, None)
            self._advance(executor, task, TaskCause.SHUTDOWN, now_ms, outbox)

    def end_all(self, executor: Executor, ending: ExecutorEnding, now_ms: int, outbox: Outbox) -> None:
        """End the tasks of an executor that ended."""
        executor.waiting.clear()
        for task in list(executor.tasks.values()):
            self._advance(executor, task, TaskCause.EXECUTOR_ENDED, now_ms, outbox, ending=ending)

    # What the executor says.

    def take(self, executor: Executor, update: ExecutorUpdate, now_ms: int, outbox: Outbox) -> None:
        """Take a well-formed update."""
        outbox.tell(executor, ExecutorAcknowledged(update.task_id, update.update_id))
        task = executor.tasks.get((executor.framework_id, update.task_id))
        is_last = update.state in TERMINAL_STATES
        if task is None or not task.told:
            outbox.reject(Refusal.UNKNOWN_TASK, f"task {update.task_id[:64]!r} is not its executor's to speak of")
            if task is None and not is_last:
                outbox.tell(executor, ExecutorKill(update.task_id, 0))
        elif is_last:
            self._advance(executor, task, TaskCause.SAID_LAST, now_ms, outbox, update=update)
        elif update.update_id not in task.update_ids:
            task.remember(update.update_id)
            self._advance(executor, task, TaskCause.SAID, now_ms, outbox, update=update)

    def compare(
        self,
        executor: Executor,
        spoken_of: Collection[TaskId],
        listed: Collection[TaskId],
        now_ms: int,
        outbox: Outbox,
    ) -> None:
        """Compare what an executor has that subscribed, as far as it is unacknowledged, with what it was told.

        Args:
            executor: Which; its updates are taken.
            spoken_of: Tasks of these updates.
            listed: Its other tasks.
            now_ms: The time.
            outbox: For what follows.
        """
        for task in list(executor.tasks.values()):
            # One that it spoke of earlier it need not list.
            task_id = task.info.task_id
            if task.told and not task.update_ids and task_id not in listed and task_id not in spoken_of:
                self._advance(executor, task, TaskCause.MISSING, now_ms, outbox)
        for task_id in sorted(listed):
            if (executor.framework_id, task_id) not in executor.tasks:
                outbox.tell(executor, ExecutorKill(task_id, 0))

    # Inside.

    def _tell(self, executor: Executor, launch: Launch, now_ms: int, outbox: Outbox) -> None:
        for task in launch.tasks:
            self._advance(executor, task, TaskCause.TOLD, now_ms, outbox)
        if launch.grouped:
            outbox.tell(executor, ExecutorLaunchGroup(tuple(executor_task(task) for task in launch.tasks)))
        else:
            outbox.tell(executor, ExecutorLaunch(executor_task(launch.tasks[0])))

    def _tell_kill(self, executor: Executor, task: Task, outbox: Outbox) -> None:
        if executor.connected:
            outbox.tell(executor, ExecutorKill(task.info.task_id, task.kill_grace_ms))

    def _advance(
        self,
        executor: Executor,
        task: Task,
        cause: TaskCause,
        now_ms: int,
        outbox: Outbox,
        *,
        update: ExecutorUpdate | None = None,
        ending: ExecutorEnding | None = None,
        message: str = "",
    ) -> None:
        before = task.phase
        after, follow_ups = task_step(before, cause)
        task.story.append((now_ms, cause, after))
        task.phase = after
        outbox.changed[task.key] = task
        for follow_up in follow_ups:
            if follow_up is TaskFollowUp.ARM_TIME_LIMIT:
                task.started_ms = now_ms
                self._book.arm(task)
            elif follow_up is TaskFollowUp.FORWARD:
                assert update is not None, "somebody said it"
                self._book.queue(task, self._status(executor, task, update, now_ms), now_ms, outbox)
            elif follow_up is TaskFollowUp.CONCLUDE_AS_SAID:
                assert update is not None, "somebody said it"
                self._let_go(executor, task, now_ms)
                self._book.queue(task, self._status(executor, task, update, now_ms), now_ms, outbox)
            elif follow_up is TaskFollowUp.CONCLUDE:
                self._let_go(executor, task, now_ms)
                told = before is not Phase.STAGING or self._book.admission.forgetful
                verdict = _verdict(executor, task, told, ending)
                self._book.say(task, verdict, _container(executor, ending), now_ms, outbox)
            elif follow_up is TaskFollowUp.TELL_KILL:
                self._tell_kill(executor, task, outbox)
            elif follow_up is TaskFollowUp.SHOW_STARTING:
                verdict = Verdict(state=TaskState.STARTING, message=message)
                self._book.say(task, verdict, executor.container, now_ms, outbox)
            else:
                outbox.reject(
                    Refusal.ILLEGAL_TRANSITION,
                    f"{cause.value} of task {task.key[1]!r} in phase {before.value}, which came by {list(task.story)}",
                )

    def _let_go(self, executor: Executor, task: Task, now_ms: int) -> None:
        """Give back what a task held. Its container shrinks later, if nobody needs it then."""
        del executor.tasks[task.key]
        task.update_ids.clear()
        self._book.ledger.give(task.shape.holding)
        executor.unbook(task.shape)
        due_ms = executor.resize_after(now_ms) if executor.living else None
        if due_ms is not None:
            self._timers.set(due_ms, executor)

    def _status(self, executor: Executor, task: Task, update: ExecutorUpdate, now_ms: int) -> TaskStatus:
        """Make of an executor's update what its framework is told."""
        state, reason, message = update.state, update.reason, update.message[:MAX_MESSAGE_LENGTH]
        if task.kill_cause is KillCause.TIME_LIMIT and state in _CUT_SHORT:
            verdict = verdict_of(Outcome(), task.kill_cause, executor.limits)
            state, reason, message = verdict.state, verdict.reason, verdict.message
        elif task.kill_cause is KillCause.FRAMEWORK_REMOVED and state is TaskState.KILLED:
            reason = Reason.FRAMEWORK_REMOVED
        return TaskStatus(
            task_id=task.info.task_id,
            state=state,
            source=Source.EXECUTOR,
            # The same machine's clock: what lies ahead of ours, or before all time, is a mistake.
            timestamp_ms=update.timestamp_ms if 0 < update.timestamp_ms <= now_ms else now_ms,
            agent_id=self._agent_id,
            executor_id=task.executor_id,
            reason=reason,
            message=message,
            uuid=self._book.new_uuid(),
            data=update.data,
            healthy=update.healthy,
            container_status=executor.container,
        )


def executor_task(task: Task) -> ExecutorTask:
    """Describe a task to its executor."""
    info, shape = task.info, task.shape
    return ExecutorTask(
        task_id=info.task_id,
        name=info.name,
        resources=shape.shown,
        ranges=shape.shown_ranges,
        kill_grace_ms=grace_of(info, None),
        labels=info.labels,
        data=info.data,
    )


def _container(executor: Executor, ending: ExecutorEnding | None) -> ContainerStatus:
    """What a last word tells of the container: with its end also the exit code and the peak, which say why."""
    if ending is None:
        return executor.container
    return container_status_of(executor.container_id, ending.limits, ending.outcome)


def _verdict(executor: Executor, task: Task, told: bool, ending: ExecutorEnding | None) -> Verdict:
    """Name an end that the executor did not name."""
    if ending is not None:
        return ending.verdict(task.kill_cause, told)
    if task.kill_cause is not None:
        return verdict_of(Outcome(started=told), task.kill_cause, executor.limits)
    return Verdict(
        state=TaskState.DROPPED,
        reason=Reason.AGENT_RESTARTED,
        message=f"executor {executor.info.executor_id!r} came back to its agent without having heard of the task",
    )
