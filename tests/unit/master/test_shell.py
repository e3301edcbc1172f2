"""The master's shell on memory: one batch goes in whole or not at all, whatever the store does."""

from collections.abc import Callable

import msgspec
import pytest

from mesolite.clock import ManualClock
from mesolite.errors import CommitRefused, RedisUnavailable, Unavailable
from mesolite.ids import AgentId, FrameworkId, SessionId
from mesolite.lease import LeaseKeeper, LeaseSettings
from mesolite.master import MasterSettings, MasterShell
from mesolite.master.allocator import Grant, HierarchicalDrfAllocator
from mesolite.master.shell import LONG_BATCH_MS, READ_LIMIT
from mesolite.protocol import (
    AgentInfo,
    CallBatch,
    EventBatch,
    FrameworkInfo,
    Offers,
    RegisterAgent,
    ReportBatch,
    Resubscribe,
    Subscribe,
    Subscribed,
    Teardown,
    decode_commands,
    decode_dead_letter,
    decode_events,
    encode,
)
from mesolite.resources import scalars
from mesolite.transport.contract import BEGINNING, Commit, Entry
from mesolite.transport.keys import DEAD_LETTERS, agent_queue, calls_stream, framework_stream, reports_stream
from mesolite.transport.memory import MemoryBus, MemoryStore
from mesolite.transport.memory_broker import MemoryBroker

F, A, S = FrameworkId("f"), AgentId("a"), SessionId("s")

#: The first epoch of a store that remembers none: the clock's milliseconds.
EPOCH = ManualClock().now_ms()


class BreakingStore(MemoryStore):
    """Raises at the next commit, before or after it happened."""

    break_before = False
    break_after = False

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.after_commit: Callable[[], None] = lambda: None

    def commit(self, commit: Commit) -> None:
        if self.break_before:
            self.break_before = False
            raise RedisUnavailable("broken before")
        super().commit(commit)
        self.after_commit()
        if self.break_after:
            self.break_after = False
            raise RedisUnavailable("broken after")


class Cluster:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.store = BreakingStore(self.broker)
        self.outside = MemoryStore(self.broker)
        self.bus = MemoryBus(self.broker)
        self.keeper, self.shell = self.master("one")
        self.lead(self.keeper, self.shell)

    def master(self, holder: str) -> tuple[LeaseKeeper, MasterShell]:
        keeper = LeaseKeeper(store=self.store, clock=self.clock, settings=LeaseSettings(), holder=holder)
        return keeper, MasterShell(
            leadership=keeper,
            store=self.store,
            bus=self.bus,
            settings=MasterSettings(),
            new_allocator=HierarchicalDrfAllocator,
            clock=self.clock,
            check_every=1,
        )

    def lead(self, keeper: LeaseKeeper, shell: MasterShell) -> None:
        keeper.step()
        shell.turn(0)

    def take_over(self) -> MasterShell:
        """Let another master lead, after the first one's lease."""
        keeper, shell = self.master("another")
        self.clock.advance(LeaseSettings().ttl_ms)
        self.lead(keeper, shell)
        return shell

    def epoch_held(self) -> int | None:
        return self.shell.epoch if self.shell.leads else None

    def subscribe(self, number: int = 1) -> None:
        calls = (Subscribe(framework_info=FrameworkInfo(framework_id=F, name="f")),)
        batch = CallBatch(framework_id=F, session=S, epoch=0, number=number, calls=calls)
        self.outside.append(calls_stream(), encode(batch), max_length=100)

    def register(self) -> None:
        info = AgentInfo(agent_id=A, hostname="a", resources=scalars(cpus=1, mem_mib=64).to_wire())
        batch = ReportBatch(
            agent_id=A,
            session=S,
            number=1,
            epoch=self.shell.epoch,
            confirmed=0,
            reports=(RegisterAgent(agent_info=info),),
        )
        self.outside.append(reports_stream(), encode(batch), max_length=100)

    def events(self) -> list[EventBatch]:
        return [decode_events(entry.payload) for entry in self.entries(framework_stream(F))]

    def entries(self, stream: str) -> list[Entry]:
        return self.outside.read({stream: BEGINNING}, limit=100, wait_ms=0)


def test_a_batch_moves_the_cursor_and_is_answered() -> None:
    cluster = Cluster()
    cluster.subscribe()
    cluster.register()
    assert cluster.shell.step(0) == 2
    batches = cluster.events()
    assert [type(event) for batch in batches for event in batch.events] == [Subscribed, Offers]
    commands = decode_commands(cluster.bus.receive(agent_queue(A), limit=1, wait_ms=0)[0])
    assert (commands.epoch, commands.first_number) == (EPOCH, 1)
    assert cluster.shell.step(0) == 0
    assert len(cluster.events()) == len(batches)
    assert cluster.outside.length(calls_stream()) <= 1, "trimmed behind the cursor"


@pytest.mark.parametrize("where", ["break_before", "break_after"])
def test_a_commit_whose_answer_is_lost_happens_exactly_once(where: str) -> None:
    cluster = Cluster()
    cluster.subscribe()
    setattr(cluster.store, where, True)
    with pytest.raises(RedisUnavailable):
        cluster.shell.step(0)
    cluster.shell.step(0)
    assert [batch.number for batch in cluster.events()] == [1]
    cluster.register()
    cluster.shell.step(0)
    assert [batch.number for batch in cluster.events()] == [1, 2]


def test_a_batch_that_took_long_is_followed_by_shorter_ones_until_that_is_over() -> None:
    cluster = Cluster()
    took_ms = [LONG_BATCH_MS + 1]

    class SlowAllocator(HierarchicalDrfAllocator):
        def allocate(self, now_ms: int) -> list[Grant]:
            cluster.clock.advance(took_ms[0])
            return super().allocate(now_ms)

    shell = MasterShell(
        leadership=cluster.keeper,
        store=cluster.store,
        bus=cluster.bus,
        settings=MasterSettings(),
        new_allocator=SlowAllocator,
        clock=cluster.clock,
    )
    shell.turn(0)
    for _ in range(4 * READ_LIMIT):
        cluster.outside.append(reports_stream(), b"?", max_length=4 * READ_LIMIT)
    assert [shell.step(0), shell.step(0)] == [READ_LIMIT // 2, READ_LIMIT // 4]
    took_ms[0] = LONG_BATCH_MS
    assert [shell.step(0) for _ in range(4)] == [READ_LIMIT // 8, READ_LIMIT // 4, READ_LIMIT // 2, READ_LIMIT]


def test_a_master_whose_epoch_was_taken_changes_nothing() -> None:
    cluster = Cluster()
    other = cluster.take_over()
    cluster.subscribe()
    with pytest.raises(CommitRefused):
        cluster.shell.step(0)
    assert cluster.events() == []
    assert cluster.bus.receive(agent_queue(A), limit=1, wait_ms=0) == []
    assert other.step(0) == 1
    assert [batch.epoch for batch in cluster.events()] == [other.epoch]


def test_a_new_master_asks_whom_the_registry_knows() -> None:
    cluster = Cluster()
    cluster.subscribe()
    cluster.register()
    cluster.shell.step(0)
    cluster.bus.receive(agent_queue(A), limit=10, wait_ms=0)
    cluster.take_over()
    newest = cluster.events()[-1]
    epoch = EPOCH + LeaseSettings().ttl_ms
    assert (newest.epoch, newest.events) == (epoch, (Resubscribe(),))
    asked = decode_commands(cluster.bus.receive(agent_queue(A), limit=1, wait_ms=0)[0])
    assert (asked.epoch, asked.first_number, asked.session) == (epoch, 0, S)


def test_garbage_is_set_aside_with_its_reason_and_the_rest_goes_on() -> None:
    cluster = Cluster()
    cluster.outside.append(calls_stream(), b"\xffgarbage", max_length=100)
    cluster.outside.append(reports_stream(), msgspec.msgpack.encode({"version": 1, "agent_id": 7}), max_length=100)
    cluster.subscribe()
    cluster.shell.step(0)
    letters = [decode_dead_letter(entry.payload) for entry in cluster.entries(DEAD_LETTERS)]
    assert len(letters) == 2
    assert all("not a message of this protocol" in letter.reason for letter in letters)
    assert letters[0].payload == b"\xffgarbage"
    assert len(cluster.events()) == 1


def test_views_are_refused_before_it_leads() -> None:
    cluster = Cluster()
    with pytest.raises(Unavailable):
        cluster.master("new")[1].view(lambda core: core.state)


def test_silence_while_the_store_was_away_is_not_held_against_anybody() -> None:
    cluster = Cluster()
    cluster.subscribe()
    cluster.register()
    cluster.shell.step(0)

    cluster.subscribe(number=2)
    cluster.store.break_before = True
    assert not cluster.shell.turn(0)
    cluster.clock.advance(300_000)
    cluster.lead(cluster.keeper, cluster.shell)
    assert cluster.shell.epoch == EPOCH, "nobody took over"
    assert cluster.shell.view(lambda core: core.state.agents[A].active)


def test_a_lease_that_lapsed_is_waited_for_and_the_core_goes_on() -> None:
    cluster = Cluster()
    cluster.register()
    cluster.shell.turn(0)
    cluster.clock.advance(LeaseSettings().ttl_ms)
    cluster.subscribe()
    assert cluster.shell.turn(0)
    assert cluster.events() == [], "without the right to lead nothing is done"
    with pytest.raises(Unavailable):
        cluster.shell.view(lambda core: core.state)
    cluster.lead(cluster.keeper, cluster.shell)
    assert [type(event) for batch in cluster.events() for event in batch.events] == [Subscribed, Offers]


def test_a_master_that_slept_past_its_lease_wakes_as_a_standby() -> None:
    cluster = Cluster()
    other = cluster.take_over()
    cluster.subscribe()
    cluster.lead(cluster.keeper, cluster.shell)
    assert not cluster.shell.leads
    assert cluster.events() == []
    other.turn(0)
    assert {batch.epoch for batch in cluster.events()} == {other.epoch}


def test_a_master_that_sleeps_between_commit_and_commands_says_nothing_any_more() -> None:
    cluster = Cluster()
    cluster.store.after_commit = lambda: cluster.clock.advance(LeaseSettings().ttl_ms)
    cluster.register()
    cluster.shell.turn(0)
    assert cluster.bus.receive(agent_queue(A), limit=1, wait_ms=0) == []


def test_a_store_that_forgot_a_commit_gets_a_master_of_a_new_epoch() -> None:
    cluster = Cluster()
    cluster.register()
    cluster.shell.turn(0)
    forgotten = dict(cluster.broker.cursor)
    cluster.subscribe()
    cluster.shell.turn(0)
    cluster.broker.cursor = forgotten
    cluster.subscribe(number=2)
    assert cluster.shell.turn(0)
    assert cluster.epoch_held() is None
    cluster.lead(cluster.keeper, cluster.shell)
    assert (cluster.epoch_held() or 0) > EPOCH


def test_a_commit_that_only_time_caused_is_missed_too_where_it_was_forgotten() -> None:
    cluster = Cluster()
    cluster.subscribe()
    cluster.shell.turn(0)
    forgotten = dict(cluster.broker.cursor)
    cluster.clock.advance(MasterSettings().heartbeat_interval_ms)
    cluster.lead(cluster.keeper, cluster.shell)
    assert cluster.broker.cursor != forgotten
    cluster.broker.cursor = forgotten
    cluster.clock.advance(MasterSettings().heartbeat_interval_ms)
    cluster.lead(cluster.keeper, cluster.shell)
    assert not cluster.shell.leads


def test_a_master_that_hears_of_a_newer_epoch_takes_one_above_it() -> None:
    """A failover forgot that epoch; whoever follows it would refuse this master for ever."""
    cluster = Cluster()
    newer = EPOCH + 5000
    batch = ReportBatch(agent_id=A, session=S, number=1, epoch=newer, confirmed=0, reports=())
    cluster.outside.append(reports_stream(), encode(batch), max_length=100)
    cluster.shell.turn(0)
    assert cluster.epoch_held() is None
    cluster.lead(cluster.keeper, cluster.shell)
    assert (cluster.epoch_held() or 0) > newer


def test_what_ended_frameworks_were_told_goes_with_the_memory_of_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `mesolite run` is a framework; their streams would fill Redis, one by one."""
    monkeypatch.setattr("mesolite.master.subscription.MAX_COMPLETED_FRAMEWORKS", 1)
    cluster = Cluster()
    ids = [FrameworkId(f"f{n}") for n in range(3)]
    for framework_id in ids:
        subscribe = Subscribe(framework_info=FrameworkInfo(framework_id=framework_id, name="f"))
        for number, calls in ((1, (subscribe,)), (2, (Teardown(),))):
            batch = CallBatch(
                framework_id=framework_id, session=S, epoch=cluster.shell.epoch, number=number, calls=calls
            )
            cluster.outside.append(calls_stream(), encode(batch), max_length=100)
        cluster.shell.turn(0)
    assert cluster.outside.streams("framework:") == [framework_stream(ids[-1])]
    assert set(cluster.outside.registry()) == {f"framework:{ids[-1]}"}
