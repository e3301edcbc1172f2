"""sparklite on a real cluster of two agents: what only real workers, executors and stores can show."""

import json
import operator
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.frameworks.sparklite import BarrierTaskContext, SparkConf, SparkContext
from mesolite.frameworks.sparklite.errors import JobCancelled, JobFailed
from mesolite.frameworks.sparklite.listener import SparkEvent, TaskStarted
from mesolite.operator import OperatorClient
from tests.contract.futures_pools import process_cluster
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("sparklite"), pytest.mark.timeout(180)]

#: For whatever a busy machine takes its time for.
PATIENCE_S = 100.0


@pytest.fixture(scope="module")
def address() -> Iterator[ClusterAddress]:
    with process_cluster() as started:
        yield started


def conf_of() -> SparkConf:
    """Four workers at most, small ones; each agent has room for two."""
    return SparkConf().setAll(
        [("spark.executor.memory", "200m"), ("spark.executor.cores", "2"), ("spark.cores.max", "8")]
    )


@pytest.fixture(scope="module")
def sc(address: ClusterAddress) -> Iterator[SparkContext]:
    conf = conf_of().setExecutorEnv("COLOR", "red")
    with SparkContext(address.redis_url, "cluster", conf=conf) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that workers can write to, whoever they are."""
    with tempfile.TemporaryDirectory(prefix="mesolite-open-") as path:
        Path(path).chmod(0o777)
        yield Path(path)


def test_a_shuffle_between_agents_gives_the_right_sums(sc: SparkContext) -> None:
    pairs = sc.parallelize(range(10_000), 16).map(lambda number: (f"key {number % 100}", number))
    sums = dict(pairs.reduceByKey(operator.add, 8).collect())
    assert sums == {f"key {key}": sum(range(key, 10_000, 100)) for key in range(100)}


def test_all_workers_hash_alike_and_have_the_environment_that_was_set(sc: SparkContext) -> None:
    seen = sc.parallelize(range(16), 16).map(lambda _: (hash("text"), os.environ.get("COLOR"))).collect()
    assert len(set(seen)) == 1
    assert seen[0][1] == "red"


def test_both_agents_work(sc: SparkContext) -> None:
    def where(_: Any) -> str:
        threading.Event().wait(0.2)
        return os.environ["MESOS_AGENT_ID"]

    assert len(set(sc.parallelize(range(16), 16).map(where).collect())) == 2


def test_a_large_result_comes_by_way_of_a_store(sc: SparkContext) -> None:
    parts = sc.parallelize(range(4), 4).map(lambda number: bytes([number]) * 3_000_000).collect()
    assert [(part[0], len(part)) for part in parts] == [(number, 3_000_000) for number in range(4)]


def test_a_task_that_is_out_of_memory_is_named_with_limit_and_peak(sc: SparkContext) -> None:
    def eat(number: int) -> int:
        return len(bytearray(600 * 1024 * 1024)) if number == 2 else number

    with pytest.raises(JobFailed, match="out of memory") as caught:
        sc.parallelize(range(4), 4).map(eat).collect()
    text = str(caught.value)
    for part in ("partition 2", "limit 200 MiB", "peak", "spark.executor.memory"):
        assert part in text


def test_a_worker_that_dies_once_costs_nothing(sc: SparkContext, folder: Path) -> None:
    mark = str(folder / "died")

    def die_once(number: int) -> int:
        if number == 5 and not os.path.exists(mark):  # noqa: PTH110 - sent by value: the less it names the better
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
            os._exit(3)
        return number

    assert sc.parallelize(range(8), 8).map(die_once).collect() == list(range(8))


def test_a_task_whose_worker_dies_each_time_fails_its_job_with_the_workers_end(sc: SparkContext) -> None:
    with pytest.raises(JobFailed, match=r"tried 4 times.*(exit|status|code) ?3"):
        sc.parallelize([1], 1).map(lambda number: os._exit(3)).collect()
    assert sc.parallelize([1, 2], 2).collect() == [1, 2]


def test_cancelled_tasks_leave_their_workers(sc: SparkContext, folder: Path) -> None:
    def run() -> Any:
        sc.setJobGroup("slow", "waits for ever")
        return sc.parallelize(range(8), 8).map(endless(str(folder))).collect()

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(run)
        try:
            eventually(lambda: len(list(folder.iterdir())) >= 2, within_s=PATIENCE_S)
        finally:
            # Whatever went wrong: what waits for ever would take the other tests' workers.
            sc.cancelJobGroup("slow")
        with pytest.raises(JobCancelled):
            waiting.result(PATIENCE_S)
    assert sc.parallelize(range(8), 8).collect() == list(range(8))


def endless(folder: str) -> Callable[[int], int]:
    def wait(number: int) -> int:
        os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        threading.Event().wait(600)
        return number

    return wait


def test_a_broadcast_value_reaches_the_workers_of_all_agents(sc: SparkContext) -> None:
    value = sc.broadcast(dict.fromkeys(range(5000), "x" * 1000))

    def look(number: int) -> tuple[int, str]:
        threading.Event().wait(0.1)
        return len(value.value[number]), os.environ["MESOS_AGENT_ID"]

    looked = sc.parallelize(range(16), 16).map(look).collect()
    assert {size for size, _ in looked} == {1000}
    assert len({agent for _, agent in looked}) == 2
    value.destroy()


def test_accumulators_count_each_task_once_though_workers_die(sc: SparkContext, folder: Path) -> None:
    seen = sc.accumulator(0)
    mark = str(folder / "died")

    def count(number: int) -> None:
        seen.add(1)
        if number == 7 and not os.path.exists(mark):  # noqa: PTH110 - as above
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
            os._exit(1)

    sc.parallelize(range(20), 5).foreach(count)
    assert seen.value == 20


def test_what_is_persisted_is_computed_once_and_read_where_it_is(sc: SparkContext, folder: Path) -> None:
    def note(number: int) -> int:
        line = os.open(f"{folder_name}/computed", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        os.write(line, b"x")
        os.close(line)
        return number

    folder_name = str(folder)
    places = Places()
    sc.add_listener(places)
    kept = sc.parallelize(range(40), 8).map(note).persist(StorageLevel.DISK_ONLY)
    assert kept.count() == 40
    places.agents.clear()
    first = kept.map(operator.neg).sum(), dict(places.agents)
    places.agents.clear()
    second = kept.map(operator.neg).sum(), dict(places.agents)
    assert first == second, "tasks run where their partitions are"
    assert len((folder / "computed").read_bytes()) == 40
    kept.unpersist()
    assert kept.count() == 40
    assert len((folder / "computed").read_bytes()) == 80


class Places:
    """A listener that remembers on which agent each partition ran last."""

    def __init__(self) -> None:
        self.agents: dict[int, str] = {}

    def heard(self, event: SparkEvent) -> None:
        """See `SparkListener`."""
        if isinstance(event, TaskStarted):
            self.agents[event.partition] = event.agent_id

    def close(self) -> None:
        """See `SparkListener`."""


def test_tasks_of_a_barrier_stage_meet(sc: SparkContext) -> None:
    def meet(items: Iterator[int]) -> Iterator[tuple[int, int]]:
        context = BarrierTaskContext.get()
        told = context.allGather(str(context.partitionId()))
        yield len(told), len(context.getTaskInfos())

    assert sc.parallelize(range(3), 3).barrier().mapPartitions(meet).collect() == [(3, 3)] * 3


def test_several_threads_share_the_workers(sc: SparkContext) -> None:
    with ThreadPoolExecutor(4) as threads:

        def run(number: int) -> int:
            return sc.parallelize(range(number), 4).map(lambda each: (each % 3, 1)).reduceByKey(operator.add).count()

        sums = threads.map(run, [10] * 12)
        assert list(sums) == [3] * 12


def test_a_worker_too_large_for_any_agent_is_refused_with_the_sizes(address: ClusterAddress) -> None:
    conf = conf_of().set("spark.executor.memory", "100g")
    with (
        SparkContext(address.redis_url, "large", conf=conf) as sc,
        pytest.raises(JobFailed, match="no agent is large enough"),
    ):
        sc.parallelize([1]).collect()


def test_one_result_above_the_limit_fails_at_once(address: ClusterAddress) -> None:
    conf = conf_of().set("spark.driver.maxResultSize", "1m")
    with SparkContext(address.redis_url, "bounded", conf=conf) as sc:
        with pytest.raises(JobFailed, match=r"tried once.*spark\.driver\.maxResultSize"):
            sc.parallelize([1], 1).map(lambda number: os.urandom(3_000_000)).collect()
        assert sc.parallelize([1]).collect() == [1]


def test_nothing_is_left_when_the_context_was_stopped(address: ClusterAddress) -> None:
    client = OperatorClient(address.master_url)
    with SparkContext(address.redis_url, "short", conf=conf_of()) as sc:
        framework_id = sc.applicationId
        assert sc.defaultParallelism == 4
        assert sc.parallelize(range(100)).map(lambda number: (number, 1)).groupByKey().count() == 100
    eventually(
        lambda: framework_id not in [framework.framework_id for framework in client.frameworks()], within_s=PATIENCE_S
    )
    assert not client.tasks(framework_id=framework_id)


def test_a_password_in_the_masters_address_is_shown_to_nobody(sc: SparkContext) -> None:
    password = sc_password(sc)
    assert password
    assert password not in repr(sc) + sc.master + str(sc.getConf().getAll())


def sc_password(sc: SparkContext) -> str:
    """Of the cluster's Redis, from the backend's own books."""
    url: str = vars(vars(sc)["_backend"])["_place"].redis_url
    return url.partition("@")[0].rpartition(":")[2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_gibibyte_is_sorted_in_64_mib(address: ClusterAddress) -> None:
    """Workers may hold 200 MiB, their interpreters not counted, and would be ended beyond; each of four ranges has 256 MiB."""
    makers, lines_each, ranges = 32, 335_545, 4

    def lines(maker: int) -> Iterator[str]:
        source = random.Random(maker)
        return (f"{source.getrandbits(396):099x}" for _ in range(lines_each))

    def ends(items: Iterator[str]) -> list[tuple[str, str, int]]:
        first = last = next(items)
        count = 1
        for item in items:
            assert last <= item
            last = item
            count += 1
        return [(first, last, count)]

    conf = conf_of().set("spark.python.worker.memory", "64m")
    with SparkContext(address.redis_url, "gibibyte", conf=conf) as sc:
        ordered = sc.parallelize(range(makers), makers).flatMap(lines).sortBy(str, numPartitions=ranges)
        found = ordered.mapPartitions(ends).collect()
        report = json.loads(sc.report(json=True) or "")
    assert sum(count for _, _, count in found) == makers * lines_each
    bounds = [each for first, last, _ in found for each in (first, last)]
    assert bounds == sorted(bounds)
    totals = [stage["totals"] for stage in report["stages"]]
    assert max(each["shuffle_write_bytes"] for each in totals) >= 2**29, "half of it is left after compression"
    assert sum(each["spilled_bytes"] for each in totals) >= 2**28
