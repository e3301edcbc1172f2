"""Jobs with two shuffles while a worker, an executor, an agent, the leading master and the Redis primary are killed: each
answer is right.

In which order things die, and how far each job is by then, is drawn from a seed.
"""

import operator
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from mesolite.frameworks.sparklite import SparkConf, SparkContext
from tests.waiting import eventually

from .calls_rig import DEADLINE_S, KillsCluster, kills_cluster

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.xdist_group("kills"), pytest.mark.timeout(600)]

#: Partitions of the stage before the first shuffle, between the two, and behind the second.
PARTITIONS: Final = (24, 12, 6)
NUMBERS: Final = 2400
KEYS: Final = 97
#: Of one task: a job takes five seconds or more on four workers, so that every kill meets tasks at work.
TASK_S: Final = 0.4
#: For a job's answer after a kill. While an agent stays away each task that its executor is given waits for the store in vain.
ANSWER_S: Final = 120.0
#: A kill comes after so many tasks of its job have begun: in the first stage, or in the second.
FIRST, LAST = 6, 30


@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_is_right_whatever_dies_in_the_middle_of_a_shuffle(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    kills = [
        KillsCluster.kill_worker,
        KillsCluster.kill_executor,
        KillsCluster.kill_agent,
        KillsCluster.kill_master,
        KillsCluster.kill_redis,
    ]
    rng.shuffle(kills)
    conf = SparkConf().set("spark.executor.memory", "128m")
    with kills_cluster() as cluster:
        with SparkContext(cluster.redis.url, "kills", conf=conf) as sc, ThreadPoolExecutor(1) as thread:
            assert answer(sc, str(cluster.journal), 0.0) == expected(), "nothing was killed yet"
            said = [struck(cluster, kill, rng.randint(FIRST, LAST), sc, thread) for kill in kills]
        eventually(cluster.at_rest, within_s=DEADLINE_S)
    with capsys.disabled():
        sys.stdout.write(f"\n  seed {seed}: {'; '.join(said)}\n")


def test_an_answer_is_right_though_an_agent_stays_away() -> None:
    """Its executor lives on, can reach no store, and fails tasks until others get them."""
    conf = SparkConf().set("spark.executor.memory", "128m")
    with kills_cluster() as cluster:
        with SparkContext(cluster.redis.url, "away", conf=conf) as sc, ThreadPoolExecutor(1) as thread:
            for place in (FIRST, LAST):
                said = struck(cluster, kill_first_agent, place, sc, thread)
                assert said
                cluster.agents[0].start_again()
                assert answer(sc, str(cluster.journal), 0.0) == expected()
        eventually(cluster.at_rest, within_s=DEADLINE_S)


def kill_first_agent(cluster: KillsCluster) -> None:
    """Kill it, and start it no more."""
    cluster.agents[0].kill()


def struck(
    cluster: KillsCluster,
    kill: Callable[[KillsCluster], None],
    place: int,
    sc: SparkContext,
    thread: ThreadPoolExecutor,
) -> str:
    """Kill while a job runs, and see that its answer is right; return what happened."""
    before = len(cluster.began())
    job = thread.submit(answer, sc, str(cluster.journal), TASK_S)
    eventually(lambda: job.done() or len(cluster.began()) >= before + place, within_s=DEADLINE_S)
    assert not job.done(), f"the job was over before {kill.__name__}"
    struck_s = time.monotonic()
    kill(cluster)
    assert job.result(ANSWER_S) == expected(), kill.__name__
    tasks = len(cluster.began()) - before
    return f"{kill.__name__} at task {place} of {tasks}, answer {time.monotonic() - struck_s:.1f} s later"


def answer(sc: SparkContext, journal: str, seconds: float) -> list[tuple[int, int]]:
    """Sum numbers by key, and sums by what is left of the key; each task notes that it begins, and takes its time."""
    first, second, third = PARTITIONS
    slow = noted(journal, seconds)
    sums = sc.parallelize(range(NUMBERS), first).mapPartitionsWithIndex(slow)
    by_key = sums.map(lambda number: (number % KEYS, number)).reduceByKey(operator.add, second)
    again = (
        by_key.mapPartitionsWithIndex(slow).map(lambda pair: (pair[0] % 10, pair[1])).reduceByKey(operator.add, third)
    )
    return sorted(again.mapPartitionsWithIndex(slow).collect())


def expected() -> list[tuple[int, int]]:
    """The same without any of it."""
    sums: dict[int, int] = {}
    for number in range(NUMBERS):
        key = number % KEYS % 10
        sums[key] = sums.get(key, 0) + number
    return sorted(sums.items())


def noted(journal: str, seconds: float) -> Callable[[int, Iterator[Any]], Iterable[Any]]:
    """Return a function that is sent whole, because it is defined in another."""

    def note(index: int, items: Iterator[Any]) -> Iterable[Any]:
        import threading

        line = os.open(journal, os.O_WRONLY | os.O_APPEND)
        os.write(line, f"{index} {os.getpid()}\n".encode())
        os.close(line)
        threading.Event().wait(seconds)
        return items

    return note
