"""Policies, specs and the table of a task's life."""

import dataclasses
import itertools

import pytest

from mesolite.errors import ConfigError, ResourceError
from mesolite.frameworks.batch.job import JobSpec
from mesolite.frameworks.batch.lifecycle import (
    CAUSE_OF_STATE,
    TRANSITIONS,
    TaskCause,
    TaskPhase,
    TaskStep,
    step_for,
)
from mesolite.frameworks.batch.retry import RetryPolicy
from mesolite.frameworks.batch.settings import MAX_TASKS_PER_JOB
from mesolite.frameworks.batch.task import TaskOptions, TaskSpec
from mesolite.protocol import Network, Reason, TaskState, Volume
from tests.unit.batch.workbench import status

TASK = TaskSpec(command="true")


@pytest.mark.parametrize(
    ("policy", "exit_code", "reason", "again"),
    [
        (RetryPolicy(), 1, None, False),
        (RetryPolicy(max_attempts=2), 1, None, True),
        (RetryPolicy(max_attempts=2, exit_codes=frozenset({75})), 75, None, True),
        (RetryPolicy(max_attempts=2, exit_codes=frozenset({75})), 1, None, False),
        (RetryPolicy(max_attempts=2, exit_codes=frozenset({75})), None, None, False),
        (
            RetryPolicy(max_attempts=2, reasons=frozenset({Reason.CONTAINER_LAUNCH_FAILED})),
            1,
            Reason.CONTAINER_LAUNCH_FAILED,
            True,
        ),
        (RetryPolicy(max_attempts=2, reasons=frozenset({Reason.CONTAINER_LAUNCH_FAILED})), 1, None, False),
        (RetryPolicy(max_losses=1), 1, Reason.AGENT_RESTARTED, True),
        (RetryPolicy(max_losses=0), 1, Reason.AGENT_RESTARTED, False),
    ],
)
def test_a_policy_chooses_by_exit_code_and_reason(
    policy: RetryPolicy, exit_code: int | None, reason: Reason | None, again: bool
) -> None:
    word = status("task-1", TaskState.FAILED, exit_code=exit_code, reason=reason)
    assert (policy.wait_ms(word, failures=1, losses=1) is not None) == again


def test_a_killed_task_is_tried_again_only_where_the_policy_names_its_state() -> None:
    word = status("task-1", TaskState.KILLED)
    assert RetryPolicy(max_attempts=5).wait_ms(word, failures=1, losses=0) is None
    naming = RetryPolicy(max_attempts=5, states=frozenset({TaskState.KILLED}))
    assert naming.wait_ms(word, failures=1, losses=0) == 1000


def test_pauses_grow_to_the_cap_and_never_beyond() -> None:
    policy = RetryPolicy(max_attempts=10_000, backoff_ms=100, backoff_cap_ms=1000)
    word = status("task-1", TaskState.FAILED)
    waits = [policy.wait_ms(word, failures=failures, losses=0) for failures in (1, 2, 3, 4, 5, 9000)]
    assert waits == [100, 200, 400, 800, 1000, 1000]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_losses": -1}, "max_losses is -1"),
        ({"backoff_ms": 10, "backoff_cap_ms": 5}, "backoff_ms is 10"),
        ({"unreachable_ms": -1}, "unreachable_ms is -1"),
    ],
)
def test_a_policy_out_of_range_is_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RetryPolicy(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_task_needs_a_command_and_resources() -> None:
    with pytest.raises(ConfigError, match="needs a command"):
        TaskSpec(command="")
    with pytest.raises(ConfigError, match="needs a command"):
        TaskSpec(command=[])
    with pytest.raises(ResourceError, match="needs some resources"):
        TaskSpec(command="true", cpus=0, mem_mib=0)
    with pytest.raises(ResourceError, match="negative"):
        TaskSpec(command="true", cpus=-1)
    with pytest.raises(ConfigError, match="max_time_ms is 0"):
        TaskSpec(command="true", max_time_ms=0)


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(command="true", image="alpine"),
        TaskSpec(command="true", volumes=[Volume("/data", "/data")]),
        TaskSpec(command="true", network=Network.HOST),
    ],
    ids=["image", "volumes", "network"],
)
def test_a_container_is_described_only_where_something_is_said_about_it(spec: TaskSpec) -> None:
    assert spec.template("job").container is not None
    assert TASK.template("job").container is None


@pytest.mark.parametrize("count", [0, MAX_TASKS_PER_JOB + 1])
def test_a_job_has_a_sensible_number_of_tasks(count: int) -> None:
    with pytest.raises(ConfigError, match="a job has 1 to"):
        JobSpec(job_id="job-1", task=TASK, count=count)


@pytest.mark.parametrize("job_id", ["a/b", "x" * 255, "tab\t"])
def test_a_job_id_must_make_task_ids(job_id: str) -> None:
    with pytest.raises(ConfigError, match="job id"):
        JobSpec(job_id=job_id, task=TASK)


def test_the_options_of_a_task_are_the_fields_of_its_spec() -> None:
    fields = {each.name for each in dataclasses.fields(TaskSpec) if each.init}
    assert set(TaskOptions.__annotations__) == fields - {"command"}


def test_every_state_has_a_meaning_for_a_task() -> None:
    assert set(CAUSE_OF_STATE) == set(TaskState)


def test_nothing_happens_to_a_task_that_is_done() -> None:
    assert {step_for(TaskPhase.DONE, cause) for cause in TaskCause} == {TaskStep.IGNORE}


def test_the_user_can_kill_a_task_in_every_phase_but_the_last() -> None:
    ignoring = [phase for phase in TaskPhase if step_for(phase, TaskCause.CANCELLED) is TaskStep.IGNORE]
    assert ignoring == [TaskPhase.DONE]


def test_an_attempt_out_of_sight_may_still_say_all_that_one_in_sight_may() -> None:
    """UNREACHABLE is no end: whatever an attempt may say while it is seen it may say when it comes back."""
    words = set(CAUSE_OF_STATE.values()) - {TaskCause.OUT_OF_SIGHT}
    for cause in words:
        assert step_for(TaskPhase.UNREACHABLE, cause) is step_for(TaskPhase.LAUNCHED, cause)


def test_a_task_without_an_attempt_listens_to_none() -> None:
    silent = (TaskPhase.BLOCKED, TaskPhase.QUEUED, TaskPhase.WAITING)
    for phase, cause in itertools.product(silent, set(CAUSE_OF_STATE.values())):
        assert (phase, cause) not in TRANSITIONS
