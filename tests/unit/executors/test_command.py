"""The command executor: what is executed, within which limits, and what its end is called."""

import pytest

from mesolite.executors.command import (
    MAX_GRACE_MS,
    MIN_CPUS_MILLI,
    MIN_MEM_MIB,
    UNSTATED_MEM_MIB,
    KillCause,
    Limits,
    Outcome,
    argv_of,
    command_error,
    container_status_of,
    environment_of,
    grace_of,
    limits_of,
    role_of,
    verdict_of,
)
from mesolite.ids import AgentId, ContainerId, FrameworkId, TaskId
from mesolite.protocol import CommandInfo, KillPolicy, Reason, TaskInfo, TaskState
from mesolite.resources import Resources

LIMITS = Limits(cpus_milli=100, mem_mib=64)
S = TaskState


def task(kill_policy: KillPolicy | None = None) -> TaskInfo:
    return TaskInfo(task_id=TaskId("t"), agent_id=AgentId("a"), kill_policy=kill_policy)


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (CommandInfo(value="echo $HOME; ls"), ("sh", "-c", "echo $HOME; ls")),
        (CommandInfo(value="x", arguments=("ignored",)), ("sh", "-c", "x")),
        (CommandInfo(value="/bin/ls", shell=False, arguments=("ls", "-l")), ("/bin/ls", "-l")),
        (CommandInfo(value="/bin/ls", shell=False), ("/bin/ls",)),
        (CommandInfo(shell=False, arguments=("ls", "-l")), ("ls", "-l")),
    ],
)
def test_argument_vectors(command: CommandInfo, argv: tuple[str, ...]) -> None:
    assert command_error(command) is None
    assert argv_of(command) == argv


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (CommandInfo(), "no value"),
        (CommandInfo(value=""), "no value"),
        (CommandInfo(shell=False), "no executable"),
        (CommandInfo(value="a\0b"), "NUL"),
        (CommandInfo(value="a", shell=False, arguments=("a", "\0")), "NUL"),
        (CommandInfo(value="a", user="\0"), "NUL"),
        (CommandInfo(value="a", environment={"": "x"}), "variable"),
        (CommandInfo(value="a", environment={"a=b": "x"}), "variable"),
        (CommandInfo(value="a", environment={"a": "x\0"}), "variable"),
    ],
)
def test_commands_that_cannot_be_executed(command: CommandInfo, complaint: str) -> None:
    assert complaint in (command_error(command) or "")


def test_a_task_knows_who_and_where_it_is_and_cannot_forge_it() -> None:
    command = CommandInfo(value="x", environment={"A": "1", "MESOS_AGENT_ID": "forged"})
    environment = environment_of(
        FrameworkId("f"), task(), command, agent_id=AgentId("a"), container_id=ContainerId("c"), role="web"
    )
    assert environment == {
        "A": "1",
        "MESOS_FRAMEWORK_ID": "f",
        "MESOS_TASK_ID": "t",
        "MESOS_AGENT_ID": "a",
        "MESOS_CONTAINER_NAME": "c",
        "MESOS_ALLOCATION_ROLE": "web",
    }


@pytest.mark.parametrize(
    ("resources", "cpus_milli", "mem_mib"),
    [
        ("cpus:0.5;mem:64", 500, 64),
        ("cpus:0.5;cpus(web):1;mem:64.001", 1500, 65),
        ("cpus:0.001;mem:1", MIN_CPUS_MILLI, MIN_MEM_MIB),
        ("disk:100", MIN_CPUS_MILLI, UNSTATED_MEM_MIB),
        ("cpus:2;ports:[1-5]", 2000, UNSTATED_MEM_MIB),
    ],
)
def test_limits_follow_from_resources(resources: str, cpus_milli: int, mem_mib: int) -> None:
    assert limits_of(Resources.parse(resources)) == Limits(cpus_milli=cpus_milli, mem_mib=mem_mib)


def test_the_role_is_that_of_the_allocation() -> None:
    assert role_of(Resources.parse("cpus:1")) == "*"
    assert role_of(Resources.parse("cpus:1").allocated_to("web")) == "web"


def test_the_grace_is_the_kills_then_the_tasks_then_the_default() -> None:
    assert grace_of(task(), None) == 3000
    assert grace_of(task(KillPolicy(7000)), None) == 7000
    assert grace_of(task(KillPolicy(7000)), 10) == 10
    assert grace_of(task(), -1) == 0
    assert grace_of(task(), 10**15) == MAX_GRACE_MS


@pytest.mark.parametrize("cause", [*KillCause, None])
@pytest.mark.parametrize("exit_code", [0, 1, 143, None])
@pytest.mark.parametrize("oom", [True, False])
def test_the_order_of_what_an_end_is_called(cause: KillCause | None, exit_code: int | None, oom: bool) -> None:
    """Time limit, then kill, then memory, then exit code: each hides all that follow."""
    verdict = verdict_of(Outcome(exit_code=exit_code, oom_killed=oom), cause, LIMITS)
    if cause is KillCause.TIME_LIMIT:
        assert (verdict.state, verdict.reason) == (S.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)
    elif cause is KillCause.FRAMEWORK_REMOVED:
        assert (verdict.state, verdict.reason) == (S.KILLED, Reason.FRAMEWORK_REMOVED)
    elif cause is not None:
        assert (verdict.state, verdict.reason) == (S.KILLED, None)
    elif oom:
        assert (verdict.state, verdict.reason) == (S.FAILED, Reason.CONTAINER_LIMITATION_MEMORY)
    elif exit_code == 0:
        assert (verdict.state, verdict.reason) == (S.FINISHED, None)
    else:
        assert (verdict.state, verdict.reason) == (S.FAILED, Reason.COMMAND_EXECUTOR_FAILED)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(exit_code=2), "exited with code 2"),
        (Outcome(exit_code=139), "signal 11"),
        (Outcome(exit_code=None), "could not be learnt"),
        (Outcome(exit_code=1, message="disk gone"), "code 1: disk gone"),
        (Outcome(oom_killed=True), "limit of 64 MiB"),
        (Outcome(oom_killed=True, peak_mem_bytes=3 * 512 * 1024), "peak was 1.5 MiB"),
    ],
)
def test_failures_say_what_happened(outcome: Outcome, words: str) -> None:
    assert words in verdict_of(outcome, None, LIMITS).message


def test_a_kill_before_the_first_instruction_is_a_kill_during_launch() -> None:
    verdict = verdict_of(Outcome(started=False), KillCause.REQUEST, LIMITS)
    assert (verdict.state, verdict.reason) == (S.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)


def test_the_status_of_a_container_tells_its_limit_from_the_start_and_its_end_at_the_end() -> None:
    running = container_status_of(ContainerId("c"), LIMITS, None)
    ended = container_status_of(ContainerId("c"), LIMITS, Outcome(exit_code=0, peak_mem_bytes=5))
    assert (running.mem_limit_mib, running.exit_code, running.peak_mem_bytes) == (64, None, None)
    assert (ended.mem_limit_mib, ended.exit_code, ended.peak_mem_bytes) == (64, 0, 5)
