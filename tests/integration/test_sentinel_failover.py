"""The primary dies, hangs, is cut off or demoted, under real Sentinels: everything that talks to Redis finds the next one.

Each test has servers of its own. They take over within two or three seconds; the deadlines allow for a machine that does
much else.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.effects import SendReports
from mesolite.agent.inbox import Inbox
from mesolite.agent.reader import CommandReader
from mesolite.agent.reporter import Reporter
from mesolite.errors import MesoliteError, RedisUnavailable, Unavailable
from mesolite.frameworks import batch
from mesolite.ids import AgentId, SessionId
from mesolite.ports import LOOPBACK, free_port
from mesolite.protocol import CommandBatch, TaskState, decode_reports, encode
from mesolite.transport import BEGINNING, Append, CommandBus, Commit, Store, open_bus, open_store
from mesolite.transport.keys import reports_stream
from mesolite.transport.redis_client import connect
from tests.integration.dumb_cluster import MasterThread
from tests.integration.sentinel_rig import (
    MASTER_NAME,
    PASSWORD,
    SENTINEL_PASSWORD,
    RigProcess,
    SentinelRig,
)
from tests.leading import take_epoch
from tests.waiting import eventually

pytestmark = pytest.mark.redis

QUEUE: Final = "mesolite.agent.a"
#: From the primary's end until everything works with the next one: a Sentinel notices after 1 s, electing takes another, and
#: a client notices a silent server after 2 s. The rest is for a machine that does much else.
RECOVERY_S: Final = 12.0
#: What an answer may take that needs no failover.
PROMPT_S: Final = 4.0
PAUSE_S: Final = 0.02

Blow = Callable[[SentinelRig, RigProcess], None]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SentinelRig]:
    with SentinelRig(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opened."""
    with ExitStack() as stack:
        yield stack


def a_store(rig: SentinelRig, opened: ExitStack) -> Store:
    return opened.enter_context(closing(open_store(rig.url)))


def a_bus(rig: SentinelRig, opened: ExitStack) -> CommandBus:
    return opened.enter_context(closing(open_bus(rig.url)))


def kill(rig: SentinelRig, primary: RigProcess) -> None:
    primary.kill()


def hang(rig: SentinelRig, primary: RigProcess) -> None:
    primary.hang()


def isolate(rig: SentinelRig, primary: RigProcess) -> None:
    primary.isolate()


def demote(rig: SentinelRig, primary: RigProcess) -> None:
    rig.start_demotion()


BLOWS: Final = pytest.mark.parametrize("blow", [kill, hang, isolate, demote], ids=lambda blow: blow.__name__)


def strike(rig: SentinelRig, blow: Blow) -> RigProcess:
    """Let something happen to the primary, once the replicas have what it has; return it."""
    lost = rig.primary()
    rig.settle()
    blow(rig, lost)
    return lost


def insist(attempt: Callable[[], object], within_s: float = RECOVERY_S) -> float:
    """Try until it works; return how long that took."""
    began = time.monotonic()
    failure: MesoliteError | None = None
    pause = threading.Event()
    while time.monotonic() - began < within_s:
        try:
            attempt()
        except Unavailable as error:
            failure = error
            pause.wait(PAUSE_S)
        else:
            return time.monotonic() - began
    raise AssertionError(f"not within {within_s} s: {failure}")


class Follower:
    """Reads in a thread until it is told to stop, through every failure."""

    def __init__(self, take: Callable[[], list[bytes]]) -> None:
        self.taken: list[bytes] = []
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.taken += self._take()
            except Unavailable:
                self._stop.wait(PAUSE_S)


class StreamFollower(Follower):
    """Reads a stream as shells do: from a position, waiting for more."""

    def __init__(self, store: Store, stream: str) -> None:
        self._store = store
        self._stream = stream
        self._position = BEGINNING
        super().__init__(self._read)

    def _read(self) -> list[bytes]:
        entries = self._store.read({self._stream: self._position}, limit=100, wait_ms=1_000)
        if entries:
            self._position = entries[-1].entry_id
        return [entry.payload for entry in entries]


@BLOWS
def test_a_store_goes_on_with_the_next_primary(rig: SentinelRig, opened: ExitStack, blow: Blow) -> None:
    """What a master does: it appends, commits, and waits for more; nothing that the replicas had is missing."""
    store = a_store(rig, opened)
    epoch = take_epoch(store)
    store.append("calls:default", b"before", max_length=100)
    position = store.last_id("calls:default")
    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:default": position}))

    with StreamFollower(a_store(rig, opened), "calls:default") as follower:
        eventually(lambda: follower.taken == [b"before"])
        lost = strike(rig, blow)
        began = time.monotonic()
        rig.wait_for_primary(other_than=lost)
        insist(lambda: store.append_many([Append(stream="calls:default", payload=b"after", max_length=100)]))
        eventually(lambda: b"after" in follower.taken, within_s=RECOVERY_S)
        assert time.monotonic() - began < RECOVERY_S

    assert follower.taken[0] == b"before"
    assert set(follower.taken) == {b"before", b"after"}
    assert store.cursor() == {"calls:default": position}
    cursor_to = {"calls:default": store.last_id("calls:default")}
    store.commit(Commit(epoch=epoch, cursor_from=store.cursor(), cursor_to=cursor_to))
    assert store.cursor() == cursor_to


@BLOWS
def test_command_queues_go_on_with_the_next_primary(rig: SentinelRig, opened: ExitStack, blow: Blow) -> None:
    sender, reader = a_bus(rig, opened), a_bus(rig, opened)
    with Follower(lambda: reader.receive(QUEUE, limit=100, wait_ms=1_000)) as follower:
        sender.send(QUEUE, b"before")
        eventually(lambda: follower.taken == [b"before"])
        lost = strike(rig, blow)
        began = time.monotonic()
        rig.wait_for_primary(other_than=lost)
        insist(lambda: sender.send_many([(QUEUE, b"after"), ("other", b"after")]))
        eventually(lambda: b"after" in follower.taken, within_s=RECOVERY_S)
        assert time.monotonic() - began < RECOVERY_S
    assert set(follower.taken) == {b"before", b"after"}


@pytest.mark.slow
def test_a_primary_that_hung_and_goes_on_is_left_alone(rig: SentinelRig, opened: ExitStack) -> None:
    store = a_store(rig, opened)
    store.append("s", b"before", max_length=100)
    lost = strike(rig, hang)
    insist(lambda: store.append("s", b"after", max_length=100))
    lost.resume()

    eventually(lambda: lost.ask("ROLE")[0] == b"slave", within_s=30.0)
    insist(lambda: store.append("s", b"late", max_length=100))
    assert [entry.payload for entry in store.read({"s": BEGINNING}, limit=10, wait_ms=0)] == [
        b"before",
        b"after",
        b"late",
    ]


def test_who_only_reads_leaves_a_primary_that_was_cut_off(rig: SentinelRig, opened: ExitStack) -> None:
    """It answers all reads, and no error ever tells that others write elsewhere."""
    store = a_store(rig, opened)
    store.append("s", b"before", max_length=100)
    reader = a_store(rig, opened)
    assert len(reader.read({"s": BEGINNING}, limit=10, wait_ms=0)) == 1
    lost = strike(rig, isolate)
    rig.wait_for_primary(other_than=lost)
    insist(lambda: store.append("s", b"after", max_length=100))

    # No call fails: only the question put to the Sentinels can tell.
    found = eventually(lambda: reader.read({"s": BEGINNING}, limit=10, wait_ms=0)[1:], within_s=RECOVERY_S)
    assert [entry.payload for entry in found] == [b"after"]
    assert lost.ask("ROLE")[0] == b"master", "it still takes itself for one"


def test_who_waits_for_commands_leaves_a_primary_that_was_cut_off_and_takes_all_writes(
    tmp_path: Path, opened: ExitStack
) -> None:
    """Without `min-replicas-to-write` not even its pops fail."""
    with SentinelRig(tmp_path / "redis", min_replicas=0) as rig:
        sender, reader = a_bus(rig, opened), a_bus(rig, opened)
        with Follower(lambda: reader.receive(QUEUE, limit=100, wait_ms=1_000)) as follower:
            sender.send(QUEUE, b"before")
            eventually(lambda: follower.taken == [b"before"])
            lost = strike(rig, isolate)
            primary = rig.wait_for_primary(other_than=lost)
            direct = opened.enter_context(closing(open_bus(primary.url)))
            direct.send(QUEUE, b"after")
            eventually(lambda: follower.taken == [b"before", b"after"], within_s=RECOVERY_S)
        assert lost.ask("SET", "k", "v") in {True, b"OK"}, "it still takes writes"

        # And who sends commands.
        insist(lambda: sender.send("other", b"x"))
        assert eventually(lambda: direct.receive("other", limit=1, wait_ms=0)) == [b"x"]


@pytest.mark.parametrize("blow", [kill, hang], ids=lambda blow: blow.__name__)
def test_an_agents_reports_and_commands_go_on(rig: SentinelRig, opened: ExitStack, blow: Blow) -> None:
    agent_id, session = AgentId("a"), SessionId("life-1")
    reporter = Reporter(a_store(rig, opened), agent_id, session, "default")
    inbox = Inbox()
    reader = CommandReader(a_bus(rig, opened), QUEUE, inbox)
    stop = threading.Event()
    reading = threading.Thread(target=reader.run, args=(stop,), daemon=True)
    reading.start()
    opened.callback(reading.join)
    opened.callback(stop.set)
    master, sender = a_store(rig, opened), a_bus(rig, opened)

    def report() -> None:
        reporter.send([SendReports(epoch=1, confirmed=0, gap=False, reports=())], now_ms())

    def numbers() -> list[int]:
        stream = reports_stream("default")
        entries = master.read({stream: BEGINNING}, limit=1_000, wait_ms=0)
        return [decode_reports(entry.payload)[0].number for entry in entries]

    report()
    assert numbers() == [1]
    strike(rig, blow)
    began = time.monotonic()

    def told_again() -> bool:
        reporter.is_back(now_ms())
        report()
        try:
            return len(numbers()) > 1
        except RedisUnavailable:
            return False

    eventually(told_again, within_s=RECOVERY_S)
    command = encode(CommandBatch(epoch=1, agent_id=agent_id, session=session, first_number=1, commands=()))
    insist(lambda: sender.send(QUEUE, command))
    assert eventually(lambda: inbox.take(10), within_s=RECOVERY_S)
    assert time.monotonic() - began < RECOVERY_S


@pytest.mark.parametrize("blow", [kill, hang], ids=lambda blow: blow.__name__)
def test_a_framework_gets_every_result_of_a_job_that_the_failover_fell_into(rig: SentinelRig, blow: Blow) -> None:
    def open_one() -> Store:
        return open_store(rig.url)

    with MasterThread(open_one), batch.connect(open_store=open_one) as cluster:
        job = cluster.submit(
            "true", count=300, mem_mib=10, retry=batch.RetryPolicy(max_attempts=50, backoff_ms=1, max_losses=1000)
        )
        results = job.results(timeout_s=60)
        seen = [next(results).index for _ in range(10)]
        strike(rig, blow)
        seen += [result.index for result in results]
        summary = job.wait(timeout_s=60)
    assert sorted(seen) == list(range(300))
    assert summary.states == {TaskState.FINISHED: 300}


def test_sentinels_that_are_dead_or_hang_cost_little(rig: SentinelRig, opened: ExitStack) -> None:
    """Quorum is left to the others; of a client's time they take half a second at its start, and nothing later."""
    rig.sentinels[0].hang()
    store, bus = a_store(rig, opened), a_bus(rig, opened)
    assert insist(store.epoch) < PROMPT_S
    assert insist(lambda: bus.send(QUEUE, b"x")) < PROMPT_S
    rig.sentinels[0].resume()
    rig.sentinels[0].kill()
    other = a_store(rig, opened)
    assert insist(other.epoch) < PROMPT_S


def test_a_server_that_became_a_replica_is_left_at_the_first_write(rig: SentinelRig, opened: ExitStack) -> None:
    """Not by the hand of Sentinels, which would close its connections. Each kind of write learns it in its own way."""
    store = a_store(rig, opened)
    epoch = take_epoch(store)
    item = Append(stream="s", payload=b"x", max_length=10)
    commit = Commit(epoch=epoch, cursor_from={}, cursor_to={"s": BEGINNING}, appends=[item])
    stores, buses = [a_store(rig, opened) for _ in range(3)], [a_bus(rig, opened) for _ in range(4)]
    writes: dict[str, Callable[[], object]] = {
        "append": lambda: stores[0].append("s", b"x", max_length=10),
        "append_many": lambda: stores[1].append_many([item, item]),
        "commit": lambda: stores[2].commit(commit),
        "send": lambda: buses[0].send(QUEUE, b"x"),
        "send_many": lambda: buses[1].send_many([(QUEUE, b"x"), (QUEUE, b"y")]),
        "receive": lambda: buses[2].receive("empty", limit=1, wait_ms=100),
        "delete": lambda: buses[3].delete(QUEUE),
    }
    for write in writes.values():
        write()
    primary = rig.primary()
    primary.ask("REPLICAOF", LOOPBACK, str(free_port()))
    for name, write in writes.items():
        # First what the server says: to a write, to a script of Redis 6, to a pop that stands there. Then who asks anew is told.
        for said in ("now a slave|READONLY|UNBLOCKED", "is not the primary"):
            with pytest.raises(RedisUnavailable) as unavailable:
                write()
            assert re.search(said, str(unavailable.value)), name
    primary.ask("REPLICAOF", "NO", "ONE")
    for write in writes.values():
        insist(write)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (f"/{MASTER_NAME}/", "/nobody/", f"no primary named 'nobody', but {MASTER_NAME}"),
        (f":{PASSWORD}@", ":not-this-one@", r"(?i)password"),
        (SENTINEL_PASSWORD, "not-this-one", r"(?i)Sentinel .*password"),
        (f"?sentinel_password={SENTINEL_PASSWORD}", "", r"(?i)Sentinel .*auth"),
    ],
    ids=["name", "password", "sentinel password", "no sentinel password"],
)
def test_a_wrong_address_is_told_as_such(
    rig: SentinelRig, opened: ExitStack, right: str, wrong: str, said: str
) -> None:
    url = rig.url.replace(right, wrong)
    assert url != rig.url
    store = opened.enter_context(closing(open_store(url)))
    bus = opened.enter_context(closing(open_bus(url)))
    calls: tuple[Callable[[], object], ...] = (
        store.epoch,
        lambda: bus.send(QUEUE, b"x"),
        lambda: bus.receive(QUEUE, limit=1, wait_ms=10),
    )
    for call in calls:
        began = time.monotonic()
        with pytest.raises(RedisUnavailable, match=said) as unavailable:
            call()
        assert time.monotonic() - began < PROMPT_S
        assert "secret" not in str(unavailable.value)
        assert "not-this-one" not in str(unavailable.value)


def test_without_any_sentinel_every_call_fails_at_once_and_says_which_were_asked() -> None:
    ports = [free_port(), free_port()]
    url = f"sentinel://:secret@{LOOPBACK}:{ports[0]},{LOOPBACK}:{ports[1]}/m"
    with closing(open_store(url)) as store, closing(open_bus(url)) as bus, closing(connect(url)) as client:
        calls: tuple[Callable[[], object], ...] = (store.epoch, lambda: bus.send(QUEUE, b"x"))
        for call in calls:
            began = time.monotonic()
            with pytest.raises(RedisUnavailable, match=rf"Sentinel {LOOPBACK}:{ports[0]}.*{ports[1]}") as unavailable:
                call()
            assert time.monotonic() - began < PROMPT_S
            assert "secret" not in str(unavailable.value)
        assert client.connection_pool is not None


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
