"""Whether a task may be launched here: the last look before anything happens.

The master has validated the task already. This is the agent's own judgement, because it alone knows its disk and its
containers, and because whatever arrives may come from a confused peer: ids become paths, amounts become limits.
"""

from typing import Final, NamedTuple

from mesolite.executors.command import Limits, Verdict, command_error, limits_of, role_of
from mesolite.ids import AgentId, id_error
from mesolite.protocol import FrameworkInfo, Reason, TaskInfo, TaskState
from mesolite.resources import Resource

from .ledger import NOTHING, Holding, ResourceLedger, holding_of
from .settings import MAX_TASKS

#: Tasks of one framework mostly have one of a few shapes, so that what a shape means is worked out once.
MAX_KNOWN_SHAPES: Final = 256


class Shape(NamedTuple):
    """What a task's resources mean: for the ledger, for its container, for its environment."""

    holding: Holding
    limits: Limits
    role: str

    @classmethod
    def of(cls, resources: tuple[Resource, ...]) -> "Shape | str":
        """Work it out, or say what is wrong with the resources."""
        holding = holding_of(resources)
        if isinstance(holding, str):
            return holding
        return cls(holding, limits_of(resources), role_of(resources))


#: Of a task that was refused, and so has no container.
SHAPELESS: Final = Shape(NOTHING, limits_of(()), "*")


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
        self._shapes: dict[tuple[Resource, ...], Shape | str] = {}

    def decide(
        self, framework: FrameworkInfo, task: TaskInfo, ledger: ResourceLedger, tasks: int, removed: bool
    ) -> Shape | Verdict:
        """Return what the task's resources mean, or what its refusal is called.

        Args:
            tasks: How many there are already.
            removed: The framework was shut down here.
        """
        error = self._malformed(framework, task)
        if error is not None:
            return Verdict(state=TaskState.ERROR, reason=Reason.TASK_INVALID, message=error)
        if removed:
            return _dropped(Reason.FRAMEWORK_REMOVED, "the framework was shut down on this agent")
        if self.farewell:
            return _dropped(Reason.AGENT_REMOVED, f"the agent is leaving the cluster: {self.farewell}")
        if self.shortage:
            return _dropped(Reason.CONTAINER_LIMITATION_DISK, self.shortage)
        if self.trouble:
            return _dropped(Reason.CONTAINER_LAUNCH_FAILED, f"the agent can start nothing now: {self.trouble}")
        if tasks >= MAX_TASKS:
            return _dropped(Reason.CONTAINER_LIMITATION, f"the agent has {MAX_TASKS} tasks, which is its limit")
        shape = self._shape(task)
        if isinstance(shape, str):
            return Verdict(state=TaskState.ERROR, reason=Reason.TASK_INVALID, message=shape)
        missing = ledger.shortage(shape.holding)
        if missing is not None:
            return _dropped(Reason.INVALID_OFFERS, f"the agent has no room: {missing}")
        return shape

    def shape(self, task: TaskInfo) -> Shape:
        """Return what the resources of a task mean that was admitted once, perhaps by an earlier version with other rules."""
        shape = self._shape(task)
        return shape if isinstance(shape, Shape) else SHAPELESS

    def _shape(self, task: TaskInfo) -> Shape | str:
        known = self._shapes.get(task.resources)
        if known is None:
            known = Shape.of(task.resources)
            if len(self._shapes) >= MAX_KNOWN_SHAPES:
                self._shapes.clear()
            self._shapes[task.resources] = known
        return known

    def _malformed(self, framework: FrameworkInfo, task: TaskInfo) -> str | None:
        if error := id_error(framework.framework_id):
            return f"the framework id {error}"
        if error := id_error(task.task_id):
            return f"the task id {error}"
        if task.agent_id != self._agent_id:
            return f"the task is for agent {task.agent_id!r}, this is {self._agent_id!r}"
        if task.executor is not None:
            return "the task asks for an executor of its own; this agent runs tasks with a command"
        if task.command is None:
            return "the task has no command"
        if error := command_error(task.command):
            return f"the command {error}"
        if task.max_completion_time_ms is not None and task.max_completion_time_ms < 0:
            return "max_completion_time is negative"
        return None


def _dropped(reason: Reason, message: str) -> Verdict:
    return Verdict(state=TaskState.DROPPED, reason=reason, message=message)
