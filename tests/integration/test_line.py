"""What a kept connection to Redis does when commands are refused, and when it is lost."""

import contextlib
from collections.abc import Iterator

import pytest
import redis

from mesolite.transport import line as line_module
from mesolite.transport.keys import key_prefix
from mesolite.transport.line import Line
from mesolite.transport.redis_client import connect

pytestmark = pytest.mark.redis


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(connect(redis_url)) as opened:
        yield opened


@pytest.fixture
def key(cluster: str, client: redis.Redis) -> Iterator[str]:
    name = key_prefix(cluster) + "line"
    yield name
    client.delete(name)


def test_answers_are_as_redis_gives_them(client: redis.Redis, key: str) -> None:
    line = Line(client)
    assert line.command("RPUSH", key, "a", b"\xff", 3) == 3
    assert line.command("LRANGE", key, 0, -1) == [b"a", b"\xff", b"3"]
    assert line.command("GET", key + "-absent") is None
    assert line.commands([("LLEN", key), ("LPOP", key)]) == [3, b"a"]


def test_a_refused_command_costs_no_connection(client: redis.Redis, key: str) -> None:
    line = Line(client)
    mine = line.command("CLIENT", "ID")
    with pytest.raises(redis.ResponseError):
        line.command("NONSENSE")
    assert line.command("CLIENT", "ID") == mine


def test_of_several_commands_one_may_be_refused_and_each_answer_is_read(client: redis.Redis, key: str) -> None:
    line = Line(client)
    mine = line.command("CLIENT", "ID")
    with pytest.raises(redis.ResponseError, match="NONSENSE"):
        line.commands([("SET", key, "1"), ("NONSENSE",), ("APPEND", key, "2"), ("LLEN", key)])
    assert line.command("GET", key) == b"12", "the others were done, and this is no answer to one of them"
    assert line.command("CLIENT", "ID") == mine


def test_a_lost_connection_is_an_error_of_one_command(client: redis.Redis, redis_url: str, key: str) -> None:
    line = Line(client)
    lost = line.command("CLIENT", "ID")
    with contextlib.closing(connect(redis_url)) as other:
        other.client_kill_filter(_id=str(lost))
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        line.command("RPUSH", key, "x")
    assert line.command("RPUSH", key, "y") in (1, 2), "nothing is repeated, and the first may have been done"
    assert line.command("CLIENT", "ID") != lost


def test_a_connection_that_was_lost_long_ago_is_none(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends seldom does not pay for a server that closes what is idle, or that was restarted meanwhile."""
    monkeypatch.setattr(line_module, "TRUST_S", 0.0)
    line = Line(client)
    lost = line.command("CLIENT", "ID")
    with contextlib.closing(connect(redis_url)) as other:
        other.client_kill_filter(_id=str(lost))
    assert line.command("CLIENT", "ID") != lost


def test_it_keeps_one_connection(client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "TRUST_S", 0.0)
    line = Line(client)
    assert len({line.command("CLIENT", "ID") for _ in range(5)}) == 1
