"""`mesolite celery` on a real RabbitMQ: what Celery promises, and what comes of lost connections and of a killed dispatcher."""

import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import chord
from celery.exceptions import TaskRevokedError

from tests.waiting import eventually

from .dispatcher_rig import DispatcherRig, dispatcher_rig
from .rabbit_rig import RabbitServer, rabbit_server

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("celery-rabbit"),
    pytest.mark.timeout(300),
    # Celery leaves its clients' sockets to the collector of garbage.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Far beyond what anything here takes.
WITHIN_S = 90


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with rabbit_server() as server:
        yield server


@pytest.fixture(scope="module")
def rig(server: RabbitServer) -> Iterator[DispatcherRig]:
    with dispatcher_rig(server.url, "classic", "ranked") as rig:
        yield rig


@pytest.fixture
def key() -> str:
    """Where a test's tasks write."""
    return f"notes-{uuid4()}"


def test_tasks_and_a_chord_run_and_their_results_are_stored(rig: DispatcherRig) -> None:
    add: Any = rig.task("add")
    results = [add.delay(number, 1) for number in range(50)]
    body = chord([add.s(number, 1) for number in range(20)])(rig.task("total").s())
    assert [rig.result(each) for each in results] == list(range(1, 51))
    assert rig.result(body) == sum(range(1, 21))


def test_a_late_task_goes_back_to_its_queue_once_for_each_worker_lost_under_it(rig: DispatcherRig, key: str) -> None:
    result: Any = rig.task("dies").delay(key, 1)
    assert rig.result(result) == "lived"
    assert rig.notes(key) == [result.id] * 2


def test_a_task_that_takes_each_of_three_workers_with_it_is_given_up(rig: DispatcherRig, key: str) -> None:
    result: Any = rig.task("dies").delay(key, 1_000)
    with pytest.raises(Exception, match="3 times a worker was lost under it"):
        rig.result(result)
    assert rig.notes(key) == [result.id] * 3


def test_revoking_ends_what_runs_and_what_waits_for_its_time(rig: DispatcherRig, key: str) -> None:
    running: Any = rig.task("held").delay(key, "never")
    later: Any = rig.task("noted").apply_async((key,), countdown=3)
    rig.wait_for_notes(key, 1)
    eventually(lambda: later.id in str(rig.app.control.inspect([rig.node]).scheduled()), within_s=WITHIN_S)
    rig.app.control.revoke(later.id)
    rig.app.control.revoke(running.id, terminate=True)
    for each in (running, later):
        with pytest.raises(TaskRevokedError):
            rig.result(each)
    assert rig.notes(key) == [running.id]


def test_a_task_begins_not_before_its_time(rig: DispatcherRig, key: str) -> None:
    began_s = time.monotonic()
    rig.result(rig.task("noted").apply_async((key,), countdown=2))
    assert time.monotonic() - began_s >= 2


@pytest.mark.parametrize("name", ["held", "held_late"])
def test_what_runs_when_the_broker_closes_the_connection_is_not_run_again(
    rig: DispatcherRig, server: RabbitServer, key: str, name: str
) -> None:
    """RabbitMQ delivers the late ones again, at once: the dispatcher knows that it has them."""
    results = [rig.task(name).delay(key, f"{key}-go") for _ in range(6)]
    rig.wait_for_notes(key, 6)
    server.close_connections()
    after: Any = rig.task("add").delay(1, 1)
    assert rig.result(after) == 2
    rig.redis.set(f"{key}-go", "1")
    assert [rig.result(each) for each in results] == ["held"] * 6
    eventually(lambda: server.message_counts()["classic"] == 0, within_s=WITHIN_S)
    assert sorted(rig.notes(key)) == sorted(each.id for each in results)


def test_what_ended_while_there_was_no_connection_is_not_run_again(
    rig: DispatcherRig, server: RabbitServer, key: str
) -> None:
    """Method: the broker accepts no connection until the tasks have ended, so that their acknowledgements come too late."""
    results = [rig.task("held_late").delay(key, f"{key}-go") for _ in range(6)]
    rig.wait_for_notes(key, 6)
    with server.unreachable():
        rig.redis.set(f"{key}-go", "1")
        eventually(lambda: all(rig.redis.exists(f"celery-task-meta-{each.id}") for each in results))
    eventually(lambda: server.message_counts()["classic"] == 0, within_s=WITHIN_S)
    assert [rig.result(each) for each in results] == ["held"] * 6
    assert sorted(rig.notes(key)) == sorted(each.id for each in results)


def test_after_kill_9_the_next_life_runs_what_had_not_begun_and_nothing_twice(
    rig: DispatcherRig, server: RabbitServer, key: str
) -> None:
    held = [rig.task(name).delay(key, f"{key}-go") for name in ("held_late", "held_late", "held", "held")]
    rig.wait_for_notes(key, 4)
    later: Any = rig.task("noted").apply_async((f"{key}-later",), countdown=2)
    rig.kill_and_start()
    rig.wait_until_up()
    rig.redis.set(f"{key}-go", "1")
    assert [rig.result(each) for each in held] == ["held"] * 4
    rig.result(later)
    eventually(lambda: server.message_counts()["classic"] == 0, within_s=WITHIN_S)
    assert rig.notes(f"{key}-later") == [later.id]
    assert sorted(rig.notes(key)) == sorted(each.id for each in held)


def test_a_quorum_queue_has_all_its_tasks_at_work_at_once_and_others_at_their_time(
    server: RabbitServer, key: str
) -> None:
    """RabbitMQ keeps a consumer's prefetch count for its life, so it must not grow with the workers."""
    with dispatcher_rig(server.url, "quorum") as rig:
        began_s = time.monotonic()
        later: Any = rig.task("noted").apply_async((f"{key}-later",), countdown=3)
        results = [rig.task("held_late").delay(key, f"{key}-go") for _ in range(24)]
        rig.wait_for_notes(key, 24)
        rig.redis.set(f"{key}-go", "1")
        assert [rig.result(each) for each in results] == ["held"] * 24
        rig.result(later)
        assert time.monotonic() - began_s >= 3
        eventually(lambda: server.message_counts()["quorum"] == 0, within_s=WITHIN_S)
        assert len(rig.notes(key)) == 24


def test_messages_of_a_ranked_queue_come_by_their_priority(rig: DispatcherRig, server: RabbitServer, key: str) -> None:
    rig.app.control.cancel_consumer("ranked", destination=[rig.node], reply=True, timeout=10)
    noted: Any = rig.task("noted")
    low = [noted.apply_async((key,), queue="ranked", priority=1) for _ in range(30)]
    high = noted.apply_async((key,), queue="ranked", priority=9)
    eventually(lambda: server.message_counts()["ranked"] == 31)
    rig.app.control.add_consumer("ranked", destination=[rig.node], reply=True, timeout=10)
    sent = {each.id for each in (*low, high)}
    for each in (*low, high):
        rig.result(each)
    # It was sent last. Where there are workers for all, they begin in any order.
    received = [task_id for task_id in re.findall(r"Task noted\[(.+?)\] received", rig.log) if task_id in sent]
    assert received[0] == high.id
