"""Shuffles case by case: what is put aside, what is fetched, what fails."""

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mesolite.executors.sparklite.blocks import BlockLost, StoredBlock
from mesolite.executors.sparklite.combining import combine_combiners, combine_values
from mesolite.executors.sparklite.counters import Counters
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.external_merger import merged
from mesolite.executors.sparklite.fetching import fetched_columns
from mesolite.executors.sparklite.frames import Columns, Damaged, decode_frames, encode_frame
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.memory_budget import MemoryBudget, resident_bytes
from mesolite.executors.sparklite.nodes import ShuffleRead
from mesolite.executors.sparklite.pair_steps import GROUP
from mesolite.executors.sparklite.plain_functions import adds, is_same
from mesolite.executors.sparklite.shuffle_data import Aggregator, FetchFailed, ShuffleSpec
from mesolite.executors.sparklite.shuffle_read import read_shuffle
from mesolite.executors.sparklite.shuffle_write import write_shuffle
from mesolite.executors.sparklite.spill_file import SpillFile
from mesolite.executors.sparklite.steps import same
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskMissed, TaskSpec

from .shuffle_rig import PRETENDED_BYTES, Memory, ShuffleRig, budget

PAIRS = [(f"key {number % 700}", number) for number in range(6000)]


def plain_spec(count: int = 3) -> ShuffleSpec:
    return ShuffleSpec(7, count, portable_hash)


def spill_files() -> int:
    """Open files without a name, which is what puts things aside."""
    gc.collect()
    return sum(os.path.realpath(each).endswith("(deleted)") for each in Path("/proc/self/fd").iterdir())


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [(), (True,), (True, False, False)], ids=["enough", "always short", "short at times"])
def test_whatever_memory_there_is_the_answer_is_the_same_and_nothing_stays(
    tmp_path: Path, short: tuple[bool, ...]
) -> None:
    rig = ShuffleRig(tmp_path, short=short)
    before = spill_files()
    maps = [PAIRS[:4000], [], PAIRS[4000:]]
    sums = rig.run(maps, 3, aggregator=Aggregator(same, lambda a, b: a + b, lambda a, b: a + b))
    groups = rig.run(maps, 3, aggregator=GROUP)
    in_order = rig.run(maps, 3, order=same, descending=True)
    expected: dict[str, list[int]] = {}
    for key, value in PAIRS:
        expected.setdefault(key, []).append(value)
    assert {key: value for part in sums for key, value in part} == {key: sum(each) for key, each in expected.items()}
    assert {key: value for part in groups for key, value in part} == expected
    for part in in_order:
        assert part == sorted(part, key=lambda pair: pair[0], reverse=True)
    assert sorted(pair for part in in_order for pair in part) == sorted(PAIRS)
    spilled = sum(each.spilled_bytes for each in rig.counters)
    assert spilled > 50_000 or not short
    assert spill_files() == before


def test_many_runs_become_one_before_they_are_merged(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path, short=(False, True))
    lines = [f"{(number * 7919) % 100_003:06} {'x' * 200}" for number in range(8000)]
    [found] = rig.run([[(line, line) for line in lines]], 1, order=same)
    assert found == [(line, line) for line in sorted(lines)]
    assert rig.counters[-1].spilled_bytes > 2 * sum(map(len, lines)), "runs were written, and written together"


def test_keys_that_all_hash_alike_do_not_recurse_for_ever() -> None:
    with budget(Memory((True,))) as held:
        pairs = [(Alike(number % 50), 1) for number in range(1000)]
        columns = [Columns([key for key, _ in pairs], [value for _, value in pairs])] * 20
        found = dict(merged(columns, Aggregator(same, lambda a, b: a + b, lambda a, b: a + b), held, Counters()))
    assert {key.number: count for key, count in found.items()} == dict.fromkeys(range(50), 400)


class Alike:
    """Its hash tells nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and other.number == self.number

    def __hash__(self) -> int:
        return 7


def test_what_is_put_aside_is_gone_when_the_user_s_function_fails(tmp_path: Path) -> None:
    def items() -> Iterator[Any]:
        yield from PAIRS
        raise RuntimeError("of the user's")

    rig = ShuffleRig(tmp_path, short=(True,))
    before = spill_files()
    with pytest.raises(RuntimeError, match="of the user's"):
        rig.run([items()], 3)
    assert rig.counters[0].spilled_bytes > 0
    assert spill_files() == before
    assert list(tmp_path.iterdir()) == []


def test_whoever_stops_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path, short=(True,))
    spec = plain_spec(1)
    node = ShuffleRead(1, spec, same)
    rig.write([PAIRS, PAIRS], spec, node)
    before = spill_files()
    reading = rig.read(node, spec, 0)
    assert next(reading)[0] == "key 0"
    assert spill_files() > before
    del reading
    assert spill_files() == before


def test_a_budget_counts_from_what_the_process_needs_itself() -> None:
    memory = iter([100, 100 + PRETENDED_BYTES, 101 + PRETENDED_BYTES]).__next__
    with budget(memory) as held:
        assert not held.over()
        assert held.over()


def test_what_a_process_cannot_return_is_not_put_aside_again_and_again() -> None:
    resident = [0]
    with budget(lambda: resident[0]) as held:
        resident[0] = 2 * PRETENDED_BYTES
        assert held.over()
        held.relieved()
        assert not held.over()
        resident[0] += PRETENDED_BYTES // 4
        assert held.over()


def test_chunks_grow_while_items_are_small_and_shrink_when_they_are_not() -> None:
    resident = [0]
    with budget(lambda: resident[0]) as held:
        for _ in range(20):
            held.over()
        assert held.chunk_items > 1000
        for _ in range(10):
            resident[0] += PRETENDED_BYTES // 8
            held.over()
        assert held.chunk_items == 1


def test_the_kernel_says_how_much_memory_there_is() -> None:
    before = resident_bytes()
    held = bytearray(os.urandom(1024)) * 65_536
    assert resident_bytes() - before > len(held) // 2 > 0


# -- what is written --------------------------------------------------------------------------------------------------


def test_an_output_has_a_segment_for_each_partition_in_order(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path)
    rig.run([[(0, "a"), (3, "b"), (1, "c")], []], 3)
    first, empty = rig.outputs
    assert first.counts == (2, 1, 0)
    assert first.offsets[0] == 0 < first.offsets[1] < first.offsets[2] == first.offsets[3] == first.block.size_bytes
    assert empty.offsets == (0, 0, 0, 0)
    assert empty.block.size_bytes == 0
    assert first.block.block_id == "shuffle-app-7-0-1"
    assert rig.counters[0].shuffle_write_bytes == first.block.size_bytes
    assert rig.counters[0].shuffle_write_items == 3


@pytest.mark.parametrize(
    ("item", "error"), [(5, TypeError), ((1, 2, 3), ValueError), ((1,), ValueError), ("abc", ValueError)]
)
@pytest.mark.parametrize("aggregator", [None, GROUP, Aggregator(same, max, max)], ids=["placed", "grouped", "reduced"])
def test_an_item_that_is_no_pair_is_said_to_be_none(
    tmp_path: Path, item: Any, error: type[Exception], aggregator: Aggregator | None
) -> None:
    rig = ShuffleRig(tmp_path)
    with pytest.raises(error, match="unpack") as raised:
        rig.run([[(1, 2), item]], 2, aggregator=aggregator)
    assert "needs pairs" in "".join(raised.value.__notes__)


def test_an_error_of_the_user_s_own_is_left_alone(tmp_path: Path) -> None:
    def items() -> Iterator[Any]:
        yield (1, 2)
        fail()

    def fail() -> NoReturn:
        raise ValueError("cannot unpack my suitcase")

    with pytest.raises(ValueError, match="suitcase") as raised:
        ShuffleRig(tmp_path).run([items()], 2)
    assert not hasattr(raised.value, "__notes__")


def test_a_key_that_cannot_be_hashed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        ShuffleRig(tmp_path).run([[([], 1)]], 2)


def test_objects_of_classes_that_no_module_has_travel(tmp_path: Path) -> None:
    class Local:
        def __init__(self, number: int) -> None:
            self.number = number

    [found] = ShuffleRig(tmp_path).run([[(1, Local(2)), (1, Local(3))]], 1)
    assert [value.number for _, value in found] == [2, 3]


def test_what_repeats_itself_is_compressed_and_what_does_not_is_left() -> None:
    keys, noise = ["the same line"] * 5000, [os.urandom(16).hex() for _ in range(5000)]
    for values, less in ((keys, True), (noise, False)):
        plain, plain_bytes = encode_frame(values, values, compress=False)
        small, also_plain_bytes = encode_frame(values, values, compress=True)
        assert len(plain) == plain_bytes == also_plain_bytes
        assert (len(small) < len(plain) // 10) is less
        assert [list(each) for each in decode_frames([plain, small])] == [[values, values]] * 2


def test_keys_that_are_their_own_values_take_no_second_place() -> None:
    lines = [f"line {number}" for number in range(100)]
    once, _ = encode_frame(lines, lines, compress=False)
    twice, _ = encode_frame(lines, [str(line + "") for line in lines[:-1]] + ["other"], compress=False)
    assert len(twice) > 1.8 * len(once)
    [found] = decode_frames([once])
    assert found.keys is found.values


def test_what_is_no_frame_is_damaged() -> None:
    for data in (
        b"x" * 100,
        b"r" + bytes(10),
        b"z\0" + (1).to_bytes(4, "little") + (3).to_bytes(8, "little") * 2 + b"abc",
    ):
        with pytest.raises(Damaged):
            list(decode_frames([data]))


# -- what is read -----------------------------------------------------------------------------------------------------


class Watched(DirectoryBlocks):
    """Tells what was read, and fails where it shall."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked: list[tuple[str, int, int | None]] = []
        self.lost: Callable[[StoredBlock], bool] = lambda block: False
        self.threads: set[str] = set()

    def read(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> bytes:
        self.asked.append((block.block_id, offset, length))
        self.threads.add(threading.current_thread().name)
        if self.lost(block):
            raise BlockLost("somebody took it away")
        return super().read(block, offset, length)


def reading(blocks: DirectoryBlocks, memory_bytes: int = 64 * 1024 * 1024) -> Task:
    code = StageCode(ShuffleRead(1, plain_spec()), shuffle=plain_spec())
    return Task(code, TaskSpec("app", 0, 0, 0, 99, 0, {}, memory_bytes=memory_bytes), blocks, Storage())


def test_large_segments_are_asked_for_in_pieces_and_small_ones_at_once(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path)
    lines = [os.urandom(500).hex() for _ in range(1000)]
    rig.run([[(1, line) for line in lines], [(1, "small")]], 3)
    blocks = Watched(tmp_path)
    task = reading(blocks, 2 * 1024 * 1024)
    held = MemoryBudget(task.spec.memory_bytes)
    pairs = [pair for columns in fetched_columns(rig.segments(1), task, held) for pair in zip(*columns, strict=True)]
    assert [value for _, value in pairs] == [*lines, "small"]
    assert len(blocks.asked) == 17
    assert max(length or 0 for _, _, length in blocks.asked) == 64 * 1024
    assert blocks.threads.isdisjoint({threading.current_thread().name})
    assert task.counters.shuffle_read_bytes == sum(each.length for each in rig.segments(1))
    assert task.counters.shuffle_read_remote_bytes == 0
    assert task.counters.items_in == 1001


def test_a_segment_that_cannot_be_had_is_named_and_the_task_knows(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path)
    rig.run([PAIRS, PAIRS], 3)
    blocks = Watched(tmp_path)
    blocks.lost = lambda block: block.block_id == rig.outputs[1].block.block_id
    task = reading(blocks)
    with pytest.raises(FetchFailed, match="map partition 1 is lost: somebody took it away"):
        list(read_shuffle(ShuffleRead(1, plain_spec()), rig.segments(2), task))
    assert task.fetch_failed is not None
    assert task.fetch_failed.segment == rig.segments(2)[1]


def test_a_damaged_segment_counts_as_lost(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path)
    rig.run([PAIRS], 3)
    Path(rig.outputs[0].block.url).write_bytes(bytes(rig.outputs[0].block.size_bytes))
    with pytest.raises(FetchFailed, match="damaged"):
        list(read_shuffle(ShuffleRead(1, plain_spec()), rig.segments(0), reading(rig.blocks)))


def test_a_user_s_function_that_catches_everything_does_not_hide_a_lost_segment(tmp_path: Path) -> None:
    def careless(task: Task, items: Iterator[Any]) -> int:
        count = 0
        with contextlib.suppress(Exception):
            for _ in items:
                count += 1
        return count

    rig = ShuffleRig(tmp_path)
    rig.run([PAIRS, PAIRS], 3)
    blocks = Watched(tmp_path)
    blocks.lost = lambda block: block.block_id == rig.outputs[1].block.block_id
    node = ShuffleRead(1, plain_spec())
    spec = TaskSpec("app", 0, 0, 0, 99, 0, {(1, 0): rig.segments(0)})
    ended = Task(StageCode(node, result=careless), spec, blocks, Storage()).run()
    assert isinstance(ended, TaskMissed)
    assert ended.segment == rig.segments(0)[1]


def test_nothing_is_fetched_before_it_is_asked_for(tmp_path: Path) -> None:
    rig = ShuffleRig(tmp_path)
    rig.run([PAIRS], 3)
    blocks = Watched(tmp_path)
    pairs = read_shuffle(ShuffleRead(1, plain_spec()), rig.segments(0), reading(blocks))
    assert blocks.asked == []
    next(pairs)
    assert len(blocks.asked) == 1


def test_a_full_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    blocks = DirectoryBlocks(tmp_path / "blocks")
    (tmp_path / "blocks").rmdir()
    with pytest.raises(BlockLost, match="shuffle-app-7-0-99 cannot be stored"):
        write_shuffle(iter(PAIRS), plain_spec(), reading(blocks))


# -- plain functions --------------------------------------------------------------------------------------------------


def test_a_sum_is_known_by_its_code() -> None:
    import operator

    def add(one: int, other: int) -> int:
        return one + other

    offset = 1
    assert adds(operator.add)
    assert adds(add)
    assert adds(lambda a, b: a + b)
    others: list[Callable[[Any, Any], Any]] = [
        lambda a, b: b + a,
        lambda a, b: a - b,
        lambda a, b: a + b + 1,
        lambda a, b: a + offset,
        lambda a, b: a + a,
        max,
        operator.iadd,
        Summing(),
    ]
    for other in others:
        assert not adds(other), other
    assert is_same(same)
    assert is_same(lambda key: key)
    assert not is_same(lambda key: -key)
    assert not is_same(lambda key: offset)
    assert not is_same(str)


class Summing:
    """Adds, and does something else."""

    def __call__(self, left: Any, right: Any) -> Any:
        return left + right


def test_sums_leave_the_values_alone_that_came_in() -> None:
    first = [1]
    for combine in (combine_values, combine_combiners):
        combined: dict[Any, Any] = {}
        combine(Aggregator(same, lambda a, b: a + b, lambda a, b: a + b))(combined, [("k", first), ("k", [2])])
        assert combined == {"k": [1, 2]}
        assert first == [1]


def test_a_spill_file_is_opened_with_the_first_bytes_only() -> None:
    before = spill_files()
    counters = Counters()
    file = SpillFile(counters)
    assert spill_files() == before
    file.write([b"abc", b"de"])
    assert spill_files() == before + 1
    assert counters.spilled_bytes == 5
    file.close()
    file.close()
    assert spill_files() == before
