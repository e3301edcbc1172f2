"""The command executor: what a task with a command becomes as a process, and what its end means.

One container per task and no code of ours inside, so there is nothing to run here, only to decide: which argument vector,
which environment, which limits, and which state follows from how the process ended. The agent turns the answers into a
container (mesos `src/launcher/executor.cpp` and `src/docker/executor.cpp` do both inside a process of their own).
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from mesolite.ids import AgentId, ContainerId, FrameworkId
from mesolite.protocol import CommandInfo, ContainerStatus, Reason, TaskInfo, TaskState
from mesolite.resources import Resource

#: The least CPU quota: a cgroup quota below 1 ms in its 100 ms period is refused by the kernel (reference 1.17).
MIN_CPUS_MILLI: Final = 10
#: The least memory limit: less cannot hold a process at all (Docker itself refuses below 6 MB).
MIN_MEM_MIB: Final = 4
#: The limit of a task that holds no memory resource: Mesos's floor for Docker tasks (reference 1.17).
UNSTATED_MEM_MIB: Final = 32
#: Kill grace where neither the kill nor the task names one (reference 1.13).
DEFAULT_GRACE_MS: Final = 3000
#: Killing cannot be put off for longer than this, whatever a peer asks: a day.
MAX_GRACE_MS: Final = 86_400_000

_MILLI: Final = 1000
_MIB: Final = 1024 * 1024
#: A death by signal N shows as exit code 128 + N, as in a shell.
_SIGNAL_BASE: Final = 128


class KillCause(enum.Enum):
    """Why a task is being killed. The first cause stands: a later one does not change what the end will be called."""

    REQUEST = "REQUEST"
    TIME_LIMIT = "TIME_LIMIT"
    FRAMEWORK_REMOVED = "FRAMEWORK_REMOVED"
    OPERATOR = "OPERATOR"
    AGENT_SHUTDOWN = "AGENT_SHUTDOWN"


class Limits(Struct, frozen=True, kw_only=True, gc=False):
    """The hard limits of a task's container."""

    #: Thousandths of a CPU, at least MIN_CPUS_MILLI.
    cpus_milli: int
    #: Swap included, at least MIN_MEM_MIB.
    mem_mib: int


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """How a task's process ended."""

    #: 0..255; 128 + signal; None when it could not be learnt.
    exit_code: int | None = None
    #: The memory limit killed a process of it.
    oom_killed: bool = False
    peak_mem_bytes: int | None = None
    #: What the containerizer adds for the user.
    message: str = ""
    #: The first process ran at all.
    started: bool = True


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """What an end is called."""

    state: TaskState
    reason: Reason | None = None
    message: str = ""


def command_error(command: CommandInfo) -> str | None:
    """Say what is wrong with a command, or None where it can be executed.

    Returns:
        A sentence fragment that completes "the command ...".
    """
    if command.shell and not command.value:
        return "has no value for the shell to run"
    if not command.shell and not command.value and not command.arguments:
        return "names no executable"
    for text in (command.value or "", command.user or "", *command.arguments):
        if "\0" in text:
            return "contains a NUL character"
    for name, value in command.environment.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            return f"has an environment variable that cannot be set: {name[:64]!r}"
    return None


def argv_of(command: CommandInfo) -> tuple[str, ...]:
    """Return the argument vector of a well-formed command.

    With `shell` it is `sh -c value`. Without, `value` is the executable and replaces the first of `arguments`, which by
    Mesos's convention only repeats its name.
    """
    if command.shell:
        return ("sh", "-c", command.value or "")
    if command.value:
        return (command.value, *command.arguments[1:])
    return command.arguments


def environment_of(
    framework_id: FrameworkId,
    task: TaskInfo,
    command: CommandInfo,
    *,
    agent_id: AgentId,
    container_id: ContainerId,
    role: str,
) -> dict[str, str]:
    """Return the task's variables and those that tell it who and where it is; ours win over the task's.

    MESOS_SANDBOX is left to the containerizer, which alone knows where the sandbox appears inside.
    """
    return {
        **command.environment,
        "MESOS_FRAMEWORK_ID": framework_id,
        "MESOS_TASK_ID": task.task_id,
        "MESOS_AGENT_ID": agent_id,
        "MESOS_CONTAINER_NAME": container_id,
        "MESOS_ALLOCATION_ROLE": role,
    }


def limits_of(resources: Iterable[Resource]) -> Limits:
    """Return the limits that a task's resources mean: CPUs as they are, memory rounded up to a whole MiB."""
    cpus_milli = 0
    mem_milli = 0
    for resource in resources:
        if resource.scalar is None:
            continue
        if resource.name == "cpus":
            cpus_milli += resource.scalar
        elif resource.name == "mem":
            mem_milli += resource.scalar
    return limits_of_amounts(cpus_milli, mem_milli)


def limits_of_amounts(cpus_milli: int, mem_milli: int) -> Limits:
    """Return the limits that so much of both means, in thousandths of a CPU and of a MiB."""
    mem_mib = max(MIN_MEM_MIB, -(-mem_milli // _MILLI)) if mem_milli else UNSTATED_MEM_MIB
    return Limits(cpus_milli=max(MIN_CPUS_MILLI, cpus_milli), mem_mib=mem_mib)


def role_of(resources: Iterable[Resource]) -> str:
    """Return the role that a task's resources are allocated to: one, after validation; `*` where none is named."""
    return min((each.allocation_role for each in resources if each.allocation_role is not None), default="*")


def grace_of(task: TaskInfo, asked_ms: int | None) -> int:
    """Return the kill grace: what the kill asks for, else the task's policy, else Mesos's default; within bounds."""
    grace_ms = asked_ms
    if grace_ms is None:
        grace_ms = task.kill_policy.grace_period_ms if task.kill_policy is not None else DEFAULT_GRACE_MS
    return min(max(grace_ms, 0), MAX_GRACE_MS)


def verdict_of(outcome: Outcome, cause: KillCause | None, limits: Limits) -> Verdict:
    """Name the end of a process (reference 1.7, last paragraph; that order).

    The time limit is named first; a kill shows as KILLED whatever the exit code; then what ended by itself: by the memory
    limit, well, or badly.
    """
    if cause is KillCause.TIME_LIMIT:
        return Verdict(
            state=TaskState.FAILED,
            reason=Reason.MAX_COMPLETION_TIME_REACHED,
            message="the task ran longer than its max_completion_time",
        )
    if cause is not None:
        return _killed(outcome, cause)
    if outcome.oom_killed:
        peak = f"; its peak was {outcome.peak_mem_bytes / _MIB:.1f} MiB" if outcome.peak_mem_bytes is not None else ""
        return Verdict(
            state=TaskState.FAILED,
            reason=Reason.CONTAINER_LIMITATION_MEMORY,
            message=f"the task exceeded its memory limit of {limits.mem_mib} MiB{peak}",
        )
    if outcome.exit_code == 0:
        return Verdict(state=TaskState.FINISHED, message=outcome.message)
    return Verdict(
        state=TaskState.FAILED,
        reason=Reason.COMMAND_EXECUTOR_FAILED,
        message=_joined(_how_it_failed(outcome.exit_code), outcome.message),
    )


def container_status_of(container_id: ContainerId, limits: Limits, outcome: Outcome | None) -> ContainerStatus:
    """Return what a status tells of its container; `outcome` is None while it runs."""
    return ContainerStatus(
        container_id=container_id,
        exit_code=outcome.exit_code if outcome is not None else None,
        peak_mem_bytes=outcome.peak_mem_bytes if outcome is not None else None,
        mem_limit_mib=limits.mem_mib,
    )


_KILL_MESSAGES: Final[Mapping[KillCause, str]] = {
    KillCause.REQUEST: "",
    KillCause.FRAMEWORK_REMOVED: "the framework was removed",
    KillCause.OPERATOR: "an operator ended the task",
    KillCause.AGENT_SHUTDOWN: "the agent was told to stop for good",
}


def _killed(outcome: Outcome, cause: KillCause) -> Verdict:
    reason = Reason.FRAMEWORK_REMOVED if cause is KillCause.FRAMEWORK_REMOVED else None
    if reason is None and not outcome.started:
        reason = Reason.TASK_KILLED_DURING_LAUNCH
    return Verdict(
        state=TaskState.KILLED, reason=reason, message=_joined(_KILL_MESSAGES.get(cause, ""), outcome.message)
    )


def _how_it_failed(exit_code: int | None) -> str:
    if exit_code is None:
        return "the command ended; its exit code could not be learnt"
    if exit_code > _SIGNAL_BASE:
        return f"the command was ended by signal {exit_code - _SIGNAL_BASE}"
    return f"the command exited with code {exit_code}"


def _joined(first: str, second: str) -> str:
    return f"{first}: {second}" if first and second else first or second
