"""A bare socket on Redis, as it is handed to executors: behind a password, over a unix socket, TLS, and Sentinels."""

import contextlib
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.errors import ConfigError, RedisUnavailable
from mesolite.ports import LOOPBACK, free_port
from mesolite.redis_program import find_server, spawn_guarded
from mesolite.transport import tls_relay
from mesolite.transport.raw import connect_raw
from mesolite.transport.redis_client import connect
from tests.integration.sentinel_rig import SentinelRig
from tests.waiting import eventually

pytestmark = pytest.mark.redis

TIMEOUT_S: Final = 3.0
LARGE_BYTES: Final = 4 * 1024 * 1024


def ask(connection: socket.socket, *command: str | bytes) -> bytes:
    """Send one command and return the raw answer, which is one line or one bulk text."""
    words = [word.encode() if isinstance(word, str) else word for word in command]
    connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    line = read_line(connection)
    if not line.startswith(b"$") or line == b"$-1":
        return line
    return read_exactly(connection, int(line[1:]) + 2)[:-2]


def read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        line += read_exactly(connection, 1)
    return line[:-2]


def read_exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = connection.recv(min(size, 65536))
        assert part, "the server hung up"
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def test_it_is_logged_in_blocking_and_has_nothing_unread(redis_url: str) -> None:
    with connect_raw(redis_url, timeout_s=TIMEOUT_S) as connection:
        assert connection.gettimeout() is None
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert ask(connection, "PING") == b"+PONG"


def test_the_database_of_the_address_is_selected(redis_url: str) -> None:
    base = redis_url.rpartition("/")[0]
    with (
        connect_raw(f"{base}/3", timeout_s=TIMEOUT_S) as connection,
        contextlib.closing(connect(f"{base}/3")) as client,
    ):
        ask(connection, "SET", "raw", "here")
        assert client.get("raw") == b"here"
        client.delete("raw")


def test_it_outlives_what_made_it(redis_url: str) -> None:
    """redis-py closes what it holds when it is collected; this socket is not its any more."""
    connections = [connect_raw(redis_url, timeout_s=TIMEOUT_S) for _ in range(20)]
    assert [ask(each, "PING") for each in connections] == [b"+PONG"] * 20
    for each in connections:
        each.close()


def test_a_user_who_may_do_less_is_that_user_on_the_socket(redis_url: str) -> None:
    user = f"user-{secrets.token_hex(4)}"
    host = redis_url.rpartition("@")[2]
    with contextlib.closing(connect(redis_url)) as client:
        client.acl_setuser(user, enabled=True, passwords=["+less"], keys=["pool:*"], commands=["+get", "+ping"])
        try:
            with connect_raw(f"redis://{user}:less@{host}", timeout_s=TIMEOUT_S) as connection:
                assert ask(connection, "PING") == b"+PONG"
                assert ask(connection, "GET", "secret").startswith(b"-NOPERM")
        finally:
            client.acl_deluser(user)


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        password = server.url.partition("//:")[2].partition("@")[0]
        path = tmp_path / "redis" / "redis.sock"
        with connect_raw(f"unix://:{password}@{quote(str(path))}?db=0", timeout_s=TIMEOUT_S) as connection:
            assert connection.family == socket.AF_UNIX
            assert ask(connection, "PING") == b"+PONG"


def test_a_wrong_password_and_a_dead_server_are_told_without_the_password(redis_url: str) -> None:
    host = redis_url.rpartition("@")[2]
    for url in (f"redis://:not-this-one@{host}", f"redis://:not-this-one@{LOOPBACK}:{free_port()}/0"):
        with pytest.raises(RedisUnavailable) as caught:
            connect_raw(url, timeout_s=TIMEOUT_S)
        assert "not-this-one" not in str(caught.value)


def test_a_server_that_accepts_and_is_silent_is_given_up() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, pytest.raises(RedisUnavailable):
        connect_raw(f"redis://{LOOPBACK}:{silent.getsockname()[1]}/1", timeout_s=0.2)


@pytest.mark.parametrize("url", ["memory://", "http://here", "sentinel://here", "redis://here:port/0"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(ConfigError):
        connect_raw(url, timeout_s=TIMEOUT_S)


def test_under_sentinels_it_is_the_primarys_and_after_a_failover_the_next_ones(tmp_path: Path) -> None:
    with SentinelRig(tmp_path / "redis") as rig:
        lost = rig.wait_for_primary()
        with connect_raw(rig.url, timeout_s=TIMEOUT_S) as connection:
            assert connection.getpeername()[1] == lost.port
            assert ask(connection, "SET", "raw", "1") == b"+OK"
            lost.kill()
            assert connection.recv(1) == b""
        rig.wait_for_primary(other_than=lost)
        with connect_raw(rig.url, timeout_s=TIMEOUT_S) as connection:
            assert connection.getpeername()[1] != lost.port
            assert ask(connection, "SET", "raw", "2") == b"+OK"


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A server that speaks TLS only, with a certificate of its own making."""
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), *subject]
    subprocess.run([*made, "-out", str(certificate)], check=True, capture_output=True)
    (tmp_path / "redis.conf").write_text(
        f"bind {LOOPBACK}\nport 0\ntls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\n"
        f"tls-ca-cert-file {certificate}\ntls-auth-clients no\nsave ''\ndir {tmp_path}\n"
    )
    guard = spawn_guarded([str(find_server()), str(tmp_path / "redis.conf")], tmp_path / "log")
    url = f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={certificate}"
    if not eventually(lambda: answers(url) or guard.poll() is not None) or guard.poll() is not None:
        pytest.skip("this redis-server was built without TLS")
    yield url
    assert guard.stdin is not None, "it was opened as a pipe"
    guard.stdin.close()
    guard.wait()


def answers(url: str) -> bool:
    """Whether a server is there by now."""
    with contextlib.suppress(RedisUnavailable):
        connect_raw(url, timeout_s=TIMEOUT_S).close()
        return True
    return False


def test_over_tls_a_plain_socket_carries_the_same(tls_url: str) -> None:
    """Large values too: more than either side takes at once."""
    with connect_raw(tls_url, timeout_s=TIMEOUT_S) as connection:
        assert not isinstance(connection, ssl.SSLSocket)
        assert ask(connection, "PING") == b"+PONG"
        value = secrets.token_bytes(LARGE_BYTES)
        assert ask(connection, "SET", "large", value) == b"+OK"
        assert ask(connection, "GET", "large") == value
        # The server's answers wait while nobody reads them; then they all come.
        connection.sendall(b"GET large\r\n" * 4)
        answer = read_exactly(connection, 4 * (LARGE_BYTES + len(f"${LARGE_BYTES}\r\n\r\n")))
        assert answer.count(value) == 4


def test_the_relay_ends_with_either_side_and_gives_its_place_back(
    tls_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_relay, "_places", threading.BoundedSemaphore(1))
    first = connect_raw(tls_url, timeout_s=TIMEOUT_S)
    with pytest.raises(RedisUnavailable, match="connections over TLS"):
        connect_raw(tls_url, timeout_s=TIMEOUT_S)
    ask(first, "QUIT")
    assert first.recv(1) == b""
    second = eventually(lambda: answered(tls_url))
    assert second is not None
    second.close()
    eventually(lambda: answers(tls_url))
    first.close()


def answered(url: str) -> socket.socket | None:
    with contextlib.suppress(RedisUnavailable):
        return connect_raw(url, timeout_s=TIMEOUT_S)
    return None
