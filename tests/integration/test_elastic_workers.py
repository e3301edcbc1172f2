"""Elastic workers on a real cluster: Celery's own workers as plain processes, a real Redis as their broker."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.elastic_rig import ElasticRig
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def rig(tmp_path: Path, redis_url: str) -> Iterator[ElasticRig]:
    with ElasticRig(tmp_path, redis_url) as rig:
        yield rig


def test_workers_come_with_messages_and_go_when_it_is_quiet_and_nothing_is_lost_by_it(rig: ElasticRig) -> None:
    rig.start("--max", "3", "--quiet", "3", "--per-worker-messages", "8")
    eventually(rig.statuses, within_s=30)
    assert rig.workers() == []
    rig.send("late", 30, seconds=1)
    rig.send("early", 30, seconds=1)
    eventually(lambda: len(rig.workers("up")) == 3, within_s=60)
    rig.wait_until_done()
    eventually(lambda: rig.workers() == [], within_s=60)
    assert rig.done() == rig.sent
    names = {worker["node"] for status in rig.statuses() for worker in status["workers"]}
    assert names == {f"elastic_app-{number}@mesolite" for number in (1, 2, 3)}


def test_workers_that_go_finish_what_runs_and_give_back_what_they_have_not_begun(rig: ElasticRig) -> None:
    """Method: drain while every process is busy and messages are taken ahead; what is left is for the next start.

    Nothing is lost. But Celery's warm shutdown puts a message back too that a child has just been handed and not said to have
    begun (`AsynPool.flush`), and the child runs it all the same: one for each process at most is done again. Seen with plain
    workers in 2 of 6 shutdowns, with tasks of 20 ms.
    """
    rig.start("--min", "2", "--max", "2", "--on-stop", "drain")
    eventually(lambda: len(rig.workers("up")) == 2, within_s=60)
    rig.send("early", 15, seconds=1)
    rig.send("late", 15, seconds=1)
    eventually(lambda: sum(worker["active"] or 0 for worker in rig.workers()) == 4, within_s=30)
    assert rig.signal(signal.SIGTERM) == 0
    assert rig.tasks() == []
    done = rig.done()
    assert 4 <= done.total() < 30, "nothing ran, or everything was done before they went"
    assert set(done.values()) == {1}
    rig.start("--min", "2", "--max", "2")
    rig.wait_until_done(twice_at_most=4)


def test_a_worker_that_is_killed_is_replaced_under_its_name(rig: ElasticRig) -> None:
    rig.start("--min", "1", "--max", "1")
    eventually(lambda: rig.workers("up"), within_s=60)
    (before,) = rig.workers()
    os.kill(rig.pids(before["task_id"])[0], signal.SIGKILL)
    eventually(lambda: [each for each in rig.workers("up") if each["task_id"] != before["task_id"]], within_s=60)
    (after,) = rig.workers()
    assert after["node"] == before["node"]
    rig.send("early", 10, seconds=0)
    rig.wait_until_done()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_next_start_goes_on_with_the_workers_that_run(rig: ElasticRig, how: signal.Signals) -> None:
    rig.start("--max", "2")
    rig.send("late", 30, seconds=0.5)
    eventually(lambda: len(rig.workers("up")) == 2, within_s=60)
    before = sorted(rig.tasks())
    said = len(rig.statuses())
    rig.signal(how)
    rig.start("--max", "2")
    eventually(lambda: rig.statuses()[said:] and len(rig.workers("up")) == 2, within_s=60)
    assert sorted(worker["task_id"] for worker in rig.workers()) == before == sorted(rig.tasks())
    rig.wait_until_done()


def test_another_master_changes_nothing(rig: ElasticRig) -> None:
    rig.start("--max", "3", "--per-worker-messages", "4")
    rig.send("late", 4, seconds=1)
    eventually(lambda: rig.workers("up"), within_s=60)
    before = set(rig.tasks())
    rig.replace_master()
    rig.send("early", 40, seconds=0.5)
    eventually(lambda: len(rig.workers("up")) == 3, within_s=60)
    rig.wait_until_done()
    assert before <= set(rig.tasks())


def test_an_application_that_workers_cannot_load_is_said_with_where_to_look(rig: ElasticRig) -> None:
    rig.start("--min", "1", "--env", "ELASTIC_MARKS=nonsense")
    trouble = eventually(lambda: next((each["trouble"] for each in rig.statuses() if each["trouble"]), ""), within_s=60)
    assert "elastic_app-1@mesolite: the command exited with code" in trouble
    assert "mesolite logs elastic_app-1." in trouble
