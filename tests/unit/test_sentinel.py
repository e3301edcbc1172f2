"""Which Sentinel is believed, without any: what each would answer is given."""

from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from mesolite.transport.address import parse_sentinel
from mesolite.transport.kombu_address import kombu_transport_options, kombu_url
from mesolite.transport.sentinel import Sentinels

URL = "sentinel://:secret@a:1,b:2,c:3/m?sentinel_password=hidden"


class Answers:
    """What the Sentinels of URL say, in their order: a port and a configuration's number, None for silence."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *said: tuple[int, int] | None) -> None:
        self.said = dict(zip("abc", said, strict=True))
        self.down = False
        self.asked: list[str] = []
        answers = self

        def masters(sentinel: redis.Redis) -> dict[str, dict[str, Any]]:
            host: str = sentinel.connection_pool.connection_kwargs["host"]
            answers.asked.append(host)
            said = answers.said[host]
            if said is None:
                raise redis.ConnectionError("refused")
            state = {"is_master": True, "is_sdown": answers.down, "is_odown": answers.down, "num-other-sentinels": 2}
            return {"m": {**state, "ip": "h", "port": said[0], "config-epoch": said[1]}}

        monkeypatch.setattr(redis.Redis, "sentinel_masters", masters)


def test_the_first_that_answers_is_believed_and_asked_first_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch, None, (7001, 1), (7001, 1))
    sentinels = Sentinels(parse_sentinel(URL))
    assert sentinels.discover_master("m") == ("h", 7001)
    assert sentinels.discover_master("m") == ("h", 7001)
    assert answers.asked == ["a", "b", "b"]


def test_one_that_is_behind_what_was_seen_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut off together with the old primary, and still names it."""
    answers = Answers(monkeypatch, (7001, 1), (7002, 2), (7002, 2))
    sentinels = Sentinels(parse_sentinel(URL))
    assert sentinels.discover_master("m") == ("h", 7001), "nothing newer was seen yet"
    answers.said["a"] = None
    assert sentinels.discover_master("m") == ("h", 7002)
    answers.said = {"a": (7001, 1), "b": None, "c": (7002, 2)}
    assert sentinels.discover_master("m") == ("h", 7002)


def test_where_all_are_behind_the_newest_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were set up anew and count from the beginning."""
    answers = Answers(monkeypatch, (7001, 9), (7001, 9), (7001, 9))
    sentinels = Sentinels(parse_sentinel(URL))
    sentinels.discover_master("m")
    answers.said = {"a": (7002, 0), "b": (7003, 1), "c": None}
    assert sentinels.discover_master("m") == ("h", 7003)
    assert sentinels.discover_master("m") == ("h", 7003)
    assert answers.asked[-1] == "b"


def test_without_a_primary_each_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch, None, (7001, 1), (7001, 1))
    answers.down = True
    with pytest.raises(MasterNotFoundError, match="a:1: refused; Sentinel b:2: the primary 'm' is down"):
        Sentinels(parse_sentinel(URL)).discover_master("m")
    with pytest.raises(MasterNotFoundError, match="b:2: knows no primary named 'n', but m"):
        Sentinels(parse_sentinel(URL)).discover_master("n")


def test_kombu_is_told_of_all_sentinels_and_how_to_ask_them() -> None:
    url = "sentinel://us%40er:p%2Fw@a:1,[::1]:2/name/3?sentinel_user=s&sentinel_password=hidden"
    assert kombu_url(url) == "sentinel://us%40er:p%2Fw@a:1/3;sentinel://us%40er:p%2Fw@[::1]:2/3"
    options = kombu_transport_options(url)
    assert options["master_name"] == "name"
    asking = options["sentinel_kwargs"]
    assert isinstance(asking, dict)
    assert (asking["username"], asking["password"]) == ("s", "hidden")
    assert asking["retry"].get_retries() == 0
    assert asking["socket_timeout"] <= 1.0


def test_kombu_needs_to_know_no_more_where_there_are_no_sentinels() -> None:
    assert kombu_transport_options("redis://:secret@a/0") == kombu_transport_options("memory://") == {}
