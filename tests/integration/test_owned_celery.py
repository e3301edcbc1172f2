"""Real Celery workers, with plain pools, on our transport: what Celery promises, and what it does not."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import redis

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.frameworks.celery.broker.requests import owner_keys
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

from .owning_rig import CeleryWorker, owning_consumer, producer, raw_message
from .sentinel_rig import MASTER_NAME, PASSWORD, SENTINEL_PASSWORD, SentinelRig

pytestmark = pytest.mark.redis

THREADS: Final = ("-P", "threads", "-c", "4")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of these tests' own: they close all its connections, and others' servers live on the shared one."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


def notes(client: redis.Redis, key: str) -> list[int]:
    """What tasks wrote down."""
    return sorted(int(number) for number in cast("list[bytes]", client.lrange(key, 0, -1)))


@pytest.mark.parametrize("pool", [THREADS, ("-P", "solo")], ids=["threads", "solo"])
def test_a_worker_runs_each_task_of_an_unmodified_producer_once(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path, pool: tuple[str, ...]
) -> None:
    app: Any = producer(redis_url)
    with CeleryWorker(redis_url, cluster, tmp_path / "log", arguments=[*pool, "-Q", cluster]) as worker:
        for number in range(300):
            app.send_task("note", (f"{cluster}:notes", number), queue=cluster)
        eventually(lambda: client.llen(f"{cluster}:notes") >= 300, within_s=60)
        assert worker.ready().stop() == 0
    assert notes(client, f"{cluster}:notes") == list(range(300))
    assert client.llen(cluster) == client.hlen(owner_keys("", cluster).owned) == 0


def test_after_kill_9_between_take_and_acknowledgement_the_next_life_runs_what_was_left_and_nothing_again(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path
) -> None:
    """Four tasks run when the worker is killed; they alone run twice, for nobody said that they were given away."""
    app: Any = producer(redis_url)
    for number in range(40):
        app.send_task("hold", (f"{cluster}:notes", number, f"{cluster}:go"), queue=cluster)
    arguments = [*THREADS, "-Q", cluster]
    with CeleryWorker(redis_url, cluster, tmp_path / "first", arguments=arguments) as first:
        eventually(lambda: client.llen(f"{cluster}:notes") == 4, within_s=60)
        first.kill()
    begun = notes(client, f"{cluster}:notes")
    assert client.hlen(owner_keys("", cluster).owned) >= 16
    client.set(f"{cluster}:go", "1")
    with CeleryWorker(redis_url, cluster, tmp_path / "second", arguments=arguments):
        eventually(lambda: client.llen(f"{cluster}:notes") >= 44, within_s=60)
        eventually(lambda: client.hlen(owner_keys("", cluster).owned) == 0)
    assert notes(client, f"{cluster}:notes") == sorted([*range(40), *begun])


def test_no_task_runs_twice_for_lasting_longer_than_the_visibility_timeout(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path
) -> None:
    app: Any = producer(redis_url)
    app.send_task("hold", (f"{cluster}:notes", 1, f"{cluster}:go"), queue=cluster)
    options = {"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    with CeleryWorker(
        redis_url, cluster, tmp_path / "log", arguments=[*THREADS, "-Q", cluster], options=options
    ) as worker:
        eventually(lambda: client.llen(f"{cluster}:notes") == 1, within_s=60)
        began_s = time.monotonic()
        # Far longer than the timeout, and other tasks go on being consumed.
        eventually(lambda: time.monotonic() - began_s > 4, within_s=10)
        app.send_task("note", (f"{cluster}:others", 1), queue=cluster)
        eventually(lambda: client.llen(f"{cluster}:others") == 1)
        assert notes(client, f"{cluster}:notes") == [1]
        client.set(f"{cluster}:go", "1")
        assert worker.stop() == 0
    assert client.llen(cluster) == 0


def test_tasks_with_eta_and_tasks_under_a_rate_limit_survive_a_lost_connection_once_each(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path
) -> None:
    """Celery forgets them with its connection: its timer is emptied."""
    app: Any = producer(redis_url)
    config = {"task_annotations": {"note": {"rate_limit": "4/s"}}}
    with CeleryWorker(
        redis_url, cluster, tmp_path / "log", arguments=[*THREADS, "-Q", cluster], config=config
    ) as worker:
        worker.ready()
        for number in range(10):
            app.send_task("note", (f"{cluster}:notes", number), queue=cluster)
        app.send_task("note", (f"{cluster}:notes", 10), queue=cluster, countdown=4)
        eventually(lambda: client.llen(f"{cluster}:notes") >= 2, within_s=60)
        client.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda: client.llen(f"{cluster}:notes") >= 11, within_s=60)
        eventually(lambda: client.hlen(owner_keys("", cluster).owned) == 0)
        assert worker.stop() == 0
    assert notes(client, f"{cluster}:notes") == list(range(11))


def test_a_plain_worker_and_ours_share_a_queue_and_each_task_runs_once(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path
) -> None:
    app: Any = producer(redis_url)
    arguments = [*THREADS, "-Q", cluster]
    with (
        CeleryWorker(redis_url, cluster, tmp_path / "ours", arguments=[*arguments, "-n", "ours@here"]) as ours,
        CeleryWorker(redis_url, None, tmp_path / "plain", arguments=[*arguments, "-n", "plain@here"]) as plain,
    ):
        ours.ready()
        plain.ready()
        for number in range(400):
            app.send_task("note", (f"{cluster}:notes", number), queue=cluster)
        eventually(lambda: client.llen(f"{cluster}:notes") >= 400, within_s=60)
        assert [ours.stop(), plain.stop()] == [0, 0]
        assert "Task note" in ours.log
        assert "Task note" in plain.log
    assert notes(client, f"{cluster}:notes") == list(range(400))


def test_remote_control_and_revokes_reach_a_worker_that_owns_its_messages(
    redis_url: str, client: redis.Redis, cluster: str, tmp_path: Path
) -> None:
    app: Any = producer(redis_url)
    name = f"{cluster}@here"
    with CeleryWorker(redis_url, cluster, tmp_path / "log", arguments=[*THREADS, "-Q", cluster, "-n", name]) as worker:
        worker.ready()
        assert app.control.ping(destination=[name], timeout=5) == [{name: {"ok": "pong"}}]
        later = app.send_task("note", (f"{cluster}:notes", 1), queue=cluster, countdown=3)
        eventually(lambda: later.id in str(app.control.inspect([name]).scheduled()))
        app.control.revoke(later.id, destination=[name])
        app.send_task("note", (f"{cluster}:notes", 2), queue=cluster, countdown=4)
        eventually(lambda: client.llen(f"{cluster}:notes") == 1)
        eventually(lambda: client.hlen(owner_keys("", cluster).owned) == 0)
    assert notes(client, f"{cluster}:notes") == [2]


def celery_address(rig: SentinelRig) -> tuple[str, dict[str, Any]]:
    """What a user of Celery writes for these Sentinels."""
    url = ";".join(f"sentinel://:{PASSWORD}@127.0.0.1:{sentinel.port}" for sentinel in rig.sentinels)
    return url, {"master_name": MASTER_NAME, "sentinel_kwargs": {"password": SENTINEL_PASSWORD}}


@pytest.mark.parametrize("harm", ["kill", "hang", "isolate"])
def test_a_consumer_follows_the_primary_and_no_message_comes_twice(tmp_path: Path, harm: str) -> None:
    with SentinelRig(tmp_path / "rig") as rig:
        url, options = celery_address(rig)
        lost = rig.primary()
        with lost.client() as client:
            for number in range(50):
                client.lpush("celery", raw_message(str(number)))
        with owning_consumer(url, "owner", prefetch=10, acks=False, options=options) as consumer:
            consumer.until(10)
            consumer.ownership.give([str(number) for number in range(5)])
            for message in consumer.got[:3]:
                message.ack()
                consumer.ownership.end(message.delivery_tag)
            consumer.until(13)
            consumer.settle()
            rig.settle()
            getattr(lost, harm)()
            rig.wait_for_primary(other_than=lost)
            elected_s = time.monotonic()
            consumer.drain_through()
            # Eight that were not given come again.
            consumer.until(13 + 8)
            with rig.primary().client() as client:
                for number in range(50, 60):
                    client.lpush("celery", raw_message(str(number)))
            for message in [*consumer.got[3:5], *consumer.got[13:]]:
                message.ack()
                consumer.ownership.end(message.delivery_tag)
            consumer.acks = True
            consumer.until(13 + 8 + 10 + 37)
            consumer.settle()
            assert sorted(set(consumer.tags), key=int) == [str(number) for number in range(60)]
            assert consumer.tags[13:21] == [str(number) for number in range(5, 13)]
            assert len(consumer.tags) == 60 + 8
            assert time.monotonic() - elected_s < 15
            if harm == "hang":
                lost.resume()
            if harm == "isolate":
                lost.rejoin()


def test_what_a_failover_forgot_is_put_right(tmp_path: Path) -> None:
    """Method: the replicas are cut off before anything is taken, so that the new primary knows of no take and no end."""
    with SentinelRig(tmp_path / "rig", min_replicas=0) as rig:
        url, options = celery_address(rig)
        lost = rig.primary()
        with lost.client() as client:
            for number in range(20):
                client.lpush("celery", raw_message(str(number)))
        rig.settle()
        with owning_consumer(url, "owner", prefetch=10, acks=False, options=options) as consumer:
            consumer.drain(0.1)
            lost.isolate()
            consumer.until(10)
            for message in consumer.got[:5]:
                message.ack()
            consumer.ownership.give(["7"])
            consumer.until(15)
            lost.kill()
            rig.wait_for_primary(other_than=lost)
            consumer.acks = True
            for message in consumer.got[5:]:
                message.ack()
            consumer.ownership.end("7")
            consumer.until(20)
            consumer.settle()
            assert sorted(map(int, consumer.tags)) == list(range(20))
            with rig.primary().client() as client:
                consumer.drain_until(lambda: client.llen("celery") == 0)
                consumer.settle()
                assert client.hlen(owner_keys("", "owner").owned) == 0
            assert len(consumer.tags) == 20


def test_a_redis_that_hangs_is_given_up_and_found_again(tmp_path: Path) -> None:
    with SentinelRig(tmp_path / "rig", replicas=0, sentinels=1, min_replicas=0, down_after_ms=60_000) as rig:
        server = rig.servers[0]
        with server.client() as client:
            client.lpush("celery", raw_message("1"))
        options = {"socket_timeout": 1, "socket_connect_timeout": 1}
        with owning_consumer(server.url, "owner", prefetch=1, acks=False, options=options) as consumer:
            consumer.until(1)
            consumer.ownership.give(["1"])
            server.hang()

            def noticed() -> bool:
                try:
                    consumer.drain(1.0)
                except consumer.connection.connection_errors:
                    return True
                return False

            began_s = time.monotonic()
            eventually(noticed)
            # It asks every two seconds, and waits one for the answer.
            assert time.monotonic() - began_s < 6
            server.resume()
            with server.client() as client:
                client.lpush("celery", raw_message("2"))
            consumer.got[0].ack()
            consumer.ownership.end("1")
            consumer.until(2)
            assert consumer.tags == ["1", "2"]
