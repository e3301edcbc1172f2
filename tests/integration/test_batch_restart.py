"""Batch programs with a journal that die and start again, over memory and a real Redis; the master is the dumb one."""

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from mesolite.errors import ConfigError, FrameworkError
from mesolite.frameworks import batch
from mesolite.frameworks.driver.settings import REMOVED
from mesolite.ids import FrameworkId
from mesolite.protocol import TERMINAL_STATES, TaskState
from mesolite.transport import MemoryBroker, MemoryStore, Store, open_store
from tests.integration.dumb_cluster import MasterThread
from tests.waiting import eventually

TRY_ALWAYS = batch.RetryPolicy(max_attempts=50, backoff_ms=1, max_losses=1000)

#: Argument: Redis, cluster, journal, file of results. One line for each result, written before the next is asked for.
PROGRAM = """
import sys
from mesolite.frameworks import batch
redis_url, cluster, journal, results = sys.argv[1:]
with batch.connect(redis_url, cluster, journal=journal) as connection, open(results, "a") as file:
    job = connection.submit("true", count=300, mem_mib=10, job_id="job",
                            retry=batch.RetryPolicy(max_attempts=50, backoff_ms=1, max_losses=1000))
    for result in job.results():
        print(result.index, result.state.name, connection.framework_id, file=file, flush=True)
"""


@pytest.mark.redis
def test_a_program_that_is_killed_twice_has_each_result_once_and_launches_nothing_twice(
    tmp_path: Path, redis_url: str, cluster: str
) -> None:
    """Goal: kill -9 loses and doubles nothing but the result in hand. Method: count what three lives wrote into one file."""
    written = tmp_path / "results"
    written.touch()
    arguments = [sys.executable, "-c", PROGRAM, redis_url, cluster, str(tmp_path / "journal"), str(written)]

    def lines() -> list[str]:
        return written.read_text().splitlines()

    def wrote(count: int) -> bool:
        return len(lines()) >= count

    with MasterThread(lambda: open_store(redis_url, cluster)) as master:
        for enough in (40, 120):
            program = subprocess.Popen(arguments)
            eventually(partial(wrote, enough), within_s=60)
            os.kill(program.pid, signal.SIGKILL)
            assert program.wait() == -signal.SIGKILL
        subprocess.run(arguments, check=True, timeout=120)
        frameworks = {line.split()[2] for line in lines()}
        counts = Counter(int(line.split()[0]) for line in lines())
        assert counts.keys() == set(range(300))
        assert sum(counts.values()) <= 302, "at each death one result may have been in hand"
        assert len(frameworks) == 1, "it is one framework in all its lives"
        (dumb,) = master.masters.values()
        assert all(attempt.state in TERMINAL_STATES for attempt in dumb.attempts.values()), "something runs on"
        ended_well = Counter(
            name.split("-")[1] for name, attempt in dumb.attempts.items() if attempt.state is TaskState.FINISHED
        )
        assert ended_well == {str(index): 1 for index in range(300)}, "a task that had succeeded was launched again"
        eventually(lambda: FrameworkId(next(iter(frameworks))) in master.torn_down)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def connect(broker: MemoryBroker, journal: Path) -> batch.Cluster:
    def open_one() -> Store:
        return MemoryStore(broker)

    return batch.connect(open_store=open_one, journal=journal)


def submit(cluster: batch.Cluster, count: int = 20) -> batch.Job:
    return cluster.submit("true", count=count, mem_mib=10, job_id="job", retry=TRY_ALWAYS)


def test_a_block_left_by_an_exception_lets_the_tasks_run_on_for_the_next_life(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    with MasterThread(lambda: MemoryStore(broker)) as master:
        first = connect(broker, tmp_path / "j")
        seen: list[int] = []

        def fail_with_a_result_in_hand() -> None:
            with first:
                for result in submit(first).results(30):
                    seen.append(result.index)
                    if len(seen) == 3:
                        raise ValueError("the program's own bug")

        with pytest.raises(ValueError, match="own bug"):
            fail_with_a_result_in_hand()
        in_hand = seen.pop()
        assert master.torn_down == []
        with connect(broker, tmp_path / "j") as second:
            assert second.framework_id == first.framework_id
            assert [job.job_id for job in second.jobs] == ["job"]
            again = [result.index for result in submit(second).results(30)]
        assert in_hand in again, "nobody was done with it"
        assert sorted(seen + again) == list(range(20))
        eventually(lambda: first.framework_id in master.torn_down)


def test_a_finished_job_is_known_under_the_next_framework(tmp_path: Path, broker: MemoryBroker) -> None:
    with MasterThread(lambda: MemoryStore(broker)):
        with connect(broker, tmp_path / "j") as first:
            assert len(list(submit(first).results(30))) == 20
        with connect(broker, tmp_path / "j") as second:
            job = submit(second)
            assert (job.done, list(job.results(0)), job.wait(0).succeeded) == (True, [], True)
            assert second.framework_id != first.framework_id, "the first was torn down, and its id with it"


def test_the_same_id_for_another_job_is_refused(tmp_path: Path, broker: MemoryBroker) -> None:
    with MasterThread(lambda: MemoryStore(broker)):
        with connect(broker, tmp_path / "j") as first:
            submit(first)
        with connect(broker, tmp_path / "j") as second:
            with pytest.raises(ConfigError, match="was used before for another job"):
                submit(second, count=21)
            assert len(list(submit(second).results(30))) == 20
            with pytest.raises(ConfigError, match="was used before"):
                submit(second)


def test_where_the_framework_was_removed_meanwhile_the_jobs_go_on_under_a_new_one(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    """As after a program that was away for longer than its failover timeout: its tasks were killed."""
    with MasterThread(lambda: MemoryStore(broker)) as master:
        with connect(broker, tmp_path / "j") as first:
            seen = [next(submit(first, count=500).results(30)).index]
        master.masters[first.framework_id].remove(REMOVED + ": silent for too long")
        with connect(broker, tmp_path / "j") as second:
            assert second.framework_id != first.framework_id
            seen += [result.index for result in submit(second, count=500).results(60)]
        assert sorted(seen) == list(range(500))


def test_a_refusal_for_another_reason_leaves_the_journal_as_it_was(tmp_path: Path, broker: MemoryBroker) -> None:
    with MasterThread(lambda: MemoryStore(broker)) as master:
        with connect(broker, tmp_path / "j") as first:
            submit(first, count=500)
        master.refuse.set()
        with pytest.raises(FrameworkError, match="no such role"):
            connect(broker, tmp_path / "j")
        master.refuse.clear()
        with connect(broker, tmp_path / "j") as second:
            assert second.framework_id == first.framework_id
            second.jobs[0].kill()
            assert sum(second.jobs[0].wait(60).states.values()) == 500


def test_a_kill_that_died_with_the_program_is_asked_for_again(tmp_path: Path, broker: MemoryBroker) -> None:
    with MasterThread(lambda: MemoryStore(broker)) as master:
        with connect(broker, tmp_path / "j") as first:
            # More than is ever offered memory for, so that some run and most wait.
            job = first.submit("true", count=3000, cpus=3, mem_mib=1000, job_id="job")
            next(job.results(30))
            master.deaf.set()
            job.kill()
        master.deaf.clear()
        with connect(broker, tmp_path / "j") as second:
            summary = second.jobs[0].wait(60)
            assert sum(summary.states.values()) == 3000
            assert summary.states[TaskState.KILLED] > 0
