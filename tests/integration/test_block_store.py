"""Blocks over HTTP: by an executor's own socket, by the port of its agent, between two agents."""

import contextlib
import http.client
import json
import resource
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from mesolite.agent.blocks import http as blocks_http
from mesolite.agent.blocks.http import BlockServer
from mesolite.agent.blocks.store import BlockStore
from mesolite.agent.blocks.tokens import BlockTokens
from mesolite.errors import Unavailable
from mesolite.executors.python.blocks import path_elsewhere
from mesolite.ids import FrameworkId
from mesolite.ports import LOOPBACK
from tests.waiting import eventually

ONE, TWO = FrameworkId("one"), FrameworkId("two")
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIMEOUT_S: Final = 30.0


class OwnSocket(http.client.HTTPConnection):
    """An executor's way to the store: a connection that the agent has taken for its framework's."""

    def __init__(self, server: BlockServer, framework_id: FrameworkId) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._server = server
        self._framework_id = framework_id

    def connect(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(TIMEOUT_S)
        self._server.take(self._framework_id, theirs)


class Agent:
    """One agent's store, served."""

    def __init__(self, directory: Path, max_bytes: int = 64 * MIB) -> None:
        directory.mkdir(exist_ok=True)
        self.store = BlockStore(directory / "blocks", max_bytes)
        self.server = BlockServer(self.store, BlockTokens.kept_in(directory / "blocks.secret"), host=LOOPBACK, port=0)
        self.server.start()

    def own(self, framework_id: FrameworkId = ONE) -> OwnSocket:
        """An executor's connection."""
        return OwnSocket(self.server, framework_id)

    def port(self) -> http.client.HTTPConnection:
        """Anybody's connection."""
        where = urlsplit(self.server.url)
        return http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_S)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """One request on a connection that is closed afterwards."""
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    made.server.close()


# -- over HTTP --------------------------------------------------------------------------------------------------------


def test_an_executor_stores_reads_and_removes_on_its_own_socket(agent: Agent) -> None:
    status, _, headers = ask(agent.own(), "PUT", "/blocks/a", b"bytes")
    assert status == 201
    assert headers["Location"].startswith(agent.server.url + "/blocks/a?token=")
    assert ask(agent.own(), "GET", "/blocks/a")[:2] == (200, b"bytes")
    status, body, headers = ask(agent.own(), "HEAD", "/blocks/a")
    assert (status, body, headers["Content-Length"]) == (200, b"", "5")
    assert ask(agent.own(), "DELETE", "/blocks/a")[:2] == (204, b"")
    for method in ("GET", "DELETE", "HEAD"):
        assert ask(agent.own(), method, "/blocks/a")[0] == 404


def test_one_connection_serves_many_requests(agent: Agent) -> None:
    statuses: list[int] = []
    with contextlib.closing(agent.own()) as connection:
        for number in range(20):
            for method, body in (("PUT", b"x" * 1000 * number), ("GET", None), ("DELETE", None), ("GET", None)):
                connection.request(method, f"/blocks/{number}", body)
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
    assert statuses == 20 * [201, 200, 204, 404]


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"cde", "bytes 2-4/10"),
        ("bytes=0-0", 206, b"a", "bytes 0-0/10"),
        ("bytes=7-", 206, b"hij", "bytes 7-9/10"),
        ("bytes=8-999999", 206, b"ij", "bytes 8-9/10"),
        ("bytes=-3", 206, b"hij", "bytes 7-9/10"),
        ("bytes=-99", 206, b"abcdefghij", "bytes 0-9/10"),
        ("Bytes=1-1", 206, b"b", "bytes 1-1/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=10-20", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"abcdefghij", None),
        ("bytes=-", 200, b"abcdefghij", None),
        ("bytes=1-2,4-5", 200, b"abcdefghij", None),
        ("lines=1-2", 200, b"abcdefghij", None),
        ("bytes=+1-2", 200, b"abcdefghij", None),
        ("bytes=\u0661-", 200, b"abcdefghij", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"abcdefghij", None),
    ],
)
def test_a_part_of_a_block_is_sent_as_rfc_9110_has_it(
    agent: Agent, asked: str, status: int, body: bytes | None, told: str | None
) -> None:
    ask(agent.own(), "PUT", "/blocks/a", b"abcdefghij")
    with contextlib.closing(agent.own()) as connection:
        for _ in range(2):
            connection.putrequest("GET", "/blocks/a")
            connection.putheader("Range", asked.encode())
            connection.endheaders()
            answer = connection.getresponse()
            found = answer.read()
            assert (answer.status, answer.headers.get("Content-Range")) == (status, told)
            assert body is None or found == body
    assert ask(agent.own(), "HEAD", "/blocks/a", headers={"Range": asked if asked.isascii() else ""})[0] == 200
    assert ask(agent.own(), "GET", "/blocks/a", headers={"Range": "bytes=2-4", "If-Range": '"x"'})[0] == 200


def test_parts_of_several_blocks_are_sent_one_after_the_other(agent: Agent) -> None:
    ask(agent.own(), "PUT", "/blocks/a", b"abcdefghij")
    ask(agent.own(), "PUT", "/blocks/b-1", b"0123456789" * 100_000)
    with contextlib.closing(agent.own()) as connection:
        for _ in range(2):
            connection.request("GET", "/blocks/?parts=a.2.4,b-1.0.999999,a.0.0,b-1.10.11")
            assert connection.getresponse().read() == b"cde" + b"0123456789" * 100_000 + b"a" + b"01"
    token = agent.server.tokens.token(ONE)
    assert ask(agent.port(), "GET", f"/blocks/?parts=a.2.4&token={token}")[:2] == (200, b"cde")
    assert ask(agent.port(), "GET", "/blocks/?parts=a.2.4")[0] == 401
    assert ask(agent.own(TWO), "GET", "/blocks/?parts=a.2.4")[0] == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("parts=a.0.1,never.0.1", 404),
        ("parts=a.0.1,a.5.10", 404),
        ("parts=a.3.2", 400),
        ("parts=a.0", 400),
        ("parts=", 400),
        ("", 400),
        ("parts=a.0.1,", 400),
        ("parts=../a.0.1", 400),
        ("parts=" + ",".join(["a.0.1"] * 17), 400),
        ("parts=" + ",".join(["a.0.1"] * 16), 200),
    ],
)
def test_parts_that_are_not_all_there_are_not_sent(agent: Agent, query: str, status: int) -> None:
    ask(agent.own(), "PUT", "/blocks/a", b"abcdefghij")
    assert ask(agent.own(), "GET", f"/blocks/?{query}")[0] == status
    assert ask(agent.own(), "GET", "/blocks/a")[0] == 200


def test_nothing_of_an_empty_block_can_be_asked_for(agent: Agent) -> None:
    ask(agent.own(), "PUT", "/blocks/a", b"")
    assert ask(agent.own(), "GET", "/blocks/a", headers={"Range": "bytes=0-"})[0] == 416
    assert ask(agent.own(), "GET", "/blocks/a")[:2] == (200, b"")


def test_a_framework_has_its_own_blocks_only(agent: Agent) -> None:
    ask(agent.own(ONE), "PUT", "/blocks/a", b"secret")
    for method in ("GET", "HEAD", "DELETE"):
        assert ask(agent.own(TWO), method, "/blocks/a")[0] == 404
    assert ask(agent.own(TWO), "PUT", "/blocks/a", b"other")[0] == 201
    assert ask(agent.own(ONE), "GET", "/blocks/a")[1] == b"secret"


def test_others_read_with_the_token_that_an_executor_was_told(agent: Agent) -> None:
    _, body, _ = ask(agent.own(), "GET", "/")
    told: dict[str, str] = json.loads(body)
    assert told["url"] == agent.server.url
    _, _, headers = ask(agent.own(), "PUT", "/blocks/a", b"bytes")
    bearer = {"Authorization": f"Bearer {told['token']}"}
    assert ask(agent.port(), "GET", "/blocks/a", headers=bearer)[:2] == (200, b"bytes")
    where = urlsplit(headers["Location"])
    assert ask(agent.port(), "GET", f"{where.path}?{where.query}")[:2] == (200, b"bytes")
    assert ask(agent.port(), "PUT", "/blocks/b", b"from a client", headers=bearer)[0] == 201
    assert ask(agent.own(), "GET", "/blocks/b")[1] == b"from a client"


def test_without_the_right_token_nobody_learns_anything(agent: Agent, tmp_path: Path) -> None:
    ask(agent.own(), "PUT", "/blocks/a", b"secret")
    stranger = BlockTokens(b"x" * 32).token(ONE)
    two = agent.server.tokens.token(TWO)
    for token in ("", "x", ".", stranger, stranger + "0", "b25l.", "\xff", "a" * 5000):
        headers = {"Authorization": f"Bearer {token}"}
        for method in ("GET", "HEAD", "DELETE", "PUT"):
            for name in ("a", "never"):
                assert ask(agent.port(), method, f"/blocks/{name}", headers=headers)[0] == 401
    assert ask(agent.port(), "GET", "/blocks/a", headers={"Authorization": f"Bearer {two}"})[0] == 404
    assert ask(agent.port(), "GET", "/")[0] == 404, "the token is told on the executor's own socket alone"
    kept = BlockTokens.kept_in(tmp_path / "agent" / "blocks.secret")
    assert kept.framework(agent.server.tokens.token(ONE)) == ONE, "it holds in the agent's next life"
    assert (tmp_path / "agent" / "blocks.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("framework_id", ["one", "a.b", "ä \N{SNOWMAN}", "x" * 255, "a=b&c"])
def test_a_token_names_any_framework(framework_id: str) -> None:
    tokens = BlockTokens(b"x" * 32)
    token = tokens.token(FrameworkId(framework_id))
    assert tokens.framework(token) == framework_id
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_what_does_not_fit_is_refused_before_and_after_it_was_sent(agent: Agent) -> None:
    """The whole body is sent without looking, as http.client does, and the answer is read all the same."""
    status, body, _ = ask(agent.own(), "PUT", "/blocks/a", bytes(80 * MIB))
    assert status == 507
    assert b"blocks_max_mib" in body
    assert agent.store.used_bytes == 0
    assert ask(agent.own(), "PUT", "/blocks/a", b"small")[0] == 201


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"PUT /blocks/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PUT /blocks/a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PUT /blocks/a HTTP/1.1\r\nContent-Length: 1e9\r\n\r\n", 400),
        (b"PUT /blocks/a HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"PUT /blocks/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 400),
        (b"PUT /blocks/../a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"PUT /other/a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 404),
        (b"GET //[ HTTP/1.1\r\n\r\n", 404),
        (b"GET /blocks/a\xff HTTP/1.1\r\n\r\n", 400),
        (b"POST /blocks/a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 501),
        (b"GET /blocks/a HTTP/9.9\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"\0" * 100 + b"\r\n\r\n", 400),
    ],
)
def test_garbage_is_answered_and_harms_nobody(agent: Agent, request_text: bytes, status: int) -> None:
    with contextlib.closing(agent.own()) as connection:
        connection.connect()
        connection.sock.sendall(request_text)
        connection.sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.sock.recv(65536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert ask(agent.own(), "PUT", "/blocks/good", b"x")[0] == 201


def test_whoever_hangs_up_in_the_middle_leaves_nothing(agent: Agent) -> None:
    with contextlib.closing(agent.own()) as connection:
        connection.connect()
        connection.sock.sendall(b"PUT /blocks/a HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        eventually(lambda: agent.store.used_by(ONE) > 1_000_000)
    eventually(lambda: agent.store.used_by(ONE) == 0)


def test_a_body_waits_for_the_go_where_it_was_asked_for(agent: Agent) -> None:
    with contextlib.closing(agent.own()) as connection:
        connection.connect()
        connection.sock.sendall(b"PUT /blocks/a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sock.sendall(b"abc")
        assert connection.sock.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_one_who_asks_slowly_does_not_keep_others_waiting(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_http, "MAX_SERVING_EACH", 4)
    slow = [agent.own(TWO) for _ in range(50)]
    for connection in slow:
        connection.connect()
    assert ask(agent.own(ONE), "PUT", "/blocks/a", b"x")[0] == 201
    assert ask(agent.port(), "GET", "/blocks/a")[0] == 401
    for connection in slow:
        connection.close()
    assert ask(agent.own(TWO), "PUT", "/blocks/a", b"x")[0] == 201


def test_more_than_may_wait_is_closed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_http, "MAX_SERVING_EACH", 1)
    monkeypatch.setattr(blocks_http, "MAX_WAITING_EACH", 2)
    crowd = [agent.own() for _ in range(10)]
    for connection in crowd:
        connection.connect()
    crowd[-1].sock.settimeout(TIMEOUT_S)
    assert crowd[-1].sock.recv(1) == b""
    for connection in crowd:
        connection.close()


def test_a_port_that_is_taken_is_said(agent: Agent, tmp_path: Path) -> None:
    port = urlsplit(agent.server.url).port
    assert port is not None
    second = BlockServer(agent.store, agent.server.tokens, host=LOOPBACK, port=port)
    with pytest.raises(Unavailable, match="blocks_port"):
        second.start()
    second.close()


def test_the_former_port_is_taken_again_where_it_is_free(agent: Agent) -> None:
    """Goal: addresses of blocks outlive the agent's process."""
    taken = urlsplit(agent.server.url).port
    assert taken is not None
    with socket.create_server((LOOPBACK, 0)) as probe:
        free: int = probe.getsockname()[1]
    for former, same in ((free, True), (taken, False)):
        server = BlockServer(agent.store, agent.server.tokens, host=LOOPBACK, port=0)
        assert (urlsplit(server.start(former)).port == former) is same
        server.close()


def test_closing_cuts_what_is_under_way(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent")
    idle, waiting = agent.own(), agent.port()
    idle.connect()
    waiting.connect()
    waiting.sock.sendall(b"PUT /blocks/a HTTP/1.1\r\n")
    agent.server.close()
    for connection in (idle, waiting):
        with contextlib.suppress(ConnectionResetError):
            assert connection.sock.recv(1) == b""
        connection.close()
    late = agent.own()
    late.connect()
    assert late.sock.recv(1) == b""
    late.close()


# -- large ones -------------------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    """The most memory that this process had at any time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def test_a_gigabyte_streams_out_without_being_in_memory(tmp_path: Path) -> None:
    """The block is a hole in a file, so that the disk has nothing to do; the kernel sends it (sendfile)."""
    folder = tmp_path / "agent" / "blocks" / ONE
    folder.mkdir(parents=True)
    with (folder / "large").open("wb") as file:
        file.truncate(GIB)
    agent = Agent(tmp_path / "agent", max_bytes=2 * GIB)
    headers = {"Authorization": f"Bearer {agent.server.tokens.token(ONE)}"}
    before = peak_bytes()
    for connection in (agent.own(), agent.port()):
        with contextlib.closing(connection):
            connection.request("GET", "/blocks/large", headers=headers)
            answer = connection.getresponse()
            piece, received = bytearray(MIB), 0
            while count := answer.readinto(piece):
                received += count
        assert received == GIB
    assert peak_bytes() - before < 32 * MIB
    agent.server.close()


def test_a_large_block_goes_from_one_agent_to_another_without_being_in_memory(tmp_path: Path) -> None:
    """What an executor does that fetches from elsewhere: both agents in one process, so that its memory tells of both."""
    size = 128 * MIB
    first, second = Agent(tmp_path / "first", GIB), Agent(tmp_path / "second", GIB)
    seed = secrets.token_bytes(MIB)
    first.store.put(ONE, "large", size, lambda limit: seed[:limit])
    before = peak_bytes()
    with contextlib.closing(first.port()) as source, contextlib.closing(second.own()) as target:
        source.request("GET", f"/blocks/large?token={first.server.tokens.token(ONE)}")
        answer = source.getresponse()
        target.request("PUT", "/blocks/copy", answer, {"Content-Length": str(size)})
        assert target.getresponse().status == 201
    assert peak_bytes() - before < 32 * MIB
    file, stored_size = second.store.open(ONE, "copy")
    with file:
        assert stored_size == size
        assert all(piece == seed for piece in iter(lambda: file.read(MIB), b""))
    for agent in (first, second):
        agent.server.close()


# Blocks of other agents, for who does not reach these


def test_an_agent_fetches_blocks_of_another_for_its_executors_whole_and_in_parts(agent: Agent, tmp_path: Path) -> None:
    other = Agent(tmp_path / "other")
    with contextlib.closing(other.server):
        data = secrets.token_bytes(3 * MIB)
        _, _, headers = ask(other.own(), "PUT", "/blocks/far", data)
        path = path_elsewhere(headers["Location"])
        assert ask(agent.own(), "GET", path)[:2] == (200, data)
        assert ask(agent.own(), "GET", path, headers={"Range": "bytes=5-9"})[:2] == (206, data[5:10])
        gone = path_elsewhere(headers["Location"].replace("/far", "/gone"))
        assert ask(agent.own(), "GET", gone)[0] == 404
        # The port is for everybody, who shall not have an agent ask others.
        assert ask(agent.port(), "GET", path)[0] == 404
    assert ask(agent.own(), "GET", path)[0] == 502


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1/blocks/a?token=b",
        "https://127.0.0.1:80/blocks/a?token=b",
        "http://127.0.0.1:80/secrets?token=b",
        "http://127.0.0.1:80/blocks/../a?token=b",
        "http://127.0.0.1:80/blocks/a?token=b&x=y",
        "http://user@127.0.0.1:80/blocks/a?token=b",
        "http://127.0.0.1:99999/blocks/a?token=b",
    ],
)
def test_an_agent_asks_nobody_for_what_is_no_blocks_address(agent: Agent, url: str) -> None:
    assert ask(agent.own(), "GET", path_elsewhere(url))[0] == 400
