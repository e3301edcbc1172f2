"""The agent's shell: takes what happened, lets the core decide, and does it. It decides nothing.

    bus --reader thread--> inbox <--any thread-- containerizer, executors' links, Flower
                             |
                     work(): apply to the core --> checkpoint --> reports --> containers, executors --> observers

One thread at a time does a pass, that of `run` or, where nobody is at it and little happens, the one that brings the news, the
reader's or the links': what comes one by one does not wait for another thread to wake. All of one pass is one transaction and one
report. Nothing is visible before it is durable: while the disk takes no checkpoint, the shell waits, and tasks run on. While
Redis is away all but the reports goes on.

`step` does one pass on the caller's thread, for the simulator and tests; `run` is the process.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, assert_never

from mesolite.clock import Clock
from mesolite.errors import CheckpointFailed
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger
from mesolite.protocol import TERMINAL_STATES, TaskState
from mesolite.transport.contract import CommandBus, Store
from mesolite.transport.keys import agent_queue

from .checkpoint import CheckpointStore
from .containerizer.contract import (
    Containerizer,
    ContainerLaunchFailed,
    ContainerSpec,
)
from .containerizer.policy import default_user
from .core import AgentCore
from .disk import DiskWatch
from .effects import (
    AgentEffect,
    Checkpoint,
    CloseLinks,
    DropFramework,
    HangUp,
    KillContainer,
    LaunchContainers,
    LaunchExecutors,
    OpenLinks,
    Refusal,
    Rejected,
    ResizeContainer,
    SendReports,
    ShowTasks,
    ShowTotals,
    StopAgent,
    TaskChange,
    TellExecutor,
    TotalsChange,
)
from .events import (
    AgentEvent,
    ContainerizerChanged,
    ContainersRecovered,
    DiskChanged,
    ProcessStopping,
    ReportsLost,
    Tick,
)
from .executor_links.contract import ExecutorLinks, LinkEvent
from .inbox import Inbox
from .intake import Item, Looked, Undecodable, ended_containers, events_of
from .launch import LABEL_FRAMEWORK
from .reader import CommandReader
from .records import Record
from .reporter import Reporter
from .sandbox import create_sandbox
from .settings import BUSY_RECORDS, CHECKPOINT_RETRY_MS, COMMAND_WAIT_MS, LINGER_MS, MAX_EVENTS_PER_PASS
from .view import agent_view

_log = get_logger("mesolite.agent")

#: An end that somebody may have to look into.
_BAD_ENDS: Final = TERMINAL_STATES - {TaskState.FINISHED, TaskState.KILLED}
#: Duplicates and stragglers, which a sound master sends too: counted, not logged.
_HARMLESS: Final = frozenset(
    {Refusal.KNOWN_TASK, Refusal.UNKNOWN_TASK, Refusal.WRONG_SESSION, Refusal.WRONG_ACKNOWLEDGEMENT}
)


class TaskObserver(Protocol):
    """Wants to know about tasks; must return at once."""

    def tasks_changed(self, changes: Sequence[TaskChange]) -> None:
        """These steps happened, in this order."""
        ...


class ExecutorObserver(Protocol):
    """Wants to know about executors; must return at once."""

    def totals_changed(self, changes: Sequence[TotalsChange]) -> None:
        """Executors said this of the work that they do without tasks, in this order."""
        ...


class AgentShell:
    """Runs one core.

    Args:
        core: Freshly recovered; nothing was applied to it yet.
        store: Used by whichever thread does a pass, one at a time.
        bus: Used only from the thread that calls `step`, or from the reader's that `run` starts.
        containerizer: Its sink is `inbox.put`.
        inbox: Where news comes in.
        checkpoint: What the core was recovered from.
        clock: The time.
        random: Gives fractions in [0, 1).
        principal: Whose reports stream is written.
        cluster: Stands in the name of the queue.
        make_sandbox: Makes the directory that a spec names; raises OSError. The simulator has none to make.
        disk: Watches the disk, where there is one.
        observers: Told about every step of a task.
        links: How executors are spoken to; its sink is `heard`. Without it none can be launched.
        bundle_dir: The directory with the Python executor, for containers of executors.
        executor_observers: Told what executors say of themselves.
        drop_framework: Told that a framework is over, whose executors may be ending still.
        confirm_delay_ms: How long a report that only confirms waits for another to ride on.
    """

    def __init__(
        self,
        *,
        core: AgentCore,
        store: Store,
        bus: CommandBus,
        containerizer: Containerizer,
        inbox: Inbox,
        checkpoint: CheckpointStore,
        clock: Clock,
        random: Callable[[], float],
        principal: str,
        cluster: str,
        make_sandbox: Callable[[ContainerSpec], None] | None = None,
        disk: DiskWatch | None = None,
        observers: Sequence[TaskObserver] = (),
        links: ExecutorLinks | None = None,
        bundle_dir: Path | None = None,
        executor_observers: Sequence[ExecutorObserver] = (),
        drop_framework: Callable[[FrameworkId], None] = lambda _: None,
        confirm_delay_ms: int = 0,
    ) -> None:
        self.core: Final = core
        self._containerizer: Final = containerizer
        self._inbox: Final = inbox
        self._checkpoint: Final = checkpoint
        self._clock: Final = clock
        self._random: Final = random
        self._make_sandbox: Final = make_sandbox if make_sandbox is not None else _make_sandbox
        self._disk: Final = disk
        self._observers: Final = tuple(observers)
        self._links: Final = links
        self._bundle_dir: Final = bundle_dir
        self._drop_framework: Final = drop_framework
        self._executor_observers: Final = tuple(executor_observers)
        self._reader: Final = CommandReader(bus, agent_queue(core.info.agent_id, cluster), inbox, self._take_up)
        self._reporter: Final = Reporter(
            store, core.info.agent_id, core.session, principal, confirm_delay_ms=confirm_delay_ms
        )
        #: Held while the core changes, so that `view` sees whole passes; and by who does a pass.
        self._lock, self._turn = threading.Lock(), threading.Lock()
        #: What ended another thread's pass; raised by the thread of `run`.
        self._broken: BaseException | None = None
        #: Only the thread of `run` does a pass: it has not begun, or is about to end.
        self._alone = True
        #: When that thread does its next pass, whatever comes.
        self._looks_at_ms = 0
        #: Refused inputs by their reason.
        self.refusals: Final[Counter[str]] = Counter()
        self._was_registered = False
        #: Records of the last pass.
        self._written = 0
        #: Set while `run` runs: what ends it.
        self._stop: threading.Event | None = None
        #: The agent has left the cluster for good.
        self.left = False
        #: Why no master takes it; empty where one did.
        self.refusal = ""

    def recover(self) -> None:
        """Adopt what survived; before anything else, once."""
        survivors = tuple(self._containerizer.recover())
        _log.info("agent.recovered", agent_id=self.core.info.agent_id, containers=len(survivors))
        self.handle([ContainersRecovered(now_ms=self._clock.now_ms(), container_ids=survivors)])

    def step(self) -> int:
        """Take up what is there, without waiting.

        Returns:
            How many things there were; 0 means that nothing will happen until somebody acts or time passes.

        Raises:
            Unavailable: The broker does not answer; nothing is lost, call again.
            CheckpointFailed: The disk takes nothing. What was decided is lost: recover a new core.
        """
        self._reader.poll()
        return self.work(0)

    def work(self, wait_ms: int) -> int:
        """Take up what is in the inbox, waiting for it at most `wait_ms`, or until somebody's deadline."""
        with self._turn:
            wait_ms = min(wait_ms, self._patience_ms())
            self._looks_at_ms = self._clock.now_ms() + wait_ms
        self._inbox.wait(wait_ms)
        with self._turn:
            if self._broken is not None:
                raise self._broken
            if self.left:
                return 0
            items = self._inbox.take(MAX_EVENTS_PER_PASS)
            try:
                self._pass(items)
            except BaseException as error:
                # Some of what the core decided is lost: no other thread is to go on with it, and to confirm what is not done.
                self._broken = error
                raise
        return len(items)

    def _take_up(self, items: Sequence[Item]) -> int | None:
        """Take up commands on the reader's thread."""
        return self._pass_here(lambda: items)

    def heard(self, item: LinkEvent) -> None:
        """Take up what an executor said, on the thread that heard it if may be: the links' sink while `run` runs."""
        self._inbox.put_quietly(item)
        again_ms = self._pass_here(lambda: self._inbox.take(MAX_EVENTS_PER_PASS))
        if again_ms is None or self._clock.now_ms() + again_ms < self._looks_at_ms:
            self._inbox.ring()

    def _pass_here(self, take: Callable[[], Sequence[Item]]) -> int | None:
        """Do a pass on a thread that brings news, unless another is at it or the last had much: then more is taken together.

        Returns:
            In how many milliseconds the next is due, which the thread of `run` may not know of; None where there was none.
        """
        if self._written >= BUSY_RECORDS or not self._turn.acquire(blocking=False):
            return None
        again_ms = COMMAND_WAIT_MS
        try:
            if self._alone or self.left or self._broken is not None:
                return None
            self._pass(take())
            again_ms = max(1, self._patience_ms())
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; `run` raises it, and ends by it
            self._broken = error
        finally:
            self._turn.release()
        if self.left or self._broken is not None:
            self._inbox.put(Looked())
        return again_ms

    def _patience_ms(self) -> int:
        """For how long nobody is due who waits for time to pass."""
        disk_ms = self._disk.deadline_ms if self._disk is not None else None
        deadlines = (self.core.next_deadline_ms(), self._reporter.deadline_ms, disk_ms)
        now_ms = self._clock.now_ms()
        return max(0, min((each - now_ms for each in deadlines if each is not None), default=COMMAND_WAIT_MS))

    def _pass(self, items: Sequence[Item]) -> None:
        self._written = 0
        now_ms = self._clock.now_ms()
        events = [*events_of(items, now_ms, self._random), *self._due(now_ms)]
        for item in items:
            if isinstance(item, Undecodable):
                self._reporter.set_aside(item, now_ms)
        if events:
            self.handle(events)
        self._reporter.send_held(now_ms)

    def handle(self, events: Sequence[AgentEvent]) -> None:
        """Apply events and do what follows, as one pass.

        Raises:
            CheckpointFailed: The disk takes nothing, and nothing of the pass became visible.
        """
        effects: list[AgentEffect] = []
        with self._lock:
            for event in events:
                effects.extend(self.core.apply(event))
        records: list[Record] = []
        for effect in effects:
            if isinstance(effect, Checkpoint):
                records.extend(effect.records)
        self._written = len(records)
        if records:
            self._save(records)
        self._reporter.send((each for each in effects if isinstance(each, SendReports)), self._clock.now_ms())
        for effect in effects:
            self._perform(effect)
        # Only now: until their ends are on disk, what is left of these containers is all that anybody knows of them.
        self._containerizer.forget(ended_containers(events))
        if self.core.link.registered != self._was_registered:
            self._was_registered = self.core.link.registered
            name = "agent.registered" if self._was_registered else "agent.unregistered"
            _log.info(name, agent_id=self.core.info.agent_id, epoch=self.core.link.epoch)

    def run(self, stop: threading.Event) -> None:
        """Be an agent until `stop` is set, or the agent has left the cluster for good. After a stop its tasks run on."""
        self._stop = stop
        done = threading.Event()
        reader = threading.Thread(target=self._reader.run, args=(done,), name="agent-commands", daemon=True)
        try:
            self.recover()
            self._alone = False
            reader.start()
            while not stop.is_set() and not self.left:
                self.work(COMMAND_WAIT_MS)
                if self._written >= BUSY_RECORDS:
                    stop.wait(LINGER_MS / 1000)
            with self._turn:
                self._alone = True
                if self._broken is not None:
                    raise self._broken
                if not self.left:
                    self.handle([ProcessStopping(now_ms=self._clock.now_ms())])
        except CheckpointFailed as error:
            # The stop came while the disk was waited for; the next life goes on from the last checkpoint.
            _log.error("agent.stopped_without_checkpoint", reason=str(error))
        finally:
            done.set()
            if reader.ident is not None:
                reader.join(timeout=3 * COMMAND_WAIT_MS / 1000)

    def view(self) -> dict[str, object]:
        """Describe the agent as a JSON value; from any thread."""
        with self._lock:
            return agent_view(self.core, self.refusals)

    def _due(self, now_ms: int) -> list[AgentEvent]:
        """Make events of what the passing of time brought."""
        events: list[AgentEvent] = []
        if self._disk is not None:
            shortage = self._disk.watch(now_ms, self.core.live_containers())
            if shortage is not None:
                events.append(DiskChanged(now_ms=now_ms, shortage=shortage))
        if self._containerizer.trouble != self.core.book.admission.trouble:
            events.append(ContainerizerChanged(now_ms=now_ms, trouble=self._containerizer.trouble))
        if self._reporter.is_back(now_ms):
            events.append(ReportsLost(now_ms=now_ms))
        deadline_ms = self.core.next_deadline_ms()
        if events or (deadline_ms is not None and now_ms >= deadline_ms):
            events.append(Tick(now_ms=now_ms, random=self._random()))
        return events

    def _save(self, records: list[Record]) -> None:
        """Make records durable; in a process, however long the disk takes to have room, because all else must wait."""
        complained = False
        while True:
            try:
                self._checkpoint.save(records)
            except CheckpointFailed as error:
                if not complained:
                    _log.error("agent.checkpoint_failed", reason=str(error))
                complained = True
                if self._stop is None or self._stop.wait(CHECKPOINT_RETRY_MS / 1000):
                    raise
            else:
                return

    def _perform(self, effect: AgentEffect) -> None:
        match effect:
            case LaunchContainers():
                for spec in effect.specs:
                    self._launch(spec)
            case TellExecutor() | HangUp() | OpenLinks() | CloseLinks():
                if self._links is not None:
                    self._speak(self._links, effect)
            case LaunchExecutors():
                for spec in effect.specs:
                    self._launch_executor(spec)
            case ResizeContainer():
                self._containerizer.resize(effect.container_id, cpus_milli=effect.cpus_milli, mem_mib=effect.mem_mib)
            case KillContainer():
                self._containerizer.kill(effect.container_id, grace_ms=effect.grace_ms)
            case ShowTasks():
                self._show(effect.changes)
            case DropFramework():
                self._drop_framework(effect.framework_id)
            case ShowTotals():
                for observer in self._executor_observers:
                    observer.totals_changed(effect.changes)
            case Rejected():
                self.refusals[effect.refusal.value] += 1
                if effect.refusal not in _HARMLESS:
                    _log.info("agent.refused", refusal=effect.refusal.value, message=effect.message)
            case StopAgent():
                self._leave(effect)
            case Checkpoint() | SendReports():
                pass
            case _:
                assert_never(effect)

    def _leave(self, effect: StopAgent) -> None:
        agent_id = self.core.info.agent_id
        if effect.refused:
            _log.error("agent.not_taken", agent_id=agent_id, message=effect.message)
            self.refusal = effect.message
        else:
            _log.warning("agent.left", agent_id=agent_id, message=effect.message)
            self._checkpoint.clear()
        self.left = True

    def _speak(self, links: ExecutorLinks, effect: TellExecutor | HangUp | OpenLinks | CloseLinks) -> None:
        match effect:
            case TellExecutor():
                links.send(effect.container_id, effect.connection, effect.events)
            case HangUp():
                links.hang_up(effect.container_id, effect.connection)
            case OpenLinks():
                for container_id, framework_id in effect.executors:
                    try:
                        links.open(container_id, framework_id)
                    except OSError as error:
                        # It cannot come back, and is ended when its time to do so is over.
                        _log.error("agent.executor_unreachable", container_id=container_id, reason=str(error))
            case CloseLinks():
                for container_id in effect.container_ids:
                    links.close(container_id)
            case _:
                assert_never(effect)

    def _launch_executor(self, spec: ContainerSpec) -> None:
        """Open the sockets first: a quick executor would not find them."""
        if self._links is None:
            self._not_launched(spec, "this agent speaks to no executors")
            return
        try:
            self._links.open(spec.container_id, FrameworkId(spec.labels[LABEL_FRAMEWORK]))
        except OSError as error:
            self._not_launched(spec, f"the executor's sockets cannot be made: {error.strerror or error}")
            return
        socket_dir = self._links.socket_dir(spec.container_id)
        self._launch(replace(spec, socket_dir=socket_dir, bundle_dir=self._bundle_dir))

    def _launch(self, spec: ContainerSpec) -> None:
        try:
            self._make_sandbox(spec)
        except OSError as error:
            self._not_launched(spec, f"the sandbox cannot be made: {error.strerror or error}")
            return
        self._containerizer.launch(spec)

    def _not_launched(self, spec: ContainerSpec, message: str) -> None:
        self._inbox.put(ContainerLaunchFailed(container_id=spec.container_id, stage="start", message=message))

    def _show(self, changes: Sequence[TaskChange]) -> None:
        for observer in self._observers:
            observer.tasks_changed(changes)
        for change in changes:
            if change.state in _BAD_ENDS and change.status is not None:
                _log.info(
                    "agent.task_ended_badly",
                    framework_id=change.framework.framework_id,
                    task_id=change.task.task_id,
                    state=change.state.value,
                    reason=change.status.reason.value if change.status.reason is not None else None,
                    message=change.status.message,
                )


def _make_sandbox(spec: ContainerSpec) -> None:
    create_sandbox(spec.sandbox, default_user())
