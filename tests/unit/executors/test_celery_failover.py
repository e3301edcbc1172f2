"""A primary that takes no writes yet is one that is away, to whoever stores results: it is tried again."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis import exceptions

from mesolite.executors.celery.failover import expect_failovers

NOREPLICAS = "NOREPLICAS Not enough good replicas to write."


@pytest.fixture
def parser() -> Iterator[Any]:
    """What makes exceptions of answers; as it was, afterwards."""
    base: Any = sys.modules["redis._parsers.base"]
    classes: dict[str, Any] = base.BaseParser.EXCEPTION_CLASSES
    before = dict(classes)
    classes.pop("NOREPLICAS", None)
    yield base.BaseParser
    classes.clear()
    classes.update(before)


def test_a_refusal_for_want_of_replicas_is_a_lost_connection(parser: Any) -> None:
    assert type(parser.parse_error(NOREPLICAS)) is exceptions.ResponseError, "to redis-py alone it is an answer"
    assert expect_failovers()
    assert isinstance(parser.parse_error(NOREPLICAS), redis.ConnectionError)


def test_other_answers_stay_what_they_are(parser: Any) -> None:
    assert expect_failovers()
    assert type(parser.parse_error("WRONGTYPE Operation against a key")) is exceptions.ResponseError
    assert isinstance(parser.parse_error("READONLY You can't write"), exceptions.ReadOnlyError)


def test_without_redis_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "redis.exceptions")
    assert not expect_failovers()
