"""Calls over a real Redis to real executors, while what they need is killed, restarted, filled with garbage or taken over.

Begun calls are counted where they begin: workers write each into a file.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import pytest

from mesolite.agent.blocks.http import BlockServer
from mesolite.agent.blocks.store import BlockStore
from mesolite.agent.blocks.tokens import BlockTokens
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.pool_keys import calls_key, results_key
from mesolite.ids import FrameworkId
from mesolite.ports import LOOPBACK, free_port
from mesolite.transport.redis_client import connect
from tests.integration.pool_rig import PoolRig, ending_of, lost
from tests.integration.pool_work import fail, length, many, mark, mark_and_wait, twice
from tests.integration.sentinel_rig import SentinelRig
from tests.waiting import eventually

pytestmark = pytest.mark.redis

#: A call that needs nothing but its turn.
PROMPT_S: Final = 30.0
#: Until all is well again after Redis was away, on a machine that does much else.
RECOVERY_S: Final = 60.0
FLOOD: Final = 5_000
#: Of the flood's calls, those that wait for the test: more than all workers run at once.
HELD: Final = 10
MEBIBYTE: Final = 1024 * 1024


@pytest.fixture
def rig(tmp_path: Path, redis_url: str, cluster: str) -> Iterator[PoolRig]:
    with PoolRig(tmp_path, redis_url, cluster) as running:
        yield running


def test_calls_return_raise_and_are_counted(rig: PoolRig) -> None:
    engine = rig.engine()
    rig.start_executor(engine)
    futures = [rig.submit(engine, twice, number) for number in range(500)]
    assert [future.result(PROMPT_S) for future in futures] == [2 * number for number in range(500)]
    ending = ending_of(rig.submit(engine, fail, "on purpose"))
    assert isinstance(ending, Outcome)
    assert ending.end is End.RAISED
    stats = engine.stats()
    assert (stats.returned, stats.failed, stats.lost, stats.given, stats.waiting) == (500, 1, 0, 0, 0)
    assert (stats.executors, stats.workers) == (1, 2)


def test_what_is_submitted_before_there_is_an_executor_waits_for_one(rig: PoolRig) -> None:
    engine = rig.engine()
    future = rig.submit(engine, twice, 4)
    rig.start_executor(engine)
    assert future.result(PROMPT_S) == 8


def test_large_arguments_and_results_travel(rig: PoolRig) -> None:
    engine = rig.engine()
    rig.start_executor(engine)
    assert rig.submit(engine, length, bytes(8 * MEBIBYTE)).result(PROMPT_S) == 8 * MEBIBYTE
    assert len(rig.submit(engine, many, 8 * MEBIBYTE).result(PROMPT_S)) == 8 * MEBIBYTE


def test_large_arguments_go_to_the_agents_block_store_and_do_not_stay_there(rig: PoolRig, tmp_path: Path) -> None:
    store = BlockStore(tmp_path / "blocks", 64 * MEBIBYTE)
    server = BlockServer(store, BlockTokens.kept_in(tmp_path / "secret"), host=LOOPBACK, port=0)
    server.start()
    try:
        engine = rig.engine()
        token = server.tokens.token(FrameworkId(rig.framework_id))
        rig.start_executor(engine, blocks=(server.url, token))
        # More than the stream takes, and then more than the store does.
        assert rig.submit(engine, length, bytes(40 * MEBIBYTE)).result(PROMPT_S) == 40 * MEBIBYTE
        ending = ending_of(rig.submit(engine, length, bytes(80 * MEBIBYTE)))
        assert isinstance(ending, Outcome)
        assert (ending.end, ending.begun) == (End.TOO_LARGE, False)
        assert "507" in ending.message
        eventually(lambda: store.used_bytes == 0)
    finally:
        server.close()


def test_large_arguments_travel_over_the_stream_where_no_block_store_can_be_reached(rig: PoolRig) -> None:
    engine = rig.engine()
    rig.start_executor(engine, blocks=(f"http://{LOOPBACK}:{free_port()}", "token"))
    assert rig.submit(engine, length, bytes(20 * MEBIBYTE)).result(PROMPT_S) == 20 * MEBIBYTE
    ending = ending_of(rig.submit(engine, length, bytes(40 * MEBIBYTE)))
    assert isinstance(ending, Outcome)
    assert (ending.end, ending.begun) == (End.TOO_LARGE, False)


def test_long_calls_are_spread_over_executors(rig: PoolRig) -> None:
    engine = rig.engine()
    executors = [rig.start_executor(engine, workers=1) for _ in range(3)]
    eventually(lambda: engine.stats().executors == 3)
    until = rig.directory / "until"
    futures = [rig.submit(engine, mark_and_wait, str(rig.marks), number, str(until)) for number in range(3)]
    eventually(lambda: len(rig.begun()) == 3)
    assert [engine.given_to(each.executor_id) for each in executors] == [1, 1, 1]
    until.touch()
    assert [future.result(PROMPT_S) for future in futures] == [0, 1, 2]


def test_a_call_that_waits_is_forgotten_and_one_that_runs_is_killed(rig: PoolRig) -> None:
    engine = rig.engine()
    rig.start_executor(engine, workers=1)
    running: Future[Any] = Future()
    call = rig.call(running, mark_and_wait, str(rig.marks), 1, str(rig.directory / "never"))
    engine.submit([call])
    eventually(lambda: rig.begun() == [1])
    waiting = [rig.call(Future(), mark, str(rig.marks), number) for number in range(2, 9)]
    engine.submit(waiting)
    assert engine.cancel(waiting[-1])
    assert not engine.cancel(call)
    assert not engine.cancel(call, kill=True)
    ending = ending_of(running)
    assert isinstance(ending, Outcome)
    assert ending.end is End.CANCELLED
    eventually(lambda: engine.stats().given == engine.stats().waiting == 0)
    assert sorted(rig.begun()) == [1, 2, 3, 4, 5, 6, 7]


def test_calls_of_a_killed_executor_are_lost_and_what_may_be_tried_again_is(rig: PoolRig) -> None:
    engine = rig.engine()
    executor = rig.start_executor(engine, workers=2)
    never = str(rig.directory / "until")
    futures = [rig.submit(engine, mark_and_wait, str(rig.marks), number, never, retries=number) for number in (0, 1)]
    eventually(lambda: len(rig.begun()) == 2)
    executor.kill()
    engine.executor_over(executor.executor_id, "it was killed")
    assert lost(futures[0])
    (rig.directory / "until").touch()
    rig.start_executor(engine)
    assert futures[1].result(PROMPT_S) == 1
    assert Counter(rig.begun()) == {0: 1, 1: 2}


def test_a_client_that_takes_over_gets_the_executors_and_its_predecessors_calls_do_not_begin(rig: PoolRig) -> None:
    first = rig.engine()
    executor = rig.start_executor(first, workers=1)
    until = rig.directory / "until"
    for number in range(2):
        rig.submit(first, mark_and_wait, str(rig.marks), number, str(until))
    eventually(lambda: rig.begun() == [0])
    eventually(lambda: first.given_to(executor.executor_id) == 2)
    second = rig.engine()
    second.executor_up(executor.executor_id)
    eventually(lambda: second.stats().executors == 1)
    future = rig.submit(second, mark, str(rig.marks), 7)
    until.touch()
    assert future.result(PROMPT_S) == 7
    assert rig.begun() == [0, 7]
    first.close()


def test_an_executor_that_drains_gets_no_more_calls(rig: PoolRig) -> None:
    engine = rig.engine()
    executor = rig.start_executor(engine)
    assert rig.submit(engine, twice, 1).result(PROMPT_S) == 2
    engine.drain(executor.executor_id)
    future = rig.submit(engine, twice, 2)
    assert engine.stats().waiting == 1
    engine.drain(executor.executor_id, draining=False)
    assert future.result(PROMPT_S) == 4


def test_garbage_in_the_streams_harms_nothing(rig: PoolRig, redis_url: str) -> None:
    engine = rig.engine()
    executor = rig.start_executor(engine)
    assert rig.submit(engine, twice, 1).result(PROMPT_S) == 2
    keys = [
        results_key(rig.prefix, rig.framework_id),
        calls_key(rig.prefix, rig.framework_id, executor.executor_id),
    ]
    with connect(redis_url) as client:
        for key in keys:
            for garbage in (b"", b"garbage", b"\x80\x05K\x01.", bytes(1000)):
                client.xadd(key, {"p": garbage})
                client.xadd(key, {"q": garbage, "r": b"x"})
    assert rig.submit(engine, twice, 2).result(PROMPT_S) == 4


def test_streams_are_trimmed_behind_their_readers_and_end_some_time(rig: PoolRig, redis_url: str) -> None:
    engine = rig.engine()
    executor = rig.start_executor(engine)
    key = calls_key(rig.prefix, rig.framework_id, executor.executor_id)
    with connect(redis_url) as client:

        def is_short() -> bool:
            rig.submit(engine, twice, 1).result(PROMPT_S)
            return all(int(client.xlen(each)) < 20 for each in (key, results_key(rig.prefix, rig.framework_id)))

        for number in range(100):
            rig.submit(engine, twice, number).result(PROMPT_S)
        eventually(is_short)
        assert client.ttl(key) > 0
        assert client.ttl(results_key(rig.prefix, rig.framework_id)) > 0
        engine.close()
        engine.join(10)
        eventually(lambda: client.exists(key) == 0)


class Flood:
    """Calls that leave marks; the last of them end only once they may, so that a blow always comes in the midst of calls."""

    def __init__(self, rig: PoolRig) -> None:
        engine = rig.engine()
        for _ in range(2):
            rig.start_executor(engine)
        self.rig = rig
        self._may_end = rig.directory / "may-end"
        marks = str(rig.marks)
        freely = [rig.submit(engine, mark, marks, number) for number in range(FLOOD - HELD)]
        held = [rig.submit(engine, mark_and_wait, marks, n, str(self._may_end)) for n in range(FLOOD - HELD, FLOOD)]
        self.futures = [*freely, *held]

    def reach(self, place: int) -> None:
        """Wait until the call of this number has come back."""
        self.futures[place].result(RECOVERY_S)

    def let_end(self) -> None:
        """Let the held calls end: from here on nothing but what is tested keeps a call."""
        assert not any(future.done() for future in self.futures[-HELD:])
        self._may_end.touch()

    def assert_each_began_once_and_returned(self) -> None:
        """Each call has one outcome, and none was started twice."""
        assert [future.result(RECOVERY_S) for future in self.futures] == list(range(FLOOD))
        assert sorted(self.rig.begun()) == list(range(FLOOD))


def test_redis_is_killed_and_comes_back_while_calls_flow(tmp_path: Path, cluster: str) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, PoolRig(tmp_path, server.url, cluster) as rig:
        flood = Flood(rig)
        flood.reach(FLOOD // 10)
        server.stop()
        flood.let_end()
        server.start()
        flood.assert_each_began_once_and_returned()


def test_redis_loses_everything_while_calls_flow(rig: PoolRig, redis_url: str) -> None:
    """Goal: what the streams held is said again. Method: they are removed, again and again."""
    flood = Flood(rig)
    with connect(redis_url) as client:
        for place in range(1, 10):
            flood.reach(FLOOD * place // 10)
            for key in client.keys(f"{rig.prefix}pool:{rig.framework_id}:*"):
                client.unlink(key)
    flood.let_end()
    flood.assert_each_began_once_and_returned()


def test_the_primary_dies_while_calls_flow(tmp_path: Path, cluster: str) -> None:
    with SentinelRig(tmp_path / "redis") as sentinels, PoolRig(tmp_path, sentinels.url, cluster) as rig:
        primary = sentinels.primary()
        flood = Flood(rig)
        flood.reach(FLOOD // 10)
        primary.kill()
        flood.let_end()
        sentinels.wait_for_primary(other_than=primary)
        flood.assert_each_began_once_and_returned()


def test_the_primary_hangs_while_calls_flow(tmp_path: Path, cluster: str) -> None:
    with SentinelRig(tmp_path / "redis") as sentinels, PoolRig(tmp_path, sentinels.url, cluster) as rig:
        primary = sentinels.primary()
        flood = Flood(rig)
        flood.reach(FLOOD // 10)
        primary.hang()
        flood.let_end()
        sentinels.wait_for_primary(other_than=primary)
        flood.assert_each_began_once_and_returned()
        primary.resume()
