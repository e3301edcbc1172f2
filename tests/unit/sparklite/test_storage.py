"""Persisted partitions: computed once, read from where they are nearest, and computed again when they are lost."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite.blocks import BlockLost, StoredBlock
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.immutable import deep_size, is_immutable
from mesolite.executors.sparklite.nodes import Items, Step, Zipped
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskMissed, TaskSpec

MIB = 1024 * 1024
KEY = (1, 0)


class Counted:
    """A step that counts how often it ran, and can end early."""

    def __init__(self) -> None:
        self.runs = 0
        self.items = 0

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        self.runs += 1
        for item in items:
            self.items += 1
            yield item


class Bench:
    """RDD 0 is the items, RDD 1 the step that is persisted, and tasks run on it within this process."""

    def __init__(self, directory: Path, level: StorageLevel = StorageLevel.MEMORY_AND_DISK) -> None:
        self.directory = directory
        self.step = Counted()
        self.node = Step(1, Items(0, 4), self.step)
        self.node.level = level
        self.known: dict[tuple[int, int], StoredBlock] = {}
        self._tasks = 0

    def run(
        self, items: list[Any], storage: Storage, agent_id: str = "a", take: int | None = None, **fields: Any
    ) -> TaskDone:
        """Run a task that goes through; what it keeps the next ones are told."""
        done = self.end(items, storage, agent_id, take, **fields)
        assert isinstance(done, TaskDone), done
        for key in done.uncached:
            self.known.pop(key, None)
        self.known.update(done.cached)
        return done

    def end(
        self,
        items: list[Any],
        storage: Storage,
        agent_id: str = "a",
        take: int | None = None,
        node: Any = None,
        **fields: Any,
    ) -> TaskDone | TaskMissed:
        """Run a task."""
        import pickle

        self._tasks += 1
        spec = TaskSpec("app", 0, 0, 0, self._tasks, 0, {(0, 0): pickle.dumps(items)}, dict(self.known))
        spec = replace(spec, **{"memory_limit_bytes": 100 * MIB, **fields})
        storage.begin(spec)
        code = StageCode(node or self.node, result=lambda _task, found: list(islice(found, take)))
        return Task(code, spec, DirectoryBlocks(self.directory / agent_id, agent_id), storage).run()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """With blocks in directories of its own."""
    return Bench(tmp_path)


def test_a_partition_is_computed_once_and_kept_in_the_agents_store(bench: Bench) -> None:
    storage = Storage()
    first = bench.run([1, 2, 3], storage)
    again = bench.run([1, 2, 3], storage)
    assert (first.value, again.value, bench.step.runs) == ([1, 2, 3], [1, 2, 3], 1)
    assert (first.metrics.cache_hits, again.metrics.cache_hits) == (0, 1)
    assert first.cached[KEY].agent_id == "a"
    assert again.cached == {}


@pytest.mark.parametrize("agent_id", ["a", "b"])
def test_other_workers_read_it_from_the_store_near_or_far(bench: Bench, agent_id: str) -> None:
    items = [("word", index, None, [index]) for index in range(100_000)]
    bench.run(items, Storage())
    other = bench.run(items, Storage(), agent_id)
    assert (other.value, bench.step.runs, other.metrics.cache_hits) == (items, 1, 1)
    assert other.metrics.items_in == len(items)


def test_an_empty_partition_is_kept_as_well(bench: Bench) -> None:
    bench.run([], Storage())
    assert bench.run([], Storage(), "b").value == []
    assert bench.step.runs == 1


def test_objects_that_nobody_can_change_are_held_in_memory(bench: Bench) -> None:
    storage = Storage()
    block = bench.run([("a", 1), ("b", (2, None))], storage).cached[KEY]
    Path(block.url).unlink()
    assert bench.run([], storage).value == [("a", 1), ("b", (2, None))]
    assert storage.held_bytes > 0


@pytest.mark.parametrize("item", [[1], {"a": 1}, ("a", [1]), {1}, bytearray(b"a"), object()])
def test_what_a_function_could_change_is_unpickled_for_each_task(bench: Bench, item: Any) -> None:
    storage = Storage()
    bench.run([item], storage)
    assert storage.held_bytes == 0


def test_a_function_that_changes_its_items_changes_them_for_its_own_job_alone(bench: Bench) -> None:
    storage = Storage()
    for _ in range(3):
        [found] = bench.run([[1]], storage).value
        assert found == [1]
        found.append(2)


@pytest.mark.parametrize("level", [StorageLevel.DISK_ONLY, StorageLevel.DISK_ONLY_2])
def test_a_level_without_memory_holds_no_objects(tmp_path: Path, level: StorageLevel) -> None:
    bench, storage = Bench(tmp_path, level), Storage()
    bench.run([1, 2, 3], storage)
    assert (bench.run([1, 2, 3], storage).value, bench.step.runs, storage.held_bytes) == ([1, 2, 3], 1, 0)


def test_objects_take_a_share_of_the_workers_memory_and_the_longest_unused_go(bench: Bench) -> None:
    storage = Storage()
    numbers = list(range(1_000_000, 1_040_000))
    bench.run(numbers, storage, memory_limit_bytes=1 * MIB)
    assert storage.held_bytes == 0
    bench.run(numbers, storage, memory_limit_bytes=20 * MIB)
    assert MIB < storage.held_bytes < 6 * MIB
    # Nothing is needed for a smaller share but to forget.
    bench.run(numbers, storage, memory_limit_bytes=1 * MIB)
    assert storage.held_bytes == 0


def test_a_consumer_that_stops_early_leaves_a_whole_partition_kept(bench: Bench) -> None:
    storage = Storage()
    first = bench.run(list(range(10_000)), storage, take=1)
    assert (first.value, bench.step.items) == ([0], 10_000)
    assert bench.run(list(range(10_000)), Storage(), "b").value == list(range(10_000))
    assert bench.step.runs == 1


def test_items_come_while_the_partition_is_being_kept(bench: Bench) -> None:
    node = Step(2, bench.node, lambda _partition, items: (next(items), bench.step.items))
    done = bench.end(list(range(100_000)), Storage(), node=node)
    assert isinstance(done, TaskDone)
    assert done.value[0] == 0
    assert done.value[1] < 1_000


def test_a_block_that_is_gone_is_computed_again_and_said(bench: Bench) -> None:
    block = bench.run([1, 2], Storage()).cached[KEY]
    Path(block.url).unlink()
    done = bench.end([1, 2], Storage(), "b")
    assert isinstance(done, TaskDone)
    assert (done.value, done.uncached, done.cached[KEY].agent_id) == ([1, 2], (KEY,), "b")


def test_a_block_that_is_gone_and_cannot_be_computed_here_ends_the_task_as_missed(bench: Bench) -> None:
    block = bench.run([1, 2], Storage()).cached[KEY]
    Path(block.url).unlink()
    missed = bench.end([], Storage(), "b", inputs={})
    assert isinstance(missed, TaskMissed)
    assert (missed.segment, missed.lost) == (None, block)


def test_a_block_that_is_cut_off_ends_the_task_as_missed_whatever_its_consumer_has_had(bench: Bench) -> None:
    numbers = [str(number) * 10 for number in range(100_000)]
    block = bench.run(numbers, Storage()).cached[KEY]
    whole = Path(block.url).read_bytes()
    Path(block.url).write_bytes(whole[: len(whole) - 10])
    missed = bench.end(numbers, Storage(), "b")
    assert isinstance(missed, TaskMissed)
    assert missed.lost == block


def test_objects_of_a_block_that_was_made_anew_are_not_those_of_the_new_one(bench: Bench) -> None:
    storage, other = Storage(), Storage()
    bench.run(["old"], storage)
    bench.known.clear()
    bench.run(["new"], other)
    assert bench.run(["newer"], storage).value == ["new"]


def test_unpersisted_rdds_are_forgotten_once(bench: Bench) -> None:
    storage = Storage()
    bench.run([1, 2, 3], storage)
    held = storage.held_bytes
    assert held > 0
    bench.run([1, 2, 3], storage, dropped_rdds=((1, 9),))
    assert storage.held_bytes == held
    bench.known.clear()
    bench.node.level = None
    bench.run([1, 2, 3], storage, dropped_rdds=((1, 9), (2, 1)))
    assert storage.held_bytes == 0


def test_the_same_partition_twice_in_one_task_is_right(bench: Bench) -> None:
    both = bench.end([1, 2], Storage(), node=Zipped(5, bench.node, bench.node))
    assert isinstance(both, TaskDone)
    assert both.value == [(1, 1), (2, 2)]


def test_a_store_that_takes_nothing_does_not_fail_the_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: Any) -> StoredBlock:
        raise BlockLost("the store is full")

    monkeypatch.setattr(DirectoryBlocks, "put_parts", refuse)
    done = bench.run([1, 2], Storage())
    assert (done.value, done.cached) == ([1, 2], {})
    assert "partition 0 of RDD 1 is not kept: the store is full" in capsys.readouterr().err


def test_a_large_partition_goes_through_a_file_and_leaves_none(bench: Bench) -> None:
    lines = [f"{number:08}" * 16 for number in range(100_000)]
    block = bench.run(lines, Storage(), memory_limit_bytes=0, memory_bytes=1).cached[KEY]
    assert block.size_bytes > 12 * MIB
    assert bench.run(lines, Storage(), "b").value == lines


def test_compressed_partitions_are_smaller(bench: Bench) -> None:
    lines = ["the same words again and again"] * 10_000
    plain = bench.run(lines, Storage()).cached[KEY].size_bytes
    bench.known.clear()
    squeezed = bench.run(lines, Storage(), compress_kept=True)
    assert squeezed.cached[KEY].size_bytes < plain / 4
    assert bench.run(lines, Storage(), "b").value == lines


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([1, 2.0, 1j, "a", b"b", None, True, ...], True),
        ([(1, ("a", None)), frozenset({1})], True),
        ([], True),
        ([1, []], False),
        ([(1, (2, [3]))], False),
        ([type("Text", (str,), {})("a")], False),
    ],
)
def test_what_can_be_changed_is_told_from_what_cannot(values: list[Any], answer: bool) -> None:
    assert is_immutable(values) is answer


def test_nesting_beyond_the_depth_is_not_trusted() -> None:
    nested: Any = ()
    for _ in range(20):
        nested = (nested,)
    assert not is_immutable([nested])


def test_sizes_have_what_is_inside() -> None:
    assert deep_size(("x" * 1000, "y" * 1000)) > 2000
