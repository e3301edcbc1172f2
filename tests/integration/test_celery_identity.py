"""By which framework a named dispatcher is known, from one of its lives to the next."""

import signal
from collections.abc import Iterator
from contextlib import closing
from types import FrameType
from uuid import uuid4

import pytest

from mesolite.frameworks.celery.identity import KeptIdentity
from mesolite.frameworks.celery.parts import KIND, broke
from mesolite.frameworks.celery.replacing import Replacement
from mesolite.frameworks.celery.settings import DispatchSettings
from mesolite.frameworks.driver.settings import REMOVED
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL


@pytest.fixture
def settings(redis_url: str) -> DispatchSettings:
    place = ClusterPlace(redis_url, DEFAULT_CLUSTER, DEFAULT_PRINCIPAL)
    return DispatchSettings(app="proj", name="proj", place=place, path=("/",), concurrency=1)


@pytest.fixture
def told() -> Iterator[list[int]]:
    """Signals by which this process was told to end."""
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGQUIT, hear)
    yield heard
    signal.signal(signal.SIGQUIT, before)


def _framework_id(settings: DispatchSettings) -> str:
    with closing(settings.place.open_store()) as store:
        return KeptIdentity(store, KIND, settings.name).framework_id


def test_the_next_life_is_the_same_framework(settings: DispatchSettings) -> None:
    assert _framework_id(settings) == _framework_id(settings)


def test_only_the_first_framework_of_a_name_follows_none(settings: DispatchSettings) -> None:
    firsts: list[bool] = []
    name = uuid4().hex
    for _ in range(2):
        with closing(settings.place.open_store()) as store:
            identity = KeptIdentity(store, KIND, name)
            firsts.append(identity.is_first)
            identity.forget()
    assert firsts == [True, False]


def test_a_framework_that_was_removed_is_not_tried_again(settings: DispatchSettings, told: list[int]) -> None:
    before = _framework_id(settings)

    broke(settings, Replacement(settings.name), f"{REMOVED}: it was silent for longer than its failover timeout")

    assert told == [signal.SIGQUIT]
    assert _framework_id(settings) != before


def test_a_cluster_that_does_not_answer_may_still_know_the_framework(
    settings: DispatchSettings, told: list[int]
) -> None:
    before = _framework_id(settings)

    broke(settings, Replacement(settings.name), "no leading master answered within 15000 ms; is one running?")

    assert told == [signal.SIGQUIT]
    assert _framework_id(settings) == before
