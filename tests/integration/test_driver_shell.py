"""Driver shells and the batch framework against a master of few words, over memory and over a real Redis.

The master is the dumb one of the unit tests, in a thread: it reads the calls stream and writes the framework's.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from mesolite.errors import FrameworkError, MasterUnavailable
from mesolite.frameworks import batch
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.frameworks.driver.shell import DriverShell
from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import (
    EventBatch,
    FrameworkInfo,
    TaskState,
    decode_dead_letter,
    encode,
)
from mesolite.transport import BEGINNING, MemoryBroker, MemoryStore, Store, open_store
from mesolite.transport.keys import DEAD_LETTERS, framework_stream
from tests.integration.dumb_cluster import MasterThread
from tests.waiting import eventually

OpenStore = Callable[[], Store]
FRAMEWORK = FrameworkInfo(framework_id=FrameworkId("shell-test"), name="shell-test")


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def another(request: pytest.FixtureRequest, cluster: str) -> OpenStore:
    """Opens one more handle onto the same store."""
    broker = MemoryBroker()

    def open_one() -> Store:
        # Closed by whoever asked for it; a shell's reader may be a moment behind the end of a test.
        if request.param == "memory":
            return MemoryStore(broker)
        return open_store(request.getfixturevalue("redis_url"), cluster)

    return open_one


@pytest.fixture
def master(another: OpenStore) -> Iterator[MasterThread]:
    with MasterThread(another) as running:
        yield running


def test_garbage_on_a_frameworks_stream_is_set_aside_and_the_job_goes_on(
    another: OpenStore, master: MasterThread
) -> None:
    store = another()
    with batch.connect(open_store=another) as cluster:
        store.append(framework_stream(cluster.framework_id), b"\xffgarbage", max_length=1000)
        job = cluster.submit("true", count=3, mem_mib=10, retry=batch.RetryPolicy(max_attempts=50, backoff_ms=1))
        assert job.wait(60).states == {TaskState.FINISHED: 3}
    letters = [
        decode_dead_letter(entry.payload) for entry in store.read({DEAD_LETTERS: BEGINNING}, limit=10, wait_ms=0)
    ]
    store.close()
    assert [letter.payload for letter in letters] == [b"\xffgarbage"]
    assert "not a message of this protocol" in letters[0].reason


def test_a_job_runs_to_its_results(another: OpenStore, master: MasterThread) -> None:
    with batch.connect(open_store=another) as cluster:
        job = cluster.submit("true", count=20, mem_mib=10, retry=batch.RetryPolicy(max_attempts=50, backoff_ms=1))
        results = list(job.results(timeout_s=30))
        assert sorted(result.index for result in results) == list(range(20))
        assert job.wait(timeout_s=30).succeeded
        assert list(job.results()) == [], "each result is given once"
    eventually(lambda: cluster.framework_id in master.torn_down)


def test_killing_a_job_gives_results_too(another: OpenStore, master: MasterThread) -> None:
    with batch.connect(open_store=another) as cluster:
        # More than the cluster ever offers memory for, so that most of it waits.
        job = cluster.submit("true", count=5000, cpus=3, mem_mib=1000)
        next(job.results(timeout_s=30))
        job.kill()
        summary = job.wait(timeout_s=60)
        assert sum(summary.states.values()) == 5000
        assert summary.states[TaskState.KILLED] > 0


def test_a_change_of_master_in_the_middle_is_survived(another: OpenStore, master: MasterThread) -> None:
    with batch.connect(open_store=another) as cluster:
        job = cluster.submit(
            "true", count=200, mem_mib=10, retry=batch.RetryPolicy(max_attempts=50, backoff_ms=1, max_losses=1000)
        )
        results = job.results(timeout_s=60)
        seen = [next(results).index for _ in range(10)]
        master.fail_over.set()
        seen += [result.index for result in results]
        assert sorted(seen) == list(range(200))


def test_an_exception_in_the_block_tears_the_framework_down(another: OpenStore, master: MasterThread) -> None:
    cluster = batch.connect(open_store=another)

    def interrupted() -> None:
        with cluster:
            cluster.submit("true", count=1000, cpus=3, mem_mib=1000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    eventually(lambda: cluster.framework_id in master.torn_down)


def test_a_framework_that_the_master_refuses_says_why(another: OpenStore, master: MasterThread) -> None:
    master.refuse.set()
    with pytest.raises(FrameworkError, match="no such role"):
        batch.connect(open_store=another)


def test_without_a_master_connecting_fails_in_time(another: OpenStore) -> None:
    with pytest.raises(MasterUnavailable, match="no leading master answered within 50 ms"):
        batch.connect(open_store=another, timeout_ms=50)


def test_an_outage_of_the_store_is_survived() -> None:
    broker = MemoryBroker()

    def open_one() -> Store:
        return MemoryStore(broker)

    with MasterThread(open_one), batch.connect(open_store=open_one) as cluster:
        broker.available = False
        job = cluster.submit("true", count=5, mem_mib=10)
        with pytest.raises(TimeoutError):
            job.wait(timeout_s=0.3)
        broker.available = True
        assert sum(job.wait(timeout_s=30).states.values()) == 5


class Subscriber(Scheduler):
    """Notes that it is subscribed; fails when told to."""

    def __init__(self) -> None:
        self.subscriptions = 0

    def subscribed(self, driver: SchedulerDriver) -> None:
        self.subscriptions += 1


def shell_on(another: OpenStore, scheduler: Scheduler, session: str) -> DriverShell:
    driver = SchedulerDriver(scheduler, FRAMEWORK, session=SessionId(session), rng=random.Random(1))
    return DriverShell(driver, another)


def test_a_second_scheduler_with_the_same_id_takes_over(another: OpenStore, master: MasterThread) -> None:
    first, second = Subscriber(), Subscriber()
    old = shell_on(another, first, "session-1")
    old.start()
    eventually(lambda: first.subscriptions == 1)
    new = shell_on(another, second, "session-2")
    new.start()
    eventually(lambda: not old.alive)
    eventually(lambda: second.subscriptions == 1)
    assert new.alive
    new.stop()
    new.join(10)
    assert not new.alive


def test_what_a_callback_raises_ends_the_shell_and_reaches_who_joins(another: OpenStore, master: MasterThread) -> None:
    class Failing(Subscriber):
        def subscribed(self, driver: SchedulerDriver) -> None:
            raise RuntimeError("disk full")

    shell = shell_on(another, Failing(), "session-1")
    shell.start()
    eventually(lambda: not shell.alive)
    with pytest.raises(RuntimeError, match="disk full"):
        shell.join()


def test_a_batch_that_cannot_be_read_is_skipped_and_noticed(another: OpenStore, master: MasterThread) -> None:
    subscriber = Subscriber()
    shell = shell_on(another, subscriber, "session-1")
    shell.start()
    eventually(lambda: subscriber.subscriptions == 1)
    with closing(another()) as store:
        store.append(framework_stream(FRAMEWORK.framework_id), b"garbage", max_length=100)
    master.fail_over.set()
    eventually(lambda: subscriber.subscriptions == 2)
    assert shell.alive
    shell.stop()
    shell.join(10)


@pytest.mark.parametrize("noticed", [True, False])
def test_the_stream_is_read_from_the_beginning_where_a_promoted_replica_has_forgotten_its_tail(
    monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    """Entry ids go back when a replica that lacks the newest entries is promoted; waiting for higher ones would be deaf.

    Also where no connection broke: a client that asks Sentinels now and then may move to the new primary between two reads.
    """
    monkeypatch.setattr("mesolite.frameworks.driver.shell.MAX_WAIT_MS", 20)
    broker = MemoryBroker()
    stream = framework_stream(FRAMEWORK.framework_id)
    store = MemoryStore(broker)
    old = EventBatch(session=SessionId("nobody"), epoch=1, number=1, events=())
    store.append(stream, encode(old), max_length=10)
    subscriber = Subscriber()

    def open_one() -> Store:
        return MemoryStore(broker)

    with MasterThread(open_one) as master:
        shell = shell_on(open_one, subscriber, "session-1")
        shell.start()
        eventually(lambda: subscriber.subscriptions == 1)
        broker.available = not noticed
        with broker.lock:
            # What was read is forgotten, and this machine's clock is an hour behind.
            del broker.streams[stream]
            milliseconds, sequence = broker._last  # pyright: ignore[reportPrivateUsage]
            broker._last = (milliseconds - 3_600_000, sequence)  # pyright: ignore[reportPrivateUsage]
        broker.available = True
        master.fail_over.set()
        eventually(lambda: subscriber.subscriptions >= 2)
        shell.stop()
        shell.join(10)
