"""All tasks of an agent, and what happens to them: launch, containers' news, kills, updates, forgetting.

What is particular to tasks that an executor runs is in `executor_tasks.py`; entered, updated and forgotten they are here.

Rules that hold here:

- A task id is launched at most once. While the task is known its own record says so, afterwards its entry among the seen.
- What a refused launch is told is an update like any other: kept, resent, acknowledged.
- Resources are booked from the launch until the container is known to be gone, never shorter; those of an executor's task until
  its last word.
- Nothing here knows the master; `reporting` says whether updates may leave now.
"""

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from mesolite.executors.command import (
    KillCause,
    Outcome,
    Verdict,
    container_status_of,
    verdict_of,
)
from mesolite.ids import AgentId, ContainerId, FrameworkId
from mesolite.protocol import (
    ContainerStatus,
    FrameworkInfo,
    Reason,
    RegisteredTask,
    Source,
    StatusAcknowledgement,
    TaskInfo,
    TaskState,
    TaskStatus,
)

from .admission import Admission, Shape, invalid
from .effects import KillContainer, Refusal, TaskChange
from .launch import container_spec
from .ledger import ResourceLedger
from .lifecycle import SHOWN_STATES, Cause, FollowUp, Phase, step
from .outbox import Outbox
from .records import FrameworkDropped, FrameworkRecord, SeenDropped, SeenRecord, TaskDropped
from .settings import MAX_SEEN_TASKS, UPDATE_RETRY_MS
from .task import Task, TaskKey
from .timers import Timers


class FrameworkHere:
    """A framework that has tasks or executors on this agent."""

    __slots__ = ("executors", "info", "keys", "removed")

    def __init__(self, info: FrameworkInfo, removed: bool) -> None:
        self.info = info
        #: It was shut down.
        self.removed = removed
        #: Its tasks, in order of arrival.
        self.keys: dict[TaskKey, None] = {}
        #: Its executors that have not ended.
        self.executors: dict[ContainerId, None] = {}


class TaskBook:
    """The tasks. Every method that changes something is given the time and the outbox for what follows from it."""

    def __init__(self, agent_id: AgentId, life: bytes, ledger: ResourceLedger, sandbox_root: Path) -> None:
        self._agent_id: Final = agent_id
        self._life: Final = life
        self._sandbox_root: Final = str(sandbox_root)
        self._counter = 0
        self.ledger: Final = ledger
        self.tasks: Final[dict[TaskKey, Task]] = {}
        self.frameworks: Final[dict[FrameworkId, FrameworkHere]] = {}
        #: Tasks that are over and forgotten, oldest first.
        self.seen: Final[dict[TaskKey, None]] = {}
        #: Whose own container it is; only tasks that have not ended.
        self.containers: Final[dict[ContainerId, Task]] = {}
        #: Updates may leave now.
        self.reporting = False
        self.admission: Final = Admission(agent_id)
        #: Told when a task that an executor ran is forgotten.
        self.on_forgotten: Callable[[Task, Outbox], None] = _ignore
        self._timers: Final[Timers[Task]] = Timers(_matters)

    @property
    def next_due_ms(self) -> int | None:
        """When `expire` has something to do, or a little earlier."""
        return self._timers.next_due_ms

    # Commands.

    def launch(self, framework: FrameworkInfo, info: TaskInfo, now_ms: int, outbox: Outbox) -> None:
        """Launch a task with a command, or say why not; the id of a task that has not been forgotten changes nothing."""
        if self.is_known(framework, info, outbox):
            return
        refused: Verdict | Shape | None = self.reused(framework, info, outbox)
        if refused is None:
            removed = self.is_removed(framework.framework_id)
            refused = self.admission.decide(framework, info, self.ledger, len(self.tasks), removed)
        task = self.enter(framework, Task(framework.framework_id, info, self.new_container_id()), outbox)
        if isinstance(refused, Verdict):
            self.refuse(task, refused, now_ms, outbox)
            return
        task.shape = refused
        self.ledger.take(refused.holding)
        self.containers[task.container_id] = task
        outbox.launches.append(container_spec(task, self._agent_id, self._sandbox_root))

    def is_known(self, framework: FrameworkInfo, info: TaskInfo, outbox: Outbox) -> bool:
        """Say whether a task of this id is here: then the update that answers the launch is on its way."""
        if (framework.framework_id, info.task_id) not in self.tasks:
            return False
        outbox.reject(Refusal.KNOWN_TASK, f"task {info.task_id[:64]!r} was launched before")
        return True

    def reused(self, framework: FrameworkInfo, info: TaskInfo, outbox: Outbox) -> Verdict | None:
        """Refuse the id of a task that is over. Repeated commands do not get here, their numbers give them away."""
        key = (framework.framework_id, info.task_id)
        if key not in self.seen:
            return None
        outbox.reject(Refusal.KNOWN_TASK, f"task {info.task_id[:64]!r} has run before")
        del self.seen[key]
        outbox.records.append(SeenDropped(*key))
        return invalid(f"the id {info.task_id} belonged to a task that has ended; ids are never used again")

    def is_removed(self, framework_id: FrameworkId) -> bool:
        """Say whether a framework was shut down here."""
        here = self.frameworks.get(framework_id)
        return here is not None and here.removed

    def new_container_id(self) -> ContainerId:
        """Draw an id that no other container has."""
        self._counter += 1
        return ContainerId(f"{self._life.hex()}-{self._counter}")

    def enter(self, framework: FrameworkInfo, task: Task, outbox: Outbox) -> Task:
        """Let a new task be known."""
        here = self.enter_framework(framework, outbox)
        here.keys[task.key] = None
        self.tasks[task.key] = task
        outbox.records.append(task.record())
        outbox.changed[task.key] = task
        outbox.shown.append(self._change(task, TaskState.STAGING, None))
        return task

    def enter_framework(self, framework: FrameworkInfo, outbox: Outbox) -> FrameworkHere:
        """Let a framework be known, as it describes itself now."""
        here = self.frameworks.get(framework.framework_id)
        if here is None:
            here = self.frameworks[framework.framework_id] = FrameworkHere(framework, False)
        elif here.info is framework or here.info == framework:
            return here
        here.info = framework
        outbox.records.append(FrameworkRecord(framework, here.removed))
        return here

    def refuse(self, task: Task, verdict: Verdict, now_ms: int, outbox: Outbox) -> None:
        """End a new task before anything was done for it."""
        task.phase = Phase.ENDED
        self.say(task, verdict, None, now_ms, outbox)

    def kill(self, task: Task, cause: KillCause, asked_ms: int | None, now_ms: int, outbox: Outbox) -> None:
        """Begin to end a task with a container of its own."""
        task.note_kill(cause, asked_ms)
        self._advance(task, Cause.KILL, None, now_ms, outbox)

    def acknowledge(self, acknowledgement: StatusAcknowledgement, now_ms: int, outbox: Outbox) -> None:
        """Take an acknowledged update out; the next leaves at once, and after the last the task is forgotten."""
        key = (acknowledgement.framework_id, acknowledgement.task_id)
        task = self.tasks.get(key)
        if task is None:
            outbox.reject(Refusal.UNKNOWN_TASK, f"acknowledged task {key[1][:64]!r} is not here")
            return
        if not task.pending or task.pending[0].uuid != acknowledgement.uuid:
            outbox.reject(Refusal.WRONG_ACKNOWLEDGEMENT, f"task {key[1][:64]!r} does not wait for this acknowledgement")
            return
        task.acknowledge()
        outbox.heads.pop(key, None)
        if task.pending:
            outbox.changed[key] = task
            self._send_head(task, now_ms, outbox)
        elif task.phase is Phase.ENDED:
            self._forget(task, outbox)
        else:
            outbox.changed[key] = task

    def remove_framework(self, framework_id: FrameworkId, outbox: Outbox) -> tuple[TaskKey, ...]:
        """Note that a framework was shut down: it is forgotten after its last task; return its tasks, which are to be killed."""
        here = self.frameworks.get(framework_id)
        if here is None:
            self._drop_framework(framework_id, True, outbox)
            return ()
        here.removed = True
        outbox.records.append(FrameworkRecord(here.info, True))
        return tuple(here.keys)

    # News of containers.

    def container_changed(
        self, container_id: ContainerId, cause: Cause, outcome: Outcome | str | None, now_ms: int, outbox: Outbox
    ) -> None:
        """Carry a container's news into its task.

        Args:
            outcome: How it ended; or a message for the user.
        """
        task = self.containers.get(container_id)
        if task is None:
            outbox.reject(Refusal.UNKNOWN_CONTAINER, f"container {container_id[:64]!r} belongs to no task")
            return
        self._advance(task, cause, outcome, now_ms, outbox)

    def recovered(self, living: Collection[ContainerId], now_ms: int, outbox: Outbox) -> None:
        """Compare what is on disk with the containers that outlived the last life."""
        for task in self.tasks.values():
            if task.phase is Phase.ENDED:
                # Those who watch may not have heard it before the process ended.
                outbox.shown.append(self._change(task, task.latest_state, task.pending[-1]))
        for task in list(self.containers.values()):
            if task.container_id not in living:
                self._advance(task, Cause.LOST, None, now_ms, outbox)
            elif task.phase in (Phase.STAGING, Phase.STARTING):
                # It was started, and the news of it was lost with the last life.
                self._advance(task, Cause.STARTED, None, now_ms, outbox)
            elif task.phase in (Phase.ABORTING, Phase.KILLING):
                outbox.kills.append(KillContainer(container_id=task.container_id, grace_ms=task.kill_grace_ms))
            else:
                self.arm(task)
        for task in self.containers.values():
            self.show_living(task, task.phase in (Phase.RUNNING, Phase.KILLING), now_ms, outbox)

    def show_living(self, task: Task, runs: bool, now_ms: int, outbox: Outbox) -> None:
        """Tell those who watch what they forgot with the process: they did not outlive it."""
        since_ms = now_ms if task.started_ms is None else task.started_ms
        outbox.shown.append(self._change(task, TaskState.STAGING, None, since_ms))
        if runs:
            outbox.shown.append(self._change(task, TaskState.RUNNING, None, since_ms))

    def clear_away(self, container_ids: Iterable[ContainerId], outbox: Outbox) -> None:
        """End containers that belong to nobody."""
        for container_id in container_ids:
            outbox.kills.append(KillContainer(container_id=container_id, grace_ms=0))

    # Time.

    def expire(self, now_ms: int, outbox: Outbox) -> list[Task]:
        """Send again what was not acknowledged in time, and end what ran too long; return what does under an executor."""
        expired: list[Task] = []
        for due_ms, task in self._timers.take_due(now_ms):
            if due_ms == task.retry_due_ms:
                if self.reporting:
                    self._send_head(task, now_ms, outbox)
                else:
                    task.outstanding = False
                    task.retry_due_ms = None
            elif due_ms == task.expires_ms and task.executor_id is None:
                task.note_kill(KillCause.TIME_LIMIT, None)
                self._advance(task, Cause.EXPIRED, None, now_ms, outbox)
            elif due_ms == task.expires_ms:
                expired.append(task)
        return expired

    # Reporting.

    def begin_reporting(self, now_ms: int, outbox: Outbox) -> None:
        """A master listens: every head leaves, whatever an earlier master was told."""
        self.reporting = True
        for task in self.tasks.values():
            if task.pending:
                task.retry_ms = UPDATE_RETRY_MS
                self._send_head(task, now_ms, outbox)

    def registered_tasks(self) -> tuple[RegisteredTask, ...]:
        """Everything, as a master that knows nothing is told."""
        return tuple(task.registered() for task in self.tasks.values())

    def registered_frameworks(self) -> tuple[FrameworkInfo, ...]:
        """The frameworks of these tasks."""
        return tuple(here.info for here in self.frameworks.values())

    # Recovery and invariants.

    def check(self, executors: Iterable[Shape]) -> None:
        """Assert the book's invariants.

        Args:
            executors: What those that have not ended hold themselves.
        """
        held: dict[str, int] = {}
        for shape in executors:
            for name, amount in shape.holding.scalars:
                held[name] = held.get(name, 0) + amount
        for key, task in self.tasks.items():
            task.check()
            assert key == task.key
            assert key not in self.seen, f"{key} is both known and forgotten"
            assert key in self.frameworks[key[0]].keys, f"{key} is not listed under its framework"
            alive = task.phase is not Phase.ENDED
            contained = alive and task.executor_id is None
            assert (self.containers.get(task.container_id) is task) == contained, (
                f"{key} has a container until it ended"
            )
            for name, amount in task.shape.holding.scalars if alive else ():
                held[name] = held.get(name, 0) + amount
        assert sum(len(here.keys) for here in self.frameworks.values()) == len(self.tasks)
        assert all(here.keys or here.executors for here in self.frameworks.values()), (
            "a framework without any is forgotten"
        )
        assert len(self.containers) <= len(self.tasks)
        assert len(self.seen) <= MAX_SEEN_TASKS
        booked = {name: amount for name, amount in self.ledger.held.items() if amount}
        assert booked == {name: amount for name, amount in held.items() if amount}, "the ledger is what the tasks hold"

    def restore_framework(self, record: FrameworkRecord) -> None:
        """Enter a framework from the checkpoint."""
        self.frameworks[record.framework.framework_id] = FrameworkHere(record.framework, record.removed)

    def restore(self, task: Task) -> None:
        """Enter a task from the checkpoint; what it holds is booked where it has not ended."""
        self.frameworks[task.framework_id].keys[task.key] = None
        self.tasks[task.key] = task
        if task.phase is not Phase.ENDED:
            task.shape = self.admission.shape(task.info.resources)
            self.ledger.take(task.shape.holding)
            if task.executor_id is None:
                self.containers[task.container_id] = task

    # Inside.

    def _advance(self, task: Task, cause: Cause, outcome: Outcome | str | None, now_ms: int, outbox: Outbox) -> None:
        before = task.phase
        after, follow_ups = step(before, cause)
        task.story.append((now_ms, cause, after))
        task.phase = after
        outbox.changed[task.key] = task
        for follow_up in follow_ups:
            if follow_up is FollowUp.REPORT:
                message = outcome if isinstance(outcome, str) else ""
                container = container_status_of(task.container_id, task.shape.limits, None)
                self.say(task, Verdict(state=SHOWN_STATES[after], message=message), container, now_ms, outbox)
            elif follow_up is FollowUp.ARM_TIME_LIMIT:
                task.started_ms = now_ms
                self.arm(task)
            elif follow_up is FollowUp.KILL_CONTAINER:
                outbox.kills.append(KillContainer(container_id=task.container_id, grace_ms=task.kill_grace_ms))
            elif follow_up is FollowUp.CONCLUDE:
                self._conclude(task, before, cause, outcome, now_ms, outbox)
            else:
                outbox.reject(
                    Refusal.ILLEGAL_TRANSITION,
                    f"{cause.value} of task {task.key[1]!r} in phase {before.value}, which came by {list(task.story)}",
                )

    def _conclude(
        self, task: Task, before: Phase, cause: Cause, outcome: Outcome | str | None, now_ms: int, outbox: Outbox
    ) -> None:
        del self.containers[task.container_id]
        self.ledger.give(task.shape.holding)
        started = before in (Phase.RUNNING, Phase.KILLING)
        ended = outcome if isinstance(outcome, Outcome) else Outcome(started=started)
        if task.kill_cause is not None:
            if not started:
                ended = Outcome(started=False, message=ended.message)
            verdict = verdict_of(ended, task.kill_cause, task.shape.limits)
        elif cause is Cause.LAUNCH_FAILED:
            message = outcome if isinstance(outcome, str) else ""
            verdict = Verdict(state=TaskState.FAILED, reason=Reason.CONTAINER_LAUNCH_FAILED, message=message)
        elif cause is Cause.LOST:
            perhaps = started or self.admission.forgetful
            state, word = (TaskState.GONE, "ended") if perhaps else (TaskState.DROPPED, "was not started")
            verdict = Verdict(
                state=state, reason=Reason.AGENT_RESTARTED, message=f"the container {word} while the agent was away"
            )
        else:
            verdict = verdict_of(ended, None, task.shape.limits)
        container = container_status_of(task.container_id, task.shape.limits, ended)
        self.say(task, verdict, container, now_ms, outbox)

    def say(self, task: Task, verdict: Verdict, container: ContainerStatus | None, now_ms: int, outbox: Outbox) -> None:
        """Add an update of the agent's own."""
        status = TaskStatus(
            task_id=task.info.task_id,
            state=verdict.state,
            source=Source.AGENT,
            timestamp_ms=now_ms,
            agent_id=self._agent_id,
            executor_id=task.executor_id,
            reason=verdict.reason,
            message=verdict.message,
            uuid=self.new_uuid(),
            container_status=container,
        )
        self.queue(task, status, now_ms, outbox)

    def new_uuid(self) -> bytes:
        """Draw a name that no other update has."""
        self._counter += 1
        return self._life + self._counter.to_bytes(8, "big")

    def queue(self, task: Task, status: TaskStatus, now_ms: int, outbox: Outbox) -> None:
        """Add an update; it leaves at once where nothing is before it."""
        task.add(status)
        outbox.changed[task.key] = task
        outbox.shown.append(self._change(task, status.state, status))
        if len(task.pending) == 1:
            self._send_head(task, now_ms, outbox)

    def _send_head(self, task: Task, now_ms: int, outbox: Outbox) -> None:
        if self.reporting:
            outbox.heads[task.key] = task
            self._timers.set(task.send(now_ms), task)

    def arm(self, task: Task) -> None:
        """Count the max completion time of a task from when it was started, where it has one."""
        due_ms = task.expires_ms
        if due_ms is not None:
            self._timers.set(due_ms, task)

    def _forget(self, task: Task, outbox: Outbox) -> None:
        del self.tasks[task.key]
        outbox.changed.pop(task.key, None)
        outbox.records.append(TaskDropped(*task.key))
        self.seen[task.key] = None
        outbox.records.append(SeenRecord(*task.key))
        if len(self.seen) > MAX_SEEN_TASKS:
            # Some at once: dropping one for each that comes would cost as much again.
            for oldest in list(islice(self.seen, 1 + MAX_SEEN_TASKS // 100)):
                del self.seen[oldest]
                outbox.records.append(SeenDropped(*oldest))
        here = self.frameworks[task.framework_id]
        del here.keys[task.key]
        self.forget_framework(task.framework_id, outbox)
        if task.executor_id is not None:
            self.on_forgotten(task, outbox)

    def forget_framework(self, framework_id: FrameworkId, outbox: Outbox) -> None:
        """Forget a framework that has nothing here any more."""
        here = self.frameworks[framework_id]
        if not here.keys and not here.executors:
            self._drop_framework(framework_id, here.removed, outbox)

    def _drop_framework(self, framework_id: FrameworkId, removed: bool, outbox: Outbox) -> None:
        known = self.frameworks.pop(framework_id, None) is not None
        seen = [key for key in self.seen if key[0] == framework_id] if removed else []
        for key in seen:
            del self.seen[key]
        if known or seen:
            outbox.records.append(FrameworkDropped(framework_id, removed))

    def _change(
        self, task: Task, state: TaskState, status: TaskStatus | None, since_ms: int | None = None
    ) -> TaskChange:
        return TaskChange(
            framework=self.frameworks[task.framework_id].info,
            task=task.info,
            state=state,
            status=status,
            since_ms=since_ms,
        )


def _matters(due_ms: int, task: Task) -> bool:
    return due_ms in (task.retry_due_ms, task.expires_ms)


def _ignore(task: Task, outbox: Outbox) -> None:
    """Nobody wants to know."""
