"""What a task asks for is what it gets, and what ends it is told to its caller."""

import json
from typing import Any

import pytest
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import TaskRevokedError

from mesolite.frameworks.celery.errors import CannotRunHere, MemoryLimitExceeded, Poisoned, TaskTooLarge
from tests.waiting import eventually

from .conftest import Limits
from .limits_app import GREEDY_MIB

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("celery-limits"),
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WITHIN_S = 40.0


def sent(limits: Limits, name: str, *args: Any, **options: Any) -> Any:
    """Call a task of the application."""
    return limits.app.tasks[f"limits.{name}"].apply_async(args, **options)


def error_of(result: Any) -> BaseException:
    """What its caller is told."""
    with pytest.raises(Exception) as raised:
        result.get(timeout=WITHIN_S)
    return raised.value


def state_of(limits: Limits, task_id: str) -> str:
    """What the backend says of it now."""
    return str(limits.app.AsyncResult(task_id).state)


# Containers of their own


def test_tasks_that_ask_for_it_have_a_container_each(limits: Limits) -> None:
    results = [sent(limits, "alone") for _ in range(3)]
    told = [result.get(timeout=WITHIN_S) for result in results]
    assert len({each["parent"] for each in told}) == 3, "each worker was forked in an executor of its own"
    assert {each["tz"] for each in told} == {"Asia/Tokyo"}


def test_a_task_of_its_own_is_a_mesolite_task_under_celerys_id(limits: Limits) -> None:
    result = sent(limits, "alone_waits", "gate")
    begun = limits.folder / "gate.begun"
    eventually(begun.exists, within_s=WITHIN_S)
    listed = limits.cluster.mesolite("ps").stdout
    [line] = [line for line in listed.splitlines() if result.id in line]
    assert "limits.alone_waits" in line
    (limits.folder / "gate").touch()
    assert result.get(timeout=WITHIN_S) == "gate"


def test_a_greedy_task_of_its_own_says_limit_and_peak(limits: Limits) -> None:
    error = error_of(sent(limits, "alone_eats"))
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit_mib == GREEDY_MIB


def test_a_slow_task_of_its_own_goes_over_its_time(limits: Limits) -> None:
    error = error_of(sent(limits, "alone_slow", "never"))
    assert isinstance(error, TimeLimitExceeded)


def test_a_task_of_its_own_can_be_terminated(limits: Limits) -> None:
    result = sent(limits, "alone_waits", "closed")
    begun = limits.folder / "closed.begun"
    eventually(begun.exists, within_s=WITHIN_S)
    result.revoke(terminate=True)
    assert isinstance(error_of(result), TaskRevokedError | Terminated)


# What a task asks for


def test_a_message_may_ask_for_more_and_only_for_what_it_may(limits: Limits) -> None:
    assert sent(limits, "told", headers={"mesolite": {"mem": "160MiB"}}).get(timeout=WITHIN_S)
    error = error_of(sent(limits, "told", headers={"mesolite": {"image": "evil"}}))
    assert isinstance(error, CannotRunHere)
    assert "image is not allowed to be set by messages" in str(error)
    assert sent(limits, "told").get(timeout=WITHIN_S), "the next is run"


def test_a_rule_for_a_queue_counts_for_messages_of_it(limits: Limits) -> None:
    assert sent(limits, "routed", queue="slow").get(timeout=WITHIN_S)
    [stats] = limits.app.control.inspect(timeout=5).stats().values()
    assert 160 + 48 in {executor["mem_mib"] for executor in stats["pool"]["executors"]}


@pytest.mark.parametrize("name", ["huge", "huge_alone"])
def test_a_task_too_large_for_every_agent_fails_at_once_with_the_largest(limits: Limits, name: str) -> None:
    error = error_of(sent(limits, name))
    assert isinstance(error, TaskTooLarge)
    assert "2048" in str(error)


# What ends a task


def test_a_greedy_task_fails_alone_with_limit_and_peak(limits: Limits) -> None:
    greedy, others = sent(limits, "greedy"), [sent(limits, "told") for _ in range(10)]
    error = error_of(greedy)
    assert isinstance(error, MemoryLimitExceeded)
    assert isinstance(error, WorkerLostError), "what catches Celery's own goes on to catch it"
    assert error.limit_mib == GREEDY_MIB
    assert f"{GREEDY_MIB} MiB" in str(error)
    assert all(other.get(timeout=WITHIN_S) for other in others)


def test_a_task_that_kills_its_worker_is_celerys_lost_worker(limits: Limits) -> None:
    error = error_of(sent(limits, "dies", "dies"))
    assert type(error) is WorkerLostError
    assert (limits.folder / "dies").read_text() == "begun\n"


def test_a_poison_message_is_run_three_times_and_set_aside(limits: Limits) -> None:
    error = error_of(sent(limits, "poison", "poison"))
    assert isinstance(error, Poisoned)
    assert "3 times a worker was lost under it" in str(error)
    assert (limits.folder / "poison").read_text() == "begun\n" * 3


def test_a_message_that_was_set_aside_is_listed_with_its_reason_and_runs_again_when_it_is_put_back(
    limits: Limits,
) -> None:
    result = sent(limits, "poison", "forgivable")
    assert isinstance(error_of(result), Poisoned)
    command = ("celery-aside", "--broker", limits.broker)
    listed = json.loads(limits.cluster.mesolite(*command, "--json", check=True).stdout)
    [entry] = [each for each in listed if each["task_id"] == result.id]
    assert (entry["task"], entry["queue"]) == ("limits.poison", "celery")
    assert entry["why"].startswith("3 times a worker was lost under it")
    (limits.folder / "forgivable.forgiven").touch()
    assert "1 put back" in limits.cluster.mesolite(*command, "--requeue", result.id, check=True).stdout
    eventually(lambda: state_of(limits, result.id) == "SUCCESS", within_s=WITHIN_S)
    assert result.id not in limits.cluster.mesolite(*command).stdout
