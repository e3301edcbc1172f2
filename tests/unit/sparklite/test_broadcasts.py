"""Broadcast values: put once, fetched by each agent once, and forgotten when the driver says so."""

import threading
from pathlib import Path

import pytest

from mesolite.executors.sparklite.blocks import BlockLost
from mesolite.executors.sparklite.broadcast import Broadcast
from mesolite.executors.sparklite.task_data import StageCode, TaskMissed
from mesolite.frameworks.sparklite.broadcasts import BroadcastRegistry
from mesolite.frameworks.sparklite.errors import SparkError
from mesolite.frameworks.sparklite.stage_function import pickled
from tests.unit.sparklite.worker_rig import Store, Worker, stage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The driver's."""
    return Store(tmp_path)


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> BroadcastRegistry:
    """A context's."""
    return BroadcastRegistry(store, "app", tmp_path)


def lookup(table: Broadcast[dict[int, str]]) -> StageCode:
    """A stage that looks items up in a broadcast table."""

    def look(key: int) -> str:
        return table.value[key]

    return stage(look)


def test_the_driver_has_its_own_value(registry: BroadcastRegistry) -> None:
    value = [1, 2, 3]
    assert registry.new(value).value is value


def test_tasks_read_it_and_code_does_not_carry_it(registry: BroadcastRegistry, tmp_path: Path) -> None:
    table = registry.new(dict.fromkeys(range(1000), "x" * 100))
    code = lookup(table)
    assert len(pickled(code)) < 3_000
    assert Worker(tmp_path).run(code, [0, 1]).value == ["x" * 100] * 2


def test_one_worker_of_an_agent_fetches_it_and_leaves_a_copy_for_the_others(
    registry: BroadcastRegistry, store: Store, tmp_path: Path
) -> None:
    table = registry.new({1: "one"})
    first = Worker(tmp_path, "other", 1).run(lookup(table), [1])
    [(_, copy)] = first.copied
    assert copy.agent_id == "other"
    registry.copied(first.copied)
    # The origin is gone, and the second worker finds the copy.
    store.drop([registry.block_of(_number_of(table))])
    second = Worker(tmp_path, "other", 2).run(lookup(table), [1])
    assert (second.value, second.copied) == (["one"], ())


def test_a_worker_unpickles_it_once(registry: BroadcastRegistry, tmp_path: Path) -> None:
    table = registry.new({1: "one"})
    worker = Worker(tmp_path)

    def identity(_value: int) -> int:
        return id(table.value)

    seen = {each for _ in range(3) for each in worker.run(stage(identity), [1, 2]).value}
    assert len(seen) == 1


def test_a_value_that_is_lost_ends_the_task_as_missed_and_is_put_anew(
    registry: BroadcastRegistry, store: Store, tmp_path: Path
) -> None:
    table = registry.new({1: "one"})
    store.drop([registry.block_of(_number_of(table))])

    def hide(key: int) -> str:
        try:
            return table.value[key]
        except BlockLost:
            return "hidden"

    worker, code = Worker(tmp_path), stage(hide)
    missed = worker.end(code, [1])
    assert isinstance(missed, TaskMissed)
    assert missed.lost is not None
    assert missed.lost == registry.block_of(_number_of(table))
    assert registry.renew(missed.lost)
    assert worker.run(code, [1], broadcasts=registry.moved()).value == ["one"]


def test_other_blocks_are_none_of_its(registry: BroadcastRegistry, store: Store) -> None:
    assert not registry.renew(store.put("rdd-app-1-2-3", b""))


def test_after_destroy_nobody_can_use_it(registry: BroadcastRegistry, store: Store, tmp_path: Path) -> None:
    table = registry.new({1: "one"})
    block = registry.block_of(_number_of(table))
    done = Worker(tmp_path, "other").run(lookup(table), [1])
    registry.copied(done.copied)
    table.destroy()
    table.destroy()
    assert {each.agent_id for each in store.dropped} == {block.agent_id, "other"}
    with pytest.raises(SparkError, match="after it was destroyed"):
        _ = table.value
    with pytest.raises(SparkError, match="after it was destroyed"):
        pickled(lookup(table))
    with pytest.raises(SparkError, match="after it was destroyed"):
        registry.renew(block)


def test_a_copy_that_is_heard_of_after_destroy_is_dropped(
    registry: BroadcastRegistry, store: Store, tmp_path: Path
) -> None:
    table = registry.new({1: "one"})
    done = Worker(tmp_path, "other").run(lookup(table), [1])
    table.destroy()
    registry.copied(done.copied)
    assert [each.agent_id for each in store.dropped][-1] == "other"


def test_after_unpersist_workers_fetch_it_again(registry: BroadcastRegistry, tmp_path: Path) -> None:
    table = registry.new([0])
    worker = Worker(tmp_path)

    def count(_value: int) -> int:
        table.value[0] += 1
        return table.value[0]

    assert worker.run(stage(count), [1, 1]).value == [1, 2]
    table.unpersist()
    assert worker.run(stage(count), [1], dropped_broadcasts=registry.dropped()).value == [1]
    assert worker.run(stage(count), [1], dropped_broadcasts=registry.dropped()).value == [2]


def test_a_worker_forgets_the_oldest_when_it_holds_too_much(registry: BroadcastRegistry, tmp_path: Path) -> None:
    tables = [registry.new({1: letter * 1000}) for letter in "abc"]
    worker = Worker(tmp_path)
    for table in tables:
        worker.run(lookup(table), [1], memory_limit_bytes=6000)
    # The last one is the worker's own; of the first two one has been forgotten, and is fetched.
    assert worker.run(lookup(tables[0]), [1]).value == ["a" * 1000]


def test_tasks_cannot_unpersist_or_destroy(registry: BroadcastRegistry, tmp_path: Path) -> None:
    table = registry.new(1)

    def destroy(_value: int) -> None:
        table.destroy()

    with pytest.raises(RuntimeError, match="can only be destroyed in driver"):
        Worker(tmp_path).run(stage(destroy), [1])


def test_a_value_that_cannot_be_pickled_is_named(registry: BroadcastRegistry) -> None:
    with pytest.raises(SparkError, match=r"value\['lock'\].*_thread.lock"):
        registry.new({"lock": threading.Lock()})


def test_outside_of_tasks_what_was_sent_cannot_be_read(registry: BroadcastRegistry) -> None:
    with pytest.raises(RuntimeError, match="can only be read by tasks"):
        _ = Broadcast[int](0, registry.block_of(_number_of(registry.new(1)))).value


def _number_of(table: Broadcast[object]) -> int:
    _, (number, _block) = table.__reduce__()
    return int(number)
