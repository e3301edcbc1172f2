"""Whether a task may be launched here: the last look before anything happens.

The master has validated the task already. This is the agent's own judgement, because it alone knows its disk and its
containers, and because whatever arrives may come from a confused peer: ids become paths, amounts become limits.
"""

from typing import Final, NamedTuple

from mesolite.executors.command import Limits, Verdict, command_error, limits_of, role_of
from mesolite.ids import AgentId, id_error
from mesolite.protocol import ExecutorInfo, FrameworkInfo, Reason, TaskInfo, TaskState
from mesolite.resources import Resource

from .ledger import NOTHING, Holding, ResourceLedger, holding_of
from .settings import MAX_LAUNCH_BYTES, MAX_TASKS

#: Tasks of one framework mostly have one of a few shapes, so that what a shape means is worked out once.
MAX_KNOWN_SHAPES: Final = 256


class Shape(NamedTuple):
    """What a task's resources mean: for the ledger, for its container, for its environment."""

    holding: Holding
    limits: Limits
    role: str
    #: Thousandths, for an executor's container, whose limits are a sum.
    cpus_milli: int
    mem_milli: int
    #: In whole units, and like ports: as an executor is told of them.
    shown: dict[str, float]
    shown_ranges: dict[str, tuple[tuple[int, int], ...]]

    @classmethod
    def of(cls, resources: tuple[Resource, ...]) -> "Shape | str":
        """Work it out, or say what is wrong with the resources."""
        holding = holding_of(resources)
        if isinstance(holding, str):
            return holding
        scalars = dict(holding.scalars)
        return cls(
            holding,
            limits_of(resources),
            role_of(resources),
            scalars.get("cpus", 0),
            scalars.get("mem", 0),
            {name: amount / 1000 for name, amount in holding.scalars},
            {name: tuple(pairs) for name, pairs in holding.ranges},
        )


#: Of a task that was refused, and so has no container.
SHAPELESS: Final = Shape(NOTHING, limits_of(()), "*", 0, 0, {}, {})


class Admission:
    """Decides launches; changes nothing but its memory of shapes."""

    def __init__(self, agent_id: AgentId) -> None:
        self._agent_id: Final = agent_id
        #: Why the disk takes nothing more; empty when there is room.
        self.shortage = ""
        #: Why containers cannot be started; empty while they can.
        self.trouble = ""
        #: Why this agent launches nothing any more; empty while it goes on.
        self.farewell = ""
        #: The machine went down, perhaps with the newest records, and what is sent now was sent before (`AgentRecord`): what is
        #: not known to have begun may have.
        self.forgetful = False
        self._shapes: dict[tuple[Resource, ...], Shape | str] = {}

    def decide(
        self, framework: FrameworkInfo, task: TaskInfo, ledger: ResourceLedger, tasks: int, removed: bool
    ) -> Shape | Verdict:
        """Return what the task's resources mean, or what its refusal is called.

        Args:
            tasks: How many there are already.
            removed: The framework was shut down here.
        """
        error = self._task_error(framework, task) or _command_task_error(task)
        if error is not None:
            return invalid(error)
        refused = self._launches_nothing(removed) or self._starts_nothing() or self._is_full(tasks)
        if refused is not None:
            return refused
        shape = self._shape(task.resources)
        if isinstance(shape, str):
            return invalid(shape)
        missing = ledger.shortage(shape.holding)
        return no_room(missing) if missing is not None else shape

    def decide_for_executor(
        self, framework: FrameworkInfo, task: TaskInfo, tasks: int, removed: bool
    ) -> Shape | Verdict:
        """As `decide`, of a task that an executor is to run, without a look at the room there is."""
        error = self._task_error(framework, task) or _executor_task_error(task)
        if error is not None:
            return invalid(error)
        refused = self._launches_nothing(removed) or self._is_full(tasks)
        if refused is not None:
            return refused
        shape = self._shape(task.resources)
        return invalid(shape) if isinstance(shape, str) else shape

    def decide_executor(self, executor: ExecutorInfo) -> Shape | Verdict:
        """As `decide`, of an executor that is to be launched, without a look at the room there is."""
        error = _executor_error(executor)
        if error is not None:
            return invalid(error)
        refused = self._starts_nothing()
        if refused is not None:
            return refused
        shape = self._shape(executor.resources)
        return invalid(f"the executor's {shape}") if isinstance(shape, str) else shape

    def shape(self, resources: tuple[Resource, ...]) -> Shape:
        """Return what resources mean that were admitted once, perhaps by an earlier version with other rules."""
        shape = self._shape(resources)
        return shape if isinstance(shape, Shape) else SHAPELESS

    def _shape(self, resources: tuple[Resource, ...]) -> Shape | str:
        known = self._shapes.get(resources)
        if known is None:
            known = Shape.of(resources)
            if len(self._shapes) >= MAX_KNOWN_SHAPES:
                self._shapes.clear()
            self._shapes[resources] = known
        return known

    def _launches_nothing(self, removed: bool) -> Verdict | None:
        if self.forgetful:
            message = "the agent's machine went down after this launch was sent, and may have begun it before"
            return Verdict(state=TaskState.GONE, reason=Reason.AGENT_RESTARTED, message=message)
        if removed:
            return dropped(Reason.FRAMEWORK_REMOVED, "the framework was shut down on this agent")
        if self.farewell:
            return dropped(Reason.AGENT_REMOVED, f"the agent is leaving the cluster: {self.farewell}")
        if self.shortage:
            return dropped(Reason.CONTAINER_LIMITATION_DISK, self.shortage)
        return None

    def _starts_nothing(self) -> Verdict | None:
        if self.trouble:
            return dropped(Reason.CONTAINER_LAUNCH_FAILED, f"the agent can start nothing now: {self.trouble}")
        return None

    def _is_full(self, tasks: int) -> Verdict | None:
        if tasks >= MAX_TASKS:
            return dropped(Reason.CONTAINER_LIMITATION, f"the agent has {MAX_TASKS} tasks, which is its limit")
        return None

    def _task_error(self, framework: FrameworkInfo, task: TaskInfo) -> str | None:
        if error := id_error(framework.framework_id):
            return f"the framework id {error}"
        if error := id_error(task.task_id):
            return f"the task id {error}"
        if task.agent_id != self._agent_id:
            return f"the task is for agent {task.agent_id!r}, this is {self._agent_id!r}"
        if task.max_completion_time_ms is not None and task.max_completion_time_ms < 0:
            return "max_completion_time is negative"
        return None


def launch_bytes(task: TaskInfo) -> int:
    """Return about how many bytes a task takes in the line that tells its executor of it, before base64."""
    labels = sum(map(len, task.labels)) + sum(map(len, task.labels.values())) if task.labels else 0
    return len(task.data) + len(task.name) + labels


def _command_task_error(task: TaskInfo) -> str | None:
    if task.command is None:
        return "the task has neither a command nor an executor"
    if error := command_error(task.command):
        return f"the command {error}"
    return None


def _executor_task_error(task: TaskInfo) -> str | None:
    """T11, T12, as far as the task itself goes."""
    if task.command is not None:
        return "the task has both a command and an executor; it needs one of them"
    if task.container is not None:
        return "the task has a container, but runs in its executor's: the executor's description says what that is"
    if (size := launch_bytes(task)) > MAX_LAUNCH_BYTES:
        return f"the task has {size} bytes of data and labels; its executor can be told {MAX_LAUNCH_BYTES}"
    return None


def _executor_error(executor: ExecutorInfo) -> str | None:
    """E1, E2 (reference 2.5)."""
    if error := id_error(executor.executor_id):
        return f"the executor id {error}"
    if error := command_error(executor.command):
        return f"the executor's command {error}"
    if executor.shutdown_grace_period_ms < 0:
        return "the executor's shutdown_grace_period is negative"
    if len(executor.data) > MAX_LAUNCH_BYTES:
        return f"the executor has {len(executor.data)} bytes of data; it can be told {MAX_LAUNCH_BYTES}"
    return None


def invalid(message: str) -> Verdict:
    """Refuse what can never be launched."""
    return Verdict(state=TaskState.ERROR, reason=Reason.TASK_INVALID, message=message)


def no_room(missing: str) -> Verdict:
    """Refuse what does not fit."""
    return dropped(Reason.INVALID_OFFERS, f"the agent has no room: {missing}")


def dropped(reason: Reason, message: str) -> Verdict:
    """Refuse what may be launched another time, or elsewhere."""
    return Verdict(state=TaskState.DROPPED, reason=reason, message=message)
