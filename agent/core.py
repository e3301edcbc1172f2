"""The agent's core: events in, effects out; no input from a peer can make it raise.

It is the only writer of the agent's state. `MasterLink` decides what of the master's commands is to be carried out,
`TaskBook` knows the tasks; here events are led to them and effects are put into their order: durable, then visible, then
acted upon (DESIGN 4). What is durable is exactly what `Checkpoint` effects say, and `recover` makes a core of it again.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, assert_never

from msgspec.structs import replace

from mesolite.executors.command import KillCause, Outcome
from mesolite.ids import SessionId
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
    ProcessStopping,
    ReportsLost,
    ShutdownRequested,
    TaskEndRequested,
    Tick,
)
from .ledger import ResourceLedger
from .lifecycle import Cause
from .link import Intake, MasterLink
from .outbox import Outbox
from .records import AgentRecord, FrameworkRecord, ProgressRecord, Put, SeenRecord, TaskRecord
from .task import Task, TaskKey
from .taskbook import TaskBook

#: Bytes that distinguish one life's updates and containers from every other's.
LIFE_BYTES: Final = 8


class AgentCore:
    """Decides everything an agent does."""

    def __init__(self, info: AgentInfo, *, session: SessionId, life: bytes, boot_id: str, sandbox_root: Path) -> None:
        """Begin a life that remembers nothing; `recover` is for the others.

        Args:
            info: The agent as it describes itself; `resources` are valid.
            session: This life, for the master.
            life: LIFE_BYTES random bytes, for uuids and container ids.
            boot_id: The machine's current boot.
            sandbox_root: Where the sandboxes are.
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
    ) -> "AgentCore":
        """Begin a life with what earlier ones left in the checkpoint; none is fine."""
        core = cls(info, session=session, life=life, boot_id=boot_id, sandbox_root=sandbox_root)
        frameworks: dict[str, FrameworkRecord] = {}
        tasks: dict[TaskKey, TaskRecord] = {}
        progress: dict[TaskKey, ProgressRecord] = {}
        for record in records:
            match record:
                case AgentRecord():
                    assert record.agent_id == info.agent_id, "the checkpoint is another agent's"
                    core.link = MasterLink(info.agent_id, session, record.epoch)
                    core._rebooted = record.boot_id != boot_id
                    core._checkpoint_id = record.checkpoint_id or core._checkpoint_id
                    core._incarnation = record.incarnation + 1
                case FrameworkRecord():
                    frameworks[record.framework.framework_id] = record
                case TaskRecord():
                    tasks[record.framework_id, record.task.task_id] = record
                case ProgressRecord():
                    progress[record.framework_id, record.task_id] = record
                case SeenRecord():
                    core.book.seen[record.framework_id, record.task_id] = None
                case _:
                    assert_never(record)
        core._was_taken = bool(tasks or core.book.seen)
        for key, kept in tasks.items():
            framework = frameworks[kept.framework_id]
            core.book.restore(Task.restored(kept, progress[key]), framework.framework, framework.removed)
        return core

    def apply(self, event: AgentEvent) -> list[AgentEffect]:
        """Take one event up and return what follows from it, in the order in which it must be done."""
        outbox = Outbox()
        now_ms = event.now_ms
        match event:
            case ContainersReported():
                for each in event.events:
                    self._container(each, now_ms, outbox)
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
        self._finish(outbox)
        if outbox.speaks:
            self.link.note_report(now_ms)
        return outbox.effects(epoch=self.link.epoch, confirmed=self.link.confirmed)

    def next_deadline_ms(self) -> int | None:
        """Return when a `Tick` is wanted at the latest; it may find that nothing is due."""
        if not self._recovered or self._stopped:
            return None
        deadlines = [due for due in (self.link.deadline_ms, self.book.next_due_ms) if due is not None]
        return min(deadlines, default=None)

    def check(self) -> None:
        """Assert every invariant (DESIGN 5, as far as one agent can see)."""
        self.link.check()
        self.book.check()

    def durable(self) -> tuple[Put, ...]:
        """Return the state that all `Checkpoint` effects so far must amount to, in the order of the records' kinds."""
        book = self.book
        return (
            self._agent_record(),
            *(FrameworkRecord(here.info, here.removed) for here in book.frameworks.values()),
            *(task.record() for task in book.tasks.values()),
            *(task.progress() for task in book.tasks.values()),
            *(SeenRecord(*key) for key in book.seen),
        )

    def _container(self, event: ContainerEvent, now_ms: int, outbox: Outbox) -> None:
        match event:
            case ContainerStarted():
                self.book.container_changed(event.container_id, Cause.STARTED, None, now_ms, outbox)
            case ContainerExited():
                outcome = Outcome(
                    exit_code=event.exit_code,
                    oom_killed=event.oom_killed,
                    peak_mem_bytes=event.peak_mem_bytes,
                    message=event.message,
                )
                self.book.container_changed(event.container_id, Cause.EXITED, outcome, now_ms, outbox)
            case ContainerPreparing():
                self.book.container_changed(event.container_id, Cause.PREPARING, event.message, now_ms, outbox)
            case ContainerLaunchFailed():
                message = f"{event.stage}: {event.message}"
                self.book.container_changed(event.container_id, Cause.LAUNCH_FAILED, message, now_ms, outbox)
            case ContainerResizeFailed():
                outbox.reject(Refusal.UNKNOWN_CONTAINER, f"container {event.container_id[:64]!r} was never resized")
            case _:
                assert_never(event)

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
                self.book.launch(command.framework, command.task, now_ms, outbox)
            case AcknowledgeStatuses():
                for acknowledgement in command.acknowledgements:
                    self.book.acknowledge(acknowledgement, now_ms, outbox)
            case KillTask():
                asked_ms = command.kill_policy.grace_period_ms if command.kill_policy is not None else None
                key = (command.framework_id, command.task_id)
                self.book.kill(key, KillCause.REQUEST, asked_ms, now_ms, outbox)
            case Registered():
                self._was_taken = True
                self.link.join(command.heartbeat_interval_ms, now_ms)
                self.book.begin_reporting(now_ms, outbox)
            case Reregister():
                self.book.reporting = False
                self.link.asked_to_register(now_ms, command.spread_ms, event.random)
            case ShutdownFramework():
                self.book.remove_framework(command.framework_id, now_ms, outbox)
            case ShutdownAgent():
                self._refused = not self._was_taken
                self._shut_down(command.message or "the master told it to", now_ms, outbox)
            case RunTasks() | RunTaskGroup():
                for task in command.tasks:
                    self.book.launch(command.framework, replace(task, executor=command.executor), now_ms, outbox)
            case AcknowledgeExecutors():
                for each in command.acknowledgements:
                    outbox.reject(Refusal.UNKNOWN_EXECUTOR, f"executor {each.executor_id[:64]!r} is not here")
            case ExecutorMessage() | ShutdownExecutor():
                outbox.reject(Refusal.UNKNOWN_EXECUTOR, f"executor {command.executor_id[:64]!r} is not here")
            case _:
                assert_never(command)

    def _tick(self, event: Tick, outbox: Outbox) -> None:
        if not self._recovered or self._stopped:
            return
        self.book.expire(event.now_ms, outbox)
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
            self.book.recovered((), event.now_ms, outbox)
            self.book.clear_away(event.container_ids, outbox)
        else:
            self.book.recovered(event.container_ids, event.now_ms, outbox)
        self.link.leave(event.now_ms, 0)

    def _task_end_requested(self, event: TaskEndRequested, outbox: Outbox) -> None:
        keys = [key for key in self.book.tasks if key[1] == event.task_id and event.framework_id in (None, key[0])]
        for key in keys:
            self.book.kill(key, KillCause.OPERATOR, None, event.now_ms, outbox)

    def _reports_lost(self, now_ms: int, outbox: Outbox) -> None:
        """Say at once what the pauses would have said later: the whole cluster waits for it."""
        if self.link.registered:
            outbox.must_report = True
            self.book.begin_reporting(now_ms, outbox)
        elif self._recovered:
            self.link.register_soon(now_ms)

    def _shut_down(self, message: str, now_ms: int, outbox: Outbox) -> None:
        if not self.book.admission.farewell:
            self.book.admission.farewell = message
            self.book.kill_all(KillCause.AGENT_SHUTDOWN, now_ms, outbox)

    def _finish(self, outbox: Outbox) -> None:
        """Leave for good once nothing runs any more; nobody is waited for to acknowledge the last words."""
        farewell = self.book.admission.farewell
        if farewell and not self.book.containers and not self._stopped:
            self._stopped = True
            outbox.stop = StopAgent(message=farewell, refused=self._refused)

    def _agent_record(self) -> AgentRecord:
        return AgentRecord(self.info.agent_id, self.link.epoch, self._boot_id, self._checkpoint_id, self._incarnation)
