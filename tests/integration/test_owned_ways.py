"""Every way to a Redis that an application's broker address may take leads to owned messages."""

import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from mesolite.frameworks.celery.broker.requests import owner_keys
from mesolite.ports import LOOPBACK, free_port
from mesolite.redis_program import find_server, spawn_guarded
from tests.waiting import eventually

from .owning_rig import CeleryWorker, owning_consumer, producer, raw_message

pytestmark = pytest.mark.redis

_COUNT: Final = 30


@contextmanager
def serving(folder: Path, url: str, *lines: str) -> Generator[str]:
    """Run a server with these lines in its settings, and give its address once it answers."""
    (folder / "redis.conf").write_text("\n".join([f"bind {LOOPBACK}", "save ''", f"dir {folder}", *lines]) + "\n")
    guard = spawn_guarded([str(find_server()), str(folder / "redis.conf")], folder / "log")
    try:
        eventually(lambda: answers(url) or guard.poll() is not None)
        if guard.poll() is not None:
            pytest.skip("this redis-server was built without TLS")
        yield url
    finally:
        assert guard.stdin is not None, "it was opened as a pipe"
        guard.stdin.close()
        guard.wait(30)


def answers(url: str) -> bool:
    """Whether a server is there by now. redis-py has another word for sockets than kombu."""
    try:
        with redis.Redis.from_url(url.replace("redis+socket", "unix")) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def socket_url(tmp_path: Path) -> Iterator[str]:
    """A server behind a Unix socket alone."""
    path = tmp_path / "redis.sock"
    with serving(tmp_path, f"redis+socket://{path}", "port 0", f"unixsocket {path}") as url:
        yield url


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A server that speaks TLS only, with a certificate of its own making."""
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), *subject]
    subprocess.run([*made, "-out", str(certificate)], check=True, capture_output=True)
    url = f"rediss://{LOOPBACK}:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={certificate}"
    tls = [f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {certificate}"]
    with serving(tmp_path, url, "port 0", *tls, "tls-auth-clients no") as found:
        yield found


@pytest.mark.parametrize("way", ["socket_url", "tls_url"])
def test_messages_are_owned_and_each_comes_once(request: pytest.FixtureRequest, way: str) -> None:
    """Also after the connections are lost, and what was sent later, which only the bell tells in time."""
    url: str = request.getfixturevalue(way)
    with redis.Redis.from_url(url.replace("redis+socket", "unix")) as client:
        client.lpush("celery", *(raw_message(str(number)) for number in range(_COUNT)))
        with owning_consumer(url, "owner", prefetch=10, acks=False) as consumer:
            consumer.until(10)
            # With those, it has asked for no more than it may have.
            assert client.hlen(owner_keys("", "owner").owned) >= 10
            consumer.ownership.give(consumer.tags)
            consumer.settle()
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            consumer.acks = True
            for message in consumer.got[:10]:
                message.ack()
                consumer.ownership.end(message.delivery_tag)
            consumer.until(_COUNT)
            client.lpush("celery", raw_message("late"))
            consumer.until(_COUNT + 1)
            consumer.settle()
            assert sorted(consumer.tags) == sorted([*map(str, range(_COUNT)), "late"])
            assert client.hlen(owner_keys("", "owner").owned) == client.llen("celery") == 0


def test_without_prefetching_nothing_is_taken_before_a_process_is_free(
    redis_url: str, cluster: str, tmp_path: Path
) -> None:
    app: Any = producer(redis_url)
    key, go = f"{cluster}:notes", f"{cluster}:go"
    arguments = ["-P", "threads", "-c", "2", "-Q", cluster]
    config = {"worker_disable_prefetch": True}
    with (
        redis.Redis.from_url(redis_url) as client,
        CeleryWorker(redis_url, cluster, tmp_path / "log", arguments=arguments, config=config) as worker,
    ):
        for number in range(10):
            app.send_task("hold", (key, number, go), queue=cluster)
        eventually(lambda: client.llen(key) == 2, within_s=60)
        # What comes afterwards is seen, and left as well.
        app.send_task("note", (key, 10), queue=cluster)
        assert app.control.ping(timeout=2)
        assert client.hlen(owner_keys("", cluster).owned) == 2
        assert client.llen(cluster) == 9
        client.set(go, "1")
        eventually(lambda: client.llen(key) == 11, within_s=60)
        eventually(lambda: client.hlen(owner_keys("", cluster).owned) == 0)
        assert worker.stop() == 0
        assert sorted(int(number) for number in client.lrange(key, 0, -1)) == list(range(11))
