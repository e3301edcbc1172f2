"""The agent's core: events in, effects out; no input from a peer can make it raise.

It is the only writer of the agent's state. `MasterLink` decides what of the master's commands is to be carried out,
`TaskBook` knows the tasks, `ExecutorBook` the executors; here events are led to them and effects are put into their order:
durable, then visible, then acted upon (DESIGN 4). What is durable is exactly what `Checkpoint` effects say, and `recover`
makes a core of it again.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, assert_never

from mesolite.executors.command import KillCause, Outcome
from mesolite.ids import ContainerId, FrameworkId, SessionId
from mesolite.protocol import (
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    AgentInfo,
    AgentStopping,
    Command,
    ExecutorMessage,
    KillTask,
    RegisterAgent,
    Registered,
    Reregister,
    RunTask,
    RunTaskGroup,
    RunTasks,
    ShutdownAgent,
    ShutdownExecutor,
    ShutdownFramework,
)

from .containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerResizeFailed,
    ContainerStarted,
)
from .effects import AgentEffect, Refusal, StopAgent
from .events import (
    AgentEvent,
    CommandsArrived,
    ContainerizerChanged,
    ContainersRecovered,
    ContainersReported,
    DiskChanged,
    ExecutorsReported,
    ProcessStopping,
    ReportsLost,
    ShutdownRequested,
    TaskEndRequested,
    Tick,
)
from .executor import Executor
from .executor_connections import ExecutorConnections
from .executor_lifecycle import ExecutorCause
from .executorbook import ExecutorBook
from .ledger import ResourceLedger
from .lifecycle import Cause
from .link import Intake, MasterLink
from .outbox import Outbox
from .records import AgentRecord, ExecutorRecord, FrameworkRecord, ProgressRecord, Put, SeenRecord, TaskRecord
from .settings import USUAL_PATIENCE, ExecutorPatience
from .task import Task, TaskKey
from .taskbook import TaskBook

#: Bytes that distinguish one life's updates and containers from every other's.
LIFE_BYTES: Final = 8


class AgentCore:
    """Decides everything an agent does."""

    def __init__(
        self,
        info: AgentInfo,
        *,
        session: SessionId,
        life: bytes,
        boot_id: str,
        sandbox_root: Path,
        patience: ExecutorPatience = USUAL_PATIENCE,
    ) -> None:
        """Begin a life that remembers nothing; `recover` is for the others.

        Args:
            info: The agent as it describes itself; `resources` are valid.
            session: This life, for the master.
            life: LIFE_BYTES random bytes, for uuids and container ids.
            boot_id: The machine's current boot.
            sandbox_root: Where the sandboxes are.
            patience: How long executors may take to subscribe.
        """
        assert len(life) == LIFE_BYTES
        self.info: Final = info
        self.session: Final = session
        self._boot_id: Final = boot_id
        self._rebooted = False
        self._recovered = False
        self._stopped = False
        #: A master has taken this life, or it found something of an earlier one that was taken.
        self._was_taken = False
        #: It is leaving because a master would not take it.
        self._refused = False
        #: See `AgentRecord`.
        self._checkpoint_id = life.hex()
        self._incarnation = 1
        self.link = MasterLink(info.agent_id, session, 0)
        self.book: Final = TaskBook(info.agent_id, life, ResourceLedger(info.resources), sandbox_root)
        self.executors: Final = ExecutorBook(info, self.book, str(sandbox_root), patience)
        self._connections: Final = ExecutorConnections(info, self.book, self.executors)

    @classmethod
    def recover(
        cls,
        records: Iterable[Put],
        info: AgentInfo,
        *,
        session: SessionId,
        life: bytes,
        boot_id: str,
        sandbox_root: Path,
        patience: ExecutorPatience = USUAL_PATIENCE,
    ) -> "AgentCore":
        """Begin a life with what earlier ones left in the checkpoint; none is fine."""
        core = cls(info, session=session, life=life, boot_id=boot_id, sandbox_root=sandbox_root, patience=patience)
        executors: dict[ContainerId, ExecutorRecord] = {}
        tasks: dict[TaskKey, TaskRecord] = {}
        progress: dict[TaskKey, ProgressRecord] = {}
        for record in records:
            match record:
                case AgentRecord():
                    assert record.agent_id == info.agent_id, "the checkpoint is another agent's"
                    core.link = MasterLink(info.agent_id, session, record.epoch)
                    core._rebooted = record.boot_id != boot_id
                    core.book.admission.forgetful = core._rebooted or record.forgetful
                    core._checkpoint_id = record.checkpoint_id or core._checkpoint_id
                    core._incarnation = record.incarnation + 1
                case FrameworkRecord():
                    core.book.restore_framework(record)
                case ExecutorRecord():
                    executors[record.container_id] = record
                case TaskRecord():
                    tasks[record.framework_id, record.task.task_id] = record
                case ProgressRecord():
                    progress[record.framework_id, record.task_id] = record
                case SeenRecord():
                    core.book.seen[record.framework_id, record.task_id] = None
                case _:
                    assert_never(record)
        core._was_taken = bool(tasks or executors or core.book.seen)
        for executor in executors.values():
            core.executors.restore(executor)
        for key, kept in tasks.items():
            of = executors.get(kept.container_id)
            task = Task.restored(kept, progress[key], of.executor if of is not None else None)
            core.book.restore(task)
            if of is not None:
                core.executors.restore_task(task)
        return core

    def apply(self, event: AgentEvent) -> list[AgentEffect]:
        """Take one event up and return what follows from it, in the order in which it must be done."""
        outbox = Outbox()
        now_ms = event.now_ms
        match event:
            case ContainersReported():
                for each in event.events:
                    self._container(each, now_ms, outbox)
            case ExecutorsReported():
                for said in event.events:
                    self._connections.take(said, now_ms, outbox)
            case CommandsArrived():
                self._commands(event, outbox)
            case Tick():
                self._tick(event, outbox)
            case ContainersRecovered():
                self._containers_recovered(event, outbox)
            case TaskEndRequested():
                self._task_end_requested(event, outbox)
            case ReportsLost():
                self._reports_lost(now_ms, outbox)
            case DiskChanged():
                self.book.admission.shortage = event.shortage
            case ContainerizerChanged():
                self.book.admission.trouble = event.trouble
            case ProcessStopping():
                if self.link.registered and not self._stopped:
                    outbox.reports.append(AgentStopping())
            case ShutdownRequested():
                self._shut_down(event.message, now_ms, outbox)
            case _:
                assert_never(event)
        self.executors.finish(outbox)
        self._finish(outbox)
        if outbox.speaks:
            self.link.note_report(now_ms)
        return outbox.effects(epoch=self.link.epoch, confirmed=self.link.confirmed)

    def next_deadline_ms(self) -> int | None:
        """Return when a `Tick` is wanted at the latest; it may find that nothing is due."""
        if not self._recovered or self._stopped:
            return None
        dues = (self.link.deadline_ms, self.book.next_due_ms, self.executors.next_due_ms)
        return min((due_ms for due_ms in dues if due_ms is not None), default=None)

    def live_containers(self) -> set[ContainerId]:
        """The containers that are not known to be gone."""
        return {*self.book.containers, *self.executors.living_containers()}

    def check(self) -> None:
        """Assert every invariant (DESIGN 5, as far as one agent can see)."""
        self.link.check()
        self.book.check(executor.shape for executor in self.executors.living.values())
        self.executors.check()

    def durable(self) -> tuple[Put, ...]:
        """Return the state that all `Checkpoint` effects so far must amount to, in the order of the records' kinds."""
        book = self.book
        return (
            self._agent_record(),
            *(FrameworkRecord(here.info, here.removed) for here in book.frameworks.values()),
            *(executor.record() for executor in self.executors.executors.values()),
            *(task.record() for task in book.tasks.values()),
            *(task.progress() for task in book.tasks.values()),
            *(SeenRecord(*key) for key in book.seen),
        )

    def _container(self, event: ContainerEvent, now_ms: int, outbox: Outbox) -> None:
        executor = self.executors.executors.get(event.container_id)
        if isinstance(event, ContainerResizeFailed):
            self.executors.resize_failed(event.container_id, event.message, now_ms, outbox)
        elif executor is not None:
            cause, outcome = _executor_news(event)
            self.executors.container_changed(executor, cause, outcome, now_ms, outbox)
        else:
            task_cause, news = _task_news(event)
            self.book.container_changed(event.container_id, task_cause, news, now_ms, outbox)

    def _commands(self, event: CommandsArrived, outbox: Outbox) -> None:
        decision = self.link.take(event.batch, event.now_ms)
        if decision.adopted:
            self.book.reporting = False
            outbox.records.append(self._agent_record())
        if decision.refusal is not None:
            outbox.reject(decision.refusal, f"a batch of commands {decision.message}")
        if decision.intake is not Intake.REFUSED and event.batch.first_number > 0:
            outbox.must_report = True
        if decision.ask:
            outbox.must_report = outbox.gap = True
        numbered = decision.intake is Intake.TAKEN
        for command in decision.commands:
            if numbered or isinstance(command, Reregister | ShutdownAgent):
                self._command(command, event, outbox)
            else:
                outbox.reject(Refusal.NOT_NUMBERED, f"{type(command).__name__} came outside the numbering")

    def _command(self, command: Command, event: CommandsArrived, outbox: Outbox) -> None:
        now_ms = event.now_ms
        match command:
            case RunTask():
                self._run_task(command, now_ms, outbox)
            case RunTasks() | RunTaskGroup():
                self.executors.run(
                    command.framework,
                    command.executor,
                    command.tasks,
                    launches=command.launch_executor,
                    grouped=isinstance(command, RunTaskGroup),
                    now_ms=now_ms,
                    outbox=outbox,
                )
            case AcknowledgeStatuses():
                for acknowledgement in command.acknowledgements:
                    self.book.acknowledge(acknowledgement, now_ms, outbox)
            case KillTask():
                asked_ms = command.kill_policy.grace_period_ms if command.kill_policy is not None else None
                key = (command.framework_id, command.task_id)
                self._kill(key, KillCause.REQUEST, asked_ms, now_ms, outbox)
            case Registered():
                self._was_taken = True
                self.link.join(command.heartbeat_interval_ms, now_ms)
                if self.book.admission.forgetful:
                    self.book.admission.forgetful = False
                    outbox.records.append(self._agent_record())
                self._begin_reporting(now_ms, outbox)
            case Reregister():
                self.book.reporting = False
                self.link.asked_to_register(now_ms, command.spread_ms, event.random)
            case ShutdownFramework():
                self._remove_framework(command.framework_id, now_ms, outbox)
            case ShutdownAgent():
                self._refused = not self._was_taken
                self._shut_down(command.message or "the master told it to", now_ms, outbox)
            case ExecutorMessage():
                self.executors.hear(command.framework_id, command.executor_id, command.data, outbox)
            case ShutdownExecutor():
                self.executors.shut_down_one(command.framework_id, command.executor_id, now_ms, outbox)
            case AcknowledgeExecutors():
                for ended in command.acknowledgements:
                    self.executors.acknowledge(ended, outbox)
            case _:
                assert_never(command)

    def _run_task(self, command: RunTask, now_ms: int, outbox: Outbox) -> None:
        if command.task.executor is None:
            self.book.launch(command.framework, command.task, now_ms, outbox)
            return
        self.executors.run(
            command.framework,
            command.task.executor,
            (command.task,),
            launches=command.launch_executor,
            grouped=False,
            now_ms=now_ms,
            outbox=outbox,
        )

    def _kill(self, key: TaskKey, cause: KillCause, asked_ms: int | None, now_ms: int, outbox: Outbox) -> None:
        """Begin to end a task. An id that is unknown was acknowledged to the end already: the kill came late."""
        task = self.book.tasks.get(key)
        if task is None:
            outbox.reject(Refusal.UNKNOWN_TASK, f"task {key[1][:64]!r} is not here")
        elif not task.living:
            # The framework could not know yet.
            return
        elif task.executor_id is None:
            self.book.kill(task, cause, asked_ms, now_ms, outbox)
        else:
            self.executors.tasks.kill(self._executor_of(task), task, cause, asked_ms, now_ms, outbox)

    def _executor_of(self, task: Task) -> Executor:
        return self.executors.executors[task.container_id]

    def _remove_framework(self, framework_id: FrameworkId, now_ms: int, outbox: Outbox) -> None:
        """End everything of a framework. Its executors are asked to end, and their tasks with them."""
        keys = self.book.remove_framework(framework_id, outbox)
        self.executors.shut_down_all(framework_id, KillCause.FRAMEWORK_REMOVED, now_ms, outbox)
        self._kill_those_with_commands(keys, KillCause.FRAMEWORK_REMOVED, now_ms, outbox)
        outbox.dropped_frameworks.append(framework_id)

    def _kill_those_with_commands(self, keys: Iterable[TaskKey], cause: KillCause, now_ms: int, outbox: Outbox) -> None:
        for key in keys:
            task = self.book.tasks.get(key)
            if task is not None and task.executor_id is None:
                self._kill(key, cause, None, now_ms, outbox)

    def _tick(self, event: Tick, outbox: Outbox) -> None:
        if not self._recovered or self._stopped:
            return
        for task in self.book.expire(event.now_ms, outbox):
            self.executors.tasks.expire(self._executor_of(task), task, event.now_ms, outbox)
        self.executors.expire(event.now_ms, outbox)
        if self.link.silence_is_over_long(event.now_ms):
            self.book.reporting = False
            self.link.leave(event.now_ms, 0)
        if self.link.registration_is_due(event.now_ms):
            self.link.note_registration(event.now_ms, event.random)
            outbox.reports.append(
                RegisterAgent(
                    agent_info=self.info,
                    frameworks=self.book.registered_frameworks(),
                    tasks=self.book.registered_tasks(),
                    executors=self.executors.registered(),
                    checkpoint_id=self._checkpoint_id,
                    incarnation=self._incarnation,
                )
            )
        elif self.link.heartbeat_is_due(event.now_ms) and not outbox.speaks:
            outbox.beat()

    def _containers_recovered(self, event: ContainersRecovered, outbox: Outbox) -> None:
        assert not self._recovered, "a life recovers once, before anything else"
        self._recovered = True
        outbox.records.append(self._agent_record())
        if self._rebooted:
            # Nothing survives a reboot; what the containerizer still lists are remains, to be cleared away.
            survivors = set[ContainerId]()
        else:
            survivors = set(event.container_ids)
        self.book.recovered(survivors, event.now_ms, outbox)
        self.executors.recovered(survivors, event.now_ms, outbox)
        living = self.live_containers() & survivors
        self.book.clear_away(sorted(set(event.container_ids) - living), outbox)
        self.link.leave(event.now_ms, 0)

    def _task_end_requested(self, event: TaskEndRequested, outbox: Outbox) -> None:
        keys = [key for key in self.book.tasks if key[1] == event.task_id and event.framework_id in (None, key[0])]
        for key in keys:
            self._kill(key, KillCause.OPERATOR, None, event.now_ms, outbox)

    def _reports_lost(self, now_ms: int, outbox: Outbox) -> None:
        """Say at once what the pauses would have said later: the whole cluster waits for it."""
        if self.link.registered:
            outbox.must_report = True
            self._begin_reporting(now_ms, outbox)
        elif self._recovered:
            self.link.register_soon(now_ms)

    def _begin_reporting(self, now_ms: int, outbox: Outbox) -> None:
        self.book.begin_reporting(now_ms, outbox)
        self.executors.begin_reporting(now_ms, outbox)

    def _shut_down(self, message: str, now_ms: int, outbox: Outbox) -> None:
        if not self.book.admission.farewell:
            self.book.admission.farewell = message
            self.executors.shut_down_all(None, KillCause.AGENT_SHUTDOWN, now_ms, outbox)
            self._kill_those_with_commands(tuple(self.book.tasks), KillCause.AGENT_SHUTDOWN, now_ms, outbox)

    def _finish(self, outbox: Outbox) -> None:
        """Leave for good once nothing runs any more; nobody is waited for to acknowledge the last words."""
        farewell = self.book.admission.farewell
        if farewell and not self.book.containers and not self.executors.living and not self._stopped:
            self._stopped = True
            outbox.stop = StopAgent(message=farewell, refused=self._refused)

    def _agent_record(self) -> AgentRecord:
        return AgentRecord(
            self.info.agent_id,
            self.link.epoch,
            self._boot_id,
            self._checkpoint_id,
            self._incarnation,
            self.book.admission.forgetful,
        )


def _executor_news(
    event: ContainerStarted | ContainerExited | ContainerPreparing | ContainerLaunchFailed,
) -> tuple[ExecutorCause, Outcome]:
    """Say what a container's news means to its executor."""
    match event:
        case ContainerStarted():
            return ExecutorCause.STARTED, Outcome()
        case ContainerExited():
            return ExecutorCause.EXITED, _outcome(event)
        case ContainerPreparing():
            return ExecutorCause.PREPARING, Outcome(started=False, message=event.message)
        case ContainerLaunchFailed():
            return ExecutorCause.LAUNCH_FAILED, Outcome(started=False, message=f"{event.stage}: {event.message}")
        case _:
            assert_never(event)


def _task_news(
    event: ContainerStarted | ContainerExited | ContainerPreparing | ContainerLaunchFailed,
) -> tuple[Cause, Outcome | str | None]:
    """Say what a container's news means to its task."""
    match event:
        case ContainerStarted():
            return Cause.STARTED, None
        case ContainerExited():
            return Cause.EXITED, _outcome(event)
        case ContainerPreparing():
            return Cause.PREPARING, event.message
        case ContainerLaunchFailed():
            return Cause.LAUNCH_FAILED, f"{event.stage}: {event.message}"
        case _:
            assert_never(event)


def _outcome(event: ContainerExited) -> Outcome:
    return Outcome(
        exit_code=event.exit_code,
        oom_killed=event.oom_killed,
        peak_mem_bytes=event.peak_mem_bytes,
        message=event.message,
    )
