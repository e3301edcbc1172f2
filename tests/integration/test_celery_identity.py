"""By which framework a named dispatcher is known, from one of its lives to the next."""

import signal
from collections.abc import Iterator
from contextlib import closing
from types import FrameType
from uuid import uuid4

import pytest

from mesolite.frameworks.celery.broker_address import BrokerAddress
from mesolite.frameworks.celery.earlier_life import meet
from mesolite.frameworks.celery.identity import KeptIdentity
from mesolite.frameworks.celery.parts import KIND, broke
from mesolite.frameworks.celery.replacing import Replacement
from mesolite.frameworks.celery.settings import DispatchSettings
from mesolite.frameworks.driver.settings import REMOVED
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL

BROKER = BrokerAddress("redis", ("redis:6379",), "0")
OTHER = BrokerAddress("redis", ("redis:6379",), "1")


@pytest.fixture
def settings(redis_url: str) -> DispatchSettings:
    place = ClusterPlace(redis_url, DEFAULT_CLUSTER, DEFAULT_PRINCIPAL)
    return DispatchSettings(app="proj", name=uuid4().hex, place=place, path=("/",), concurrency=1)


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


def _broker(settings: DispatchSettings) -> bytes | None:
    with closing(settings.place.open_store()) as store:
        return KeptIdentity(store, KIND, settings.name).broker


def test_a_life_of_a_former_version_left_no_broker_and_the_next_says_nothing_of_it(
    settings: DispatchSettings, caplog: pytest.LogCaptureFixture
) -> None:
    _framework_id(settings)
    meet(settings, BROKER)
    meet(settings, BROKER)
    assert caplog.messages == []
    assert _broker(settings) == BROKER.encode()


def test_where_no_master_can_say_whether_the_last_life_goes_on_it_is_told_of_and_not_refused(
    settings: DispatchSettings, caplog: pytest.LogCaptureFixture
) -> None:
    meet(settings, BROKER)
    meet(settings, OTHER)
    told = "\n".join(caplog.messages)
    assert str(BROKER) in told
    assert str(OTHER) in told
    assert "--name" in told
    assert _broker(settings) == OTHER.encode()


def test_a_framework_that_ended_for_good_leaves_no_broker(
    settings: DispatchSettings, caplog: pytest.LogCaptureFixture
) -> None:
    meet(settings, BROKER)
    with closing(settings.place.open_store()) as store:
        KeptIdentity(store, KIND, settings.name).forget()
    meet(settings, OTHER)
    assert caplog.messages == []
