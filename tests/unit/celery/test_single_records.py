"""What is known, one life of a dispatcher after the other, of the runs that were launched."""

from collections.abc import Mapping

import pytest

from mesolite.errors import RedisUnavailable
from mesolite.frameworks.celery import single_records
from mesolite.frameworks.celery.single_records import ATTACH_WITHIN_MS, SingleRecords
from mesolite.ids import FrameworkId
from mesolite.transport import MemoryBroker, MemoryStore


class MoodyStore(MemoryStore):
    """One whose Redis can be away."""

    away = False

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        if self.away:
            raise RedisUnavailable
        return super().change_state(key, generation, changes)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def life(broker: MemoryBroker, *, is_first: bool = False, store: MemoryStore | None = None) -> SingleRecords:
    """Another life of the dispatcher."""
    records = SingleRecords(store or MemoryStore(broker), FrameworkId("celery-tasks-1"), is_first=is_first)
    records.begin(0)
    return records


def test_what_was_not_launched_never_began(broker: MemoryBroker) -> None:
    life(broker, is_first=True).launch(["runs"], 1)
    second = life(broker)
    assert second.never_began("waits")
    assert not second.never_began("runs")


def test_a_run_that_ended_is_not_taken_for_one_that_never_began(broker: MemoryBroker) -> None:
    first = life(broker, is_first=True)
    first.launch(["ended"], 1)
    first.end("ended")
    assert not life(broker).never_began("ended")
    assert not life(broker).never_began("ended"), "nor by the life after"


def test_the_oldest_ends_are_forgotten_and_nothing_that_runs(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_records, "MAX_ENDED", 2)
    first = life(broker, is_first=True)
    first.launch(["runs", *"abc"], 1)
    for name in "abc":
        first.end(name)
    second = life(broker)
    assert [name for name in ("runs", *"abc") if second.never_began(name)] == ["a"]


def test_a_framework_that_follows_one_that_was_forgotten_takes_nothing_for_not_begun(broker: MemoryBroker) -> None:
    """That one launched under another id. What is asked for may run: so the life after takes it for launched, too."""
    second = life(broker)
    assert not second.never_began("of the first")
    second.launch(["of the first"], 1)
    third = life(broker)
    assert not third.never_began("never asked for")
    third.launch(["new"], ATTACH_WITHIN_MS)
    fourth = life(broker)
    assert not fourth.never_began("of the first")
    assert fourth.never_began("never asked for"), "all was asked for long ago"


def test_where_too_many_run_the_next_life_asks_for_all(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_records, "MAX_LAUNCHED", 2)
    first = life(broker, is_first=True)
    first.launch(["a", "b"], 1)
    assert life(broker).never_began("c")
    first = life(broker)
    first.launch(["a", "b", "c"], 1)
    assert not life(broker).never_began("d")


def test_what_cannot_be_written_is_written_when_redis_is_back(broker: MemoryBroker) -> None:
    store = MoodyStore(broker)
    first = life(broker, is_first=True, store=store)
    store.away = True
    first.launch(["runs"], 1)
    saved = [first.is_saved]
    store.away = False
    first.save()
    assert [*saved, first.is_saved] == [False, True]
    assert not life(broker).never_began("runs")


def test_what_a_failover_forgot_is_written_again(broker: MemoryBroker) -> None:
    first = life(broker, is_first=True)
    first.launch(["runs"], 1)
    [key] = [key for key in broker.states if "celery-tasks-1" in key]
    broker.states[key][1].clear()
    first.rewrite()
    assert not life(broker).never_began("runs")


def test_who_has_a_successor_is_told_so_before_it_launches(broker: MemoryBroker) -> None:
    first = life(broker, is_first=True)
    second = life(broker)
    first.launch(["late"], 1)
    assert first.superseded
    assert second.never_began("late")
