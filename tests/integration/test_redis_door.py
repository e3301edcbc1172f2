"""An executor asks its agent for a connection to Redis, and is handed one that works, or is told why not."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.executor_links import redis_door
from mesolite.agent.executor_links.redis_door import OFF, REDIS_SOCKET, RedisDoor
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.ids import ContainerId, FrameworkId
from mesolite.ports import LOOPBACK, free_port
from mesolite.transport.raw import connect_raw
from mesolite.transport.redis_client import connect
from tests.contract.link_ends import SocketEnd, SocketRig
from tests.integration.sentinel_rig import SentinelRig
from tests.integration.test_raw_redis import ask
from tests.source_tree import ROOT
from tests.waiting import eventually

ONE: Final = ContainerId("one")
TIMEOUT_S: Final = 15.0


class Agent:
    """Links with a door to Redis."""

    def __init__(self, root: Path, url: str, cluster: str = "default") -> None:
        self.door = RedisDoor(url, cluster)
        self.rig = SocketRig(root, side_doors={REDIS_SOCKET: self.door.take})
        self.rig.links.open(ONE, FrameworkId("framework"))

    def ask(self) -> socket.socket:
        """Connect, as an executor."""
        end = SocketEnd(self.rig.links.socket_dir(ONE), REDIS_SOCKET).socket
        end.settimeout(TIMEOUT_S)
        return end

    def asked(self) -> tuple[dict[str, str], list[int]]:
        """Ask, and return the answer with what came along."""
        return answer(self.ask())

    def close(self) -> None:
        """Let go of everything."""
        self.rig.clean()
        self.door.close()


def answer(end: socket.socket) -> tuple[dict[str, str], list[int]]:
    with end:
        line, descriptors, _, _ = socket.recv_fds(end, 65536, 4)
        assert end.recv(1) == b"", "it says one line and hangs up"
    said: dict[str, str] = json.loads(line)
    return said, descriptors


@pytest.fixture
def agent(tmp_path: Path, redis_url: str) -> Iterator[Agent]:
    made = Agent(tmp_path / "sockets", redis_url, "c1")
    yield made
    made.close()


@pytest.mark.redis
def test_an_executor_is_handed_a_connection_that_is_open_and_logged_in(agent: Agent, redis_url: str) -> None:
    said, descriptors = agent.asked()
    assert said == {"prefix": "mesolite:{c1}:", "cluster": "c1"}
    (descriptor,) = descriptors
    with socket.socket(fileno=descriptor) as connection, contextlib.closing(connect(redis_url)) as client:
        assert connection.getblocking()
        assert ask(connection, "SET", "handed", "over") == b"+OK"
        assert client.get("handed") == b"over"
        agent.close()
        assert ask(connection, "GET", "handed") == b"over", "it does not need its agent any more"


@pytest.mark.redis
def test_the_user_for_executors_that_operators_are_told_to_make_reaches_pools_and_nothing_else(tmp_path: Path) -> None:
    """Method: the line of docs/operating.md, as it stands there."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (line,) = [each.strip() for each in text.splitlines() if each.strip().startswith("ACL SETUSER executors")]
    with EmbeddedRedis(tmp_path / "redis") as server:
        with connect_raw(server.url, timeout_s=TIMEOUT_S) as operator:
            assert ask(operator, *line.split()) == b"+OK"
        host = server.url.rpartition("@")[2]
        agent = Agent(tmp_path / "sockets", f"redis://executors:PASSWORD@{host}")
        said, (descriptor,) = agent.asked()
        with socket.socket(fileno=descriptor) as connection:
            key = said["prefix"] + "pool:f:results"
            assert b"-0" in ask(connection, "XADD", key, "1-0", "", "x")
            for command in (("XTRIM", key, "MINID", "2-0"), ("EXPIRE", key, "60"), ("XREVRANGE", key, "+", "-")):
                assert not ask(connection, *command).startswith(b"-")
            for name in ("lease", "calls:default", "framework:f"):
                assert ask(connection, "XADD", said["prefix"] + name, "*", "", "x").startswith(b"-NOPERM")
            assert ask(connection, "GET", said["prefix"] + "lease").startswith(b"-NOPERM")
            assert ask(connection, "CONFIG", "GET", "requirepass").startswith(b"-NOPERM")
        agent.close()


@pytest.mark.redis
def test_each_request_gets_a_connection_of_its_own(agent: Agent) -> None:
    ids: set[bytes] = set()
    for _ in range(5):
        _, (descriptor,) = agent.asked()
        with socket.socket(fileno=descriptor) as connection:
            ids.add(ask(connection, "CLIENT", "ID"))
    assert len(ids) == 5


def test_an_agent_that_gives_none_says_so(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "sockets", OFF)
    said, descriptors = agent.asked()
    assert "executor_redis" in said["error"]
    assert descriptors == []
    agent.close()


@pytest.mark.parametrize("url", [f"redis://:secret@{LOOPBACK}:{{port}}/0", "memory://"])
def test_without_a_redis_the_reason_is_told_and_no_password(tmp_path: Path, url: str) -> None:
    agent = Agent(tmp_path / "sockets", url.format(port=free_port()))
    said, descriptors = agent.asked()
    assert said["error"]
    assert "secret" not in said["error"]
    assert descriptors == []
    agent.close()


def test_requests_beyond_the_bound_are_told_to_wait_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a Redis that accepts and says nothing, until the test lets it."""
    gate = threading.Event()

    def slow(url: str, *, timeout_s: float) -> socket.socket:
        gate.wait(TIMEOUT_S)
        return socket.socket(socket.AF_UNIX)

    monkeypatch.setattr(redis_door, "connect_raw", slow)
    agent = Agent(tmp_path / "sockets", "redis://nowhere")
    open_ones = [agent.ask() for _ in range(redis_door.MAX_OPEN_EACH)]
    said, _ = agent.asked()
    assert "wait" in said["error"]
    gate.set()
    for end in open_ones:
        said, (descriptor,) = answer(end)
        assert said["cluster"] == "default"
        socket.close(descriptor)
    said, (descriptor,) = agent.asked()
    assert "error" not in said
    socket.close(descriptor)
    agent.close()


@pytest.mark.redis
def test_whoever_does_not_wait_for_the_answer_keeps_nobody_waiting(agent: Agent) -> None:
    for _ in range(50):
        agent.ask().close()

    def served() -> list[int]:
        said, descriptors = agent.asked()
        assert descriptors or "wait" in said["error"]
        return descriptors

    (descriptor,) = eventually(served)
    socket.close(descriptor)


@pytest.mark.redis
def test_after_a_failover_the_next_primarys_is_handed_over(tmp_path: Path) -> None:
    with SentinelRig(tmp_path / "redis") as redis:
        agent = Agent(tmp_path / "sockets", redis.url)
        lost = redis.wait_for_primary()
        _, (descriptor,) = agent.asked()
        with socket.socket(fileno=descriptor) as connection:
            lost.kill()
            assert connection.recv(1) == b""
        redis.wait_for_primary(other_than=lost)
        _, (descriptor,) = agent.asked()
        with socket.socket(fileno=descriptor) as connection:
            assert ask(connection, "SET", "handed", "over") == b"+OK"
        agent.close()
