"""What a group keeps for its next life, and who may write it."""

from collections.abc import Mapping

import pytest

from mesolite.errors import RedisUnavailable, Superseded
from mesolite.frameworks.celery_workers.effects import Remember
from mesolite.frameworks.celery_workers.memory import GroupMemory
from mesolite.frameworks.celery_workers.worker import Phase, Worker, node_name, task_id
from mesolite.transport import MemoryBroker, MemoryStore


def worker(number: int) -> Worker:
    return Worker(task_id=task_id("g", number, "a1"), number=number, node=node_name("g", number), launched_ms=number)


class MoodyStore(MemoryStore):
    """One whose Redis can be away."""

    away = False

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        if self.away:
            raise RedisUnavailable
        return super().change_state(key, generation, changes)


def test_the_next_life_is_the_same_framework_with_the_same_workers() -> None:
    broker = MemoryBroker()
    first = GroupMemory(lambda: MemoryStore(broker), "g")
    framework_id = first.framework_id()
    first.remember(Remember(kept=(worker(2), worker(1), worker(3)), forgotten=()))
    first.remember(Remember(kept=(), forgotten=(worker(3).task_id,)))
    second = GroupMemory(lambda: MemoryStore(broker), "g")
    assert second.framework_id() == framework_id
    assert second.workers() == [worker(1), worker(2)]


def test_groups_do_not_know_of_each_other() -> None:
    broker = MemoryBroker()
    ids = {GroupMemory(lambda: MemoryStore(broker), name).framework_id() for name in ("a", "b")}
    assert len(ids) == 2


def test_a_life_that_has_a_successor_cannot_write_any_more() -> None:
    broker = MemoryBroker()
    first = GroupMemory(lambda: MemoryStore(broker), "g")
    GroupMemory(lambda: MemoryStore(broker), "g")
    with pytest.raises(Superseded):
        first.remember(Remember(kept=(worker(1),), forgotten=()))


def test_what_cannot_be_written_while_redis_is_away_is_written_later() -> None:
    broker = MemoryBroker()
    store = MoodyStore(broker)
    memory = GroupMemory(lambda: store, "g")
    store.away = True
    changing = worker(1)
    memory.remember(Remember(kept=(changing,), forgotten=()))
    changing.phase = Phase.LEAVING
    memory.remember(Remember(kept=(changing,), forgotten=()))
    store.away = False
    memory.flush()
    (kept,) = GroupMemory(lambda: MemoryStore(broker), "g").workers()
    assert kept.phase is Phase.LEAVING


def test_after_its_end_a_group_is_another_framework() -> None:
    broker = MemoryBroker()
    first = GroupMemory(lambda: MemoryStore(broker), "g")
    framework_id = first.framework_id()
    first.remember(Remember(kept=(worker(1),), forgotten=()))
    first.end()
    second = GroupMemory(lambda: MemoryStore(broker), "g")
    assert (second.framework_id() != framework_id, second.workers()) == (True, [])
