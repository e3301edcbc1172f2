"""All executors of an agent, and everything that happens to them: launch, connections, limits, ends.

Rules that hold here:

- Of one framework and executor id at most one executor lives. It is named by its container, and by the task that launched it.
- An executor's own resources are booked from its launch until its container is known to be gone.
- Where the master has charged an executor that is not launched, its end is said as if it had been.
- An end is said again until the master has entered it.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from mesolite.executors.command import KillCause, Outcome, Verdict
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    MAX_EXECUTOR_DATA_BYTES,
    AgentInfo,
    ExecutorAcknowledgement,
    ExecutorHeard,
    ExecutorInfo,
    ExecutorShutdown,
    FrameworkInfo,
    RegisteredExecutor,
    TaskInfo,
)

from .effects import KillContainer, Refusal, TotalsChange
from .executor import Executor, ExecutorKey, Launch
from .executor_admission import Admitted, Request, admit, invalid_group
from .executor_endings import Loss
from .executor_lifecycle import ExecutorCause, ExecutorFollowUp, ExecutorPhase, executor_step
from .executor_tasks import ExecutorTasks
from .launch import executor_spec
from .outbox import Outbox
from .records import ExecutorDropped, ExecutorRecord
from .settings import (
    EXECUTOR_RETURN_TIMEOUT_MS,
    MAX_ENDED_EXECUTORS,
    UPDATE_RETRY_MS,
    USUAL_PATIENCE,
    ExecutorPatience,
)
from .task import Task
from .taskbook import TaskBook
from .timers import Timers

#: What an executor failed to do that took too long.
_LOSSES: Final = {
    ExecutorPhase.REGISTERING: Loss.REGISTRATION_TIMEOUT,
    ExecutorPhase.REREGISTERING: Loss.REREGISTRATION_TIMEOUT,
}
#: It was asked to end, or is made to.
_CLOSING: Final = frozenset({ExecutorPhase.STOPPING, ExecutorPhase.ENDING})


class ExecutorBook:
    """The executors. Every method that changes something is given the time and the outbox for what follows from it."""

    def __init__(
        self, info: AgentInfo, book: TaskBook, sandbox_root: str, patience: ExecutorPatience = USUAL_PATIENCE
    ) -> None:
        self._agent_id: Final[AgentId] = info.agent_id
        self._patience_ms: Final = {
            ExecutorFollowUp.AWAIT_REGISTRATION: patience.registration_ms,
            ExecutorFollowUp.AWAIT_REREGISTRATION: patience.reregistration_ms,
            ExecutorFollowUp.AWAIT_RETURN: EXECUTOR_RETURN_TIMEOUT_MS,
        }
        self._book: Final = book
        self._sandbox_root: Final = sandbox_root
        #: By container, ended ones included until nobody needs them.
        self.executors: Final[dict[ContainerId, Executor]] = {}
        #: Those that have not ended.
        self.living: Final[dict[ExecutorKey, Executor]] = {}
        #: Those that have, oldest first.
        self._ended: Final[dict[ContainerId, None]] = {}
        self._timers: Final[Timers[Executor]] = Timers(_matters)
        self.tasks: Final = ExecutorTasks(info.agent_id, book, self._timers)
        book.on_forgotten = self._task_forgotten

    @property
    def next_due_ms(self) -> int | None:
        """When `expire` has something to do, or a little earlier."""
        return self._timers.next_due_ms

    def living_containers(self) -> Iterator[ContainerId]:
        """The containers of those that have not ended."""
        return (executor.container_id for executor in self.living.values())

    # Commands.

    def run(
        self,
        framework: FrameworkInfo,
        info: ExecutorInfo,
        tasks: Sequence[TaskInfo],
        *,
        launches: bool,
        grouped: bool,
        now_ms: int,
        outbox: Outbox,
    ) -> None:
        """Launch tasks under an executor, or say why not; ids of tasks that have not been forgotten change nothing.

        Args:
            framework: Whose.
            info: The executor.
            tasks: Their `executor` does not matter.
            launches: The master has charged a new executor, for the first of the tasks.
            grouped: All or none.
            now_ms: The time.
            outbox: For what follows.
        """
        if grouped:
            fresh = tuple(task for task in tasks if not self._book.is_known(framework, task, outbox))
            request = Request(framework, info, fresh, True, launches)
            if fresh and len(fresh) == len(tasks):
                self._launch(request, now_ms, outbox)
            elif fresh:
                self._refuse(request, invalid_group("some of its tasks were launched before"), now_ms, outbox)
            return
        for number, task in enumerate(tasks):
            if not self._book.is_known(framework, task, outbox):
                self._launch(Request(framework, info, (task,), False, launches and number == 0), now_ms, outbox)

    def shut_down_one(self, framework_id: FrameworkId, executor_id: ExecutorId, now_ms: int, outbox: Outbox) -> None:
        """End an executor because its framework wants it."""
        executor = self.living.get((framework_id, executor_id))
        if executor is None:
            outbox.reject(Refusal.UNKNOWN_EXECUTOR, f"executor {executor_id[:64]!r} is not here")
            return
        self.shut_down(executor, KillCause.REQUEST, now_ms, outbox)

    def shut_down(self, executor: Executor, cause: KillCause, now_ms: int, outbox: Outbox) -> None:
        """End an executor and its tasks: ask it, and end it after its grace."""
        self.tasks.shut_down(executor, cause, now_ms, outbox)
        self._advance(executor, ExecutorCause.SHUTDOWN, Outcome(), now_ms, outbox)

    def shut_down_all(self, framework_id: FrameworkId | None, cause: KillCause, now_ms: int, outbox: Outbox) -> None:
        """End the executors of a framework, or all."""
        for executor in list(self.living.values()):
            if framework_id in (None, executor.framework_id):
                self.shut_down(executor, cause, now_ms, outbox)

    def hear(self, framework_id: FrameworkId, executor_id: ExecutorId, data: bytes, outbox: Outbox) -> None:
        """Pass a framework's message on; it is lost where nobody listens."""
        executor = self.living.get((framework_id, executor_id))
        if executor is None or not executor.connected:
            outbox.reject(Refusal.UNHEARD_MESSAGE, f"executor {executor_id[:64]!r} does not listen")
        elif len(data) > MAX_EXECUTOR_DATA_BYTES:
            outbox.reject(
                Refusal.UNHEARD_MESSAGE, f"a message of {len(data)} bytes; {MAX_EXECUTOR_DATA_BYTES} are allowed"
            )
        else:
            outbox.tell(executor, ExecutorHeard(data))

    def acknowledge(self, acknowledgement: ExecutorAcknowledgement, outbox: Outbox) -> None:
        """The master has entered an end: it need not be said again."""
        executor = self.executors.get(acknowledgement.container_id)
        if executor is None or executor.living or executor.acknowledged:
            outbox.reject(
                Refusal.WRONG_ACKNOWLEDGEMENT,
                f"executor {acknowledgement.executor_id[:64]!r} does not wait for this acknowledgement",
            )
            return
        self._acknowledged(executor, outbox)

    # News of containers.

    def container_changed(
        self, executor: Executor, cause: ExecutorCause, outcome: Outcome, now_ms: int, outbox: Outbox
    ) -> None:
        """Carry a container's news into its executor."""
        self._advance(executor, cause, outcome, now_ms, outbox)

    def resize_failed(self, container_id: ContainerId, message: str, now_ms: int, outbox: Outbox) -> None:
        """New limits of a container could not be set: they are set again later."""
        executor = self.executors.get(container_id)
        if executor is None or not executor.living:
            outbox.reject(Refusal.UNKNOWN_CONTAINER, f"container {container_id[:64]!r} belongs to no executor")
            return
        outbox.reject(Refusal.RESIZE_FAILED, f"limits of executor {executor.info.executor_id!r}: {message}")
        executor.resize_failed = True
        executor.resize_due_ms = None
        self._plan_resize(executor, now_ms)

    def recovered(self, living: Collection[ContainerId], now_ms: int, outbox: Outbox) -> None:
        """Compare what is on disk with the containers that outlived the last life."""
        for executor in list(self.living.values()):
            if executor.container_id in living:
                outbox.opened.append((executor.container_id, executor.framework_id))
                executor.grow()
                # Whether the last life had come to say it, nobody knows.
                outbox.resized[executor.container_id] = executor
                for task in executor.tasks.values():
                    self._book.show_living(task, task.told, now_ms, outbox)
                    self._book.arm(task)
                self._advance(executor, ExecutorCause.ADOPTED, Outcome(), now_ms, outbox)
            else:
                self._advance(executor, ExecutorCause.LOST, Outcome(), now_ms, outbox)

    # Connections.

    def connected(self, executor: Executor, now_ms: int, outbox: Outbox) -> None:
        """An executor has subscribed, and its words are taken: it is told what it does not know."""
        self._advance(executor, ExecutorCause.SUBSCRIBED, Outcome(), now_ms, outbox)

    def disconnected(self, executor: Executor, now_ms: int, outbox: Outbox) -> None:
        """An executor's newest connection is over."""
        executor.connected = False
        self._advance(executor, ExecutorCause.HUNG_UP, Outcome(), now_ms, outbox)

    # Time.

    def expire(self, now_ms: int, outbox: Outbox) -> None:
        """End those that took too long, say ends again, and look at limits."""
        for due_ms, executor in self._timers.take_due(now_ms):
            if due_ms == executor.retry_due_ms:
                executor.retry_due_ms = None
                self._say_exit(executor, now_ms, outbox)
            if due_ms == executor.due_ms:
                executor.due_ms = None
                executor.loss = _LOSSES.get(executor.phase)
                self._advance(executor, ExecutorCause.OVERDUE, Outcome(), now_ms, outbox)
            if due_ms == executor.resize_due_ms:
                executor.resize_due_ms = None
                if executor.settle():
                    outbox.resized[executor.container_id] = executor
                self._plan_resize(executor, now_ms)

    # Reporting.

    def begin_reporting(self, now_ms: int, outbox: Outbox) -> None:
        """A master listens: ends are said that no master has entered."""
        for container_id in self._ended:
            executor = self.executors[container_id]
            executor.retry_ms = UPDATE_RETRY_MS
            self._say_exit(executor, now_ms, outbox)

    def registered(self) -> tuple[RegisteredExecutor, ...]:
        """All that run, as a master that knows nothing is told."""
        return tuple(executor.registered() for executor in self.living.values())

    def finish(self, outbox: Outbox) -> None:
        """Say with which limits new executors begin, when all that comes with them is known."""
        for executor in outbox.launched_executors:
            outbox.resized.pop(executor.container_id, None)
            # Also one that was shut down within the same event: it is launched and killed at once, and its container's end is
            # what ends it, as ever. Without a container nothing would.
            if executor.living:
                outbox.executor_launches.append(executor_spec(executor, self._agent_id, self._sandbox_root))

    # Recovery and invariants.

    def restore(self, record: ExecutorRecord) -> None:
        """Enter an executor from the checkpoint; its framework is there."""
        executor = Executor.restored(record)
        self.executors[executor.container_id] = executor
        if not executor.living:
            self._ended[executor.container_id] = None
            return
        self.living[executor.key] = executor
        self._book.frameworks[executor.framework_id].executors[executor.container_id] = None
        executor.shape = self._book.admission.shape(executor.info.resources)
        self._book.ledger.take(executor.shape.holding)
        executor.book(executor.shape)

    def restore_task(self, task: Task) -> None:
        """Enter a task of a restored executor, which `TaskBook` knows already."""
        executor = self.executors[task.container_id]
        if not task.living:
            executor.kept += 1
            return
        self.tasks.add(executor, task, task.shape)
        if not task.told:
            key = executor.waiting_key(task)
            waiting = executor.waiting.get(key, Launch((), task.group is not None))
            executor.waiting[key] = Launch((*waiting.tasks, task), waiting.grouped)

    def check(self) -> None:
        """Assert the book's invariants."""
        for container_id, executor in self.executors.items():
            executor.check()
            assert executor.container_id == container_id
            assert (self.living.get(executor.key) is executor) == executor.living, "the living are found by their ids"
            assert (container_id in self._ended) == (not executor.living), "the ended are listed"
            here = self._book.frameworks.get(executor.framework_id)
            listed = here is not None and container_id in here.executors
            assert listed == executor.living, "the living are listed under their framework"
        assert len(self.living) + len(self._ended) == len(self.executors)
        kept = sum(executor.kept for executor in self.executors.values())
        assert kept == sum(task.executor_id is not None for task in self._book.tasks.values()), "each is kept once"

    # Inside.

    def _launch(self, request: Request, now_ms: int, outbox: Outbox) -> None:
        framework, info = request.framework, request.executor
        key = (framework.framework_id, info.executor_id)
        living = self.living.get(key)
        admitted = admit(request, living, self._book, len(self.living), outbox)
        if isinstance(admitted, Verdict):
            self._refuse(request, admitted, now_ms, outbox)
            return
        executor = living if living is not None else self._new(request, admitted, outbox)
        group = request.tasks[0].task_id if request.grouped else None
        tasks = tuple(self._enter(executor, framework, each, group, outbox) for each in request.tasks)
        for task, shape in zip(tasks, admitted.tasks, strict=True):
            self.tasks.add(executor, task, shape)
        if executor.grow():
            outbox.resized[executor.container_id] = executor
        self.tasks.launch(executor, Launch(tasks, request.grouped), now_ms, outbox)

    def _new(self, request: Request, admitted: Admitted, outbox: Outbox) -> Executor:
        assert admitted.own is not None, "a new executor was admitted"
        executor = self._add(request, outbox)
        executor.shape = admitted.own
        executor.book(admitted.own)
        self.living[executor.key] = executor
        here = self._book.enter_framework(request.framework, outbox)
        here.executors[executor.container_id] = None
        outbox.launched_executors.append(executor)
        return executor

    def _refuse(self, request: Request, verdict: Verdict, now_ms: int, outbox: Outbox) -> None:
        framework, book = request.framework, self._book
        for info in request.tasks:
            # Of a group, that were not looked at any more.
            book.reused(framework, info, outbox)
            if not book.is_known(framework, info, outbox):
                described = replace(info, executor=request.executor)
                task = Task(framework.framework_id, described, book.new_container_id())
                book.refuse(book.enter(framework, task, outbox), verdict, now_ms, outbox)
        if request.launches:
            executor = self._add(request, outbox)
            executor.phase = ExecutorPhase.ENDED
            executor.message = f"it was not launched: {verdict.message}"
            self._end(executor, now_ms, outbox)

    def _add(self, request: Request, outbox: Outbox) -> Executor:
        executor = Executor(
            request.framework.framework_id, request.executor, self._book.new_container_id(), request.tasks[0].task_id
        )
        self.executors[executor.container_id] = executor
        outbox.changed_executors[executor.container_id] = executor
        return executor

    def _enter(
        self, executor: Executor, framework: FrameworkInfo, info: TaskInfo, group: TaskId | None, outbox: Outbox
    ) -> Task:
        described = replace(info, executor=executor.info)
        task = Task(framework.framework_id, described, executor.container_id, executor.info.executor_id, group)
        return self._book.enter(framework, task, outbox)

    def _advance(self, executor: Executor, cause: ExecutorCause, outcome: Outcome, now_ms: int, outbox: Outbox) -> None:
        before = executor.phase
        after, follow_ups = executor_step(before, cause)
        executor.story.append((now_ms, cause, after))
        if after is not before:
            executor.phase = after
            executor.due_ms = None
            outbox.changed_executors[executor.container_id] = executor
        for follow_up in follow_ups:
            self._follow_up(executor, follow_up, before, cause, outcome, now_ms, outbox)

    def _follow_up(
        self,
        executor: Executor,
        follow_up: ExecutorFollowUp,
        before: ExecutorPhase,
        cause: ExecutorCause,
        outcome: Outcome,
        now_ms: int,
        outbox: Outbox,
    ) -> None:
        match follow_up:
            case ExecutorFollowUp.SHOW_PREPARING:
                self.tasks.show_preparing(executor, outcome.message, now_ms, outbox)
            case (
                ExecutorFollowUp.AWAIT_REGISTRATION
                | ExecutorFollowUp.AWAIT_REREGISTRATION
                | ExecutorFollowUp.AWAIT_RETURN
            ):
                self._await(executor, now_ms + self._patience_ms[follow_up])
            case ExecutorFollowUp.TELL_TASKS:
                self.tasks.tell_all(executor, now_ms, outbox)
            case ExecutorFollowUp.TELL_SHUTDOWN:
                due_ms = executor.due_ms
                grace_ms = max(0, due_ms - now_ms) if due_ms is not None else executor.grace_ms
                outbox.tell(executor, ExecutorShutdown(grace_ms))
            case ExecutorFollowUp.AWAIT_END:
                self._await(executor, now_ms + executor.grace_ms)
            case ExecutorFollowUp.KILL_CONTAINER:
                # Whoever was given a grace has had it.
                grace_ms = 0 if before in _CLOSING else executor.grace_ms
                outbox.kills.append(KillContainer(container_id=executor.container_id, grace_ms=grace_ms))
            case ExecutorFollowUp.CONCLUDE:
                self._conclude(executor, before, cause, outcome, now_ms, outbox)
            case ExecutorFollowUp.REFUSE:
                outbox.reject(
                    Refusal.ILLEGAL_TRANSITION,
                    f"{cause.value} of executor {executor.key[1]!r} in phase {before.value}, "
                    f"which came by {list(executor.story)}",
                )
            case _:
                assert_never(follow_up)

    def _await(self, executor: Executor, due_ms: int) -> None:
        executor.due_ms = due_ms
        self._timers.set(due_ms, executor)

    def _conclude(
        self,
        executor: Executor,
        before: ExecutorPhase,
        cause: ExecutorCause,
        outcome: Outcome,
        now_ms: int,
        outbox: Outbox,
    ) -> None:
        executor.connected = False
        executor.resize_due_ms = None
        ending = executor.ending(cause, outcome, was_shut_down=before in _CLOSING)
        self.tasks.end_all(executor, ending, now_ms, outbox)
        self._book.ledger.give(executor.shape.holding)
        executor.unbook(executor.shape)
        del self.living[executor.key]
        here = self._book.frameworks[executor.framework_id]
        del here.executors[executor.container_id]
        outbox.totals.append(TotalsChange(here.info, executor.info.executor_id, executor.container_id, None))
        self._book.forget_framework(executor.framework_id, outbox)
        executor.exit_code = outcome.exit_code
        executor.message = ending.text()
        outbox.closed.append(executor.container_id)
        self._end(executor, now_ms, outbox)

    def _end(self, executor: Executor, now_ms: int, outbox: Outbox) -> None:
        """Begin to say an end; the oldest that nobody wants to enter is said no more, where they become too many."""
        self._ended[executor.container_id] = None
        self._say_exit(executor, now_ms, outbox)
        if len(self._ended) > MAX_ENDED_EXECUTORS:
            oldest = next((each for each in self._ended if not self.executors[each].acknowledged), None)
            if oldest is not None:
                self._acknowledged(self.executors[oldest], outbox)

    def _say_exit(self, executor: Executor, now_ms: int, outbox: Outbox) -> None:
        if self._book.reporting and not executor.acknowledged:
            outbox.exits[executor.container_id] = executor
            self._timers.set(executor.send_exit(now_ms), executor)

    def _acknowledged(self, executor: Executor, outbox: Outbox) -> None:
        executor.acknowledged = True
        executor.retry_due_ms = None
        outbox.exits.pop(executor.container_id, None)
        outbox.changed_executors[executor.container_id] = executor
        self._forget_if_useless(executor, outbox)

    def _task_forgotten(self, task: Task, outbox: Outbox) -> None:
        executor = self.executors[task.container_id]
        executor.kept -= 1
        self._forget_if_useless(executor, outbox)

    def _forget_if_useless(self, executor: Executor, outbox: Outbox) -> None:
        if executor.acknowledged and not executor.kept:
            del self.executors[executor.container_id]
            del self._ended[executor.container_id]
            outbox.changed_executors.pop(executor.container_id, None)
            outbox.records.append(ExecutorDropped(executor.container_id))

    def _plan_resize(self, executor: Executor, now_ms: int) -> None:
        due_ms = executor.resize_after(now_ms)
        if due_ms is not None:
            self._timers.set(due_ms, executor)


def _matters(due_ms: int, executor: Executor) -> bool:
    return due_ms in (executor.due_ms, executor.retry_due_ms, executor.resize_due_ms)
