"""Blocks on a disk: what is stored, what is refused, what goes and when, and what the next life of the agent finds."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.blocks.index import OVERHEAD_BYTES
from mesolite.agent.blocks.store import KEEP_FREE_BYTES, ORPHAN_S, BlockStore, StoreFull
from mesolite.errors import BadInput, NotFound
from mesolite.ids import FrameworkId

ONE, TWO = FrameworkId("one"), FrameworkId("two")
KIB: Final = 1024
MIB: Final = 1024 * KIB


def put(store: BlockStore, framework_id: FrameworkId, block_id: str, data: bytes) -> None:
    pieces = iter([data, b""])
    store.put(framework_id, block_id, len(data), lambda _: next(pieces))


def stored(store: BlockStore, framework_id: FrameworkId, block_id: str) -> bytes:
    file, size = store.open(framework_id, block_id)
    with file:
        data = file.read()
    assert len(data) == size
    return data


def test_a_block_is_there_until_it_is_deleted(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, MIB)
    put(store, ONE, "a", b"bytes")
    assert stored(store, ONE, "a") == b"bytes"
    store.delete(ONE, "a")
    for act in (store.open, store.delete):
        with pytest.raises(NotFound):
            act(ONE, "a")
    assert store.used_bytes == 0


def test_blocks_outlive_the_agents_process_and_what_was_half_written_does_not(tmp_path: Path) -> None:
    first = BlockStore(tmp_path, MIB)
    put(first, ONE, "a", b"bytes")
    (tmp_path / ".coming" / "7").write_bytes(b"half")
    second = BlockStore(tmp_path, MIB)
    assert stored(second, ONE, "a") == b"bytes"
    assert list((tmp_path / ".coming").iterdir()) == []
    assert second.used_by(ONE) == first.used_by(ONE)


def test_a_lower_bound_in_the_next_life_lets_the_oldest_go(tmp_path: Path) -> None:
    first = BlockStore(tmp_path, MIB)
    for number, name in enumerate("abc"):
        put(first, ONE, name, b"x" * KIB)
        os.utime(tmp_path / ONE / name, (number, number))
    second = BlockStore(tmp_path, 2 * (KIB + OVERHEAD_BYTES))
    with pytest.raises(NotFound):
        second.open(ONE, "a")
    assert sorted(path.name for path in (tmp_path / ONE).iterdir()) == ["b", "c"]


def test_over_the_bound_the_oldest_unused_goes_and_a_reader_of_it_reads_on(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, 2 * (KIB + OVERHEAD_BYTES))
    put(store, ONE, "a", b"a" * KIB)
    put(store, ONE, "b", b"b" * KIB)
    file, _ = store.open(ONE, "a")
    other, _ = store.open(ONE, "b")
    with file, other:
        put(store, ONE, "c", b"c" * KIB)
        assert file.read() == b"a" * KIB
    with pytest.raises(NotFound):
        store.open(ONE, "a")


def test_what_cannot_fit_is_refused_with_the_setting_that_would_help(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, KIB)
    with pytest.raises(StoreFull, match="blocks_max_mib"):
        put(store, ONE, "a", b"x" * MIB)
    assert store.used_bytes == 0


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    free = KEEP_FREE_BYTES + 100
    store = BlockStore(tmp_path, MIB, free_bytes=lambda: free)
    put(store, ONE, "a", b"x" * 100)
    with pytest.raises(StoreFull, match="stay free"):
        put(store, ONE, "b", b"x" * 101)


def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    """Method: the error of a full disk comes out of the step that reads and writes."""
    store = BlockStore(tmp_path, MIB)

    def no_space(_: int) -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreFull, match="disk is full"):
        store.put(ONE, "a", 10, no_space)
    assert (store.used_bytes, list((tmp_path / ".coming").iterdir())) == (0, [])


def test_fewer_bytes_than_were_promised_are_no_block(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, MIB)
    pieces = iter([b"abc", b""])
    with pytest.raises(BadInput, match="7 of 10"):
        store.put(ONE, "a", 10, lambda _: next(pieces))
    with pytest.raises(NotFound):
        store.open(ONE, "a")
    assert store.used_bytes == 0


@pytest.mark.parametrize("block_id", ["", ".", "..", "a/b", "../one/a", "a\0", "a" * 129, "ä", ".coming", "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, block_id: str) -> None:
    store = BlockStore(tmp_path, MIB)
    with pytest.raises(BadInput):
        put(store, ONE, block_id, b"x")
    with pytest.raises(BadInput):
        store.open(ONE, block_id)


def test_the_end_of_a_framework_takes_its_blocks_and_no_others(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, MIB)
    put(store, ONE, "a", b"x")
    put(store, TWO, "a", b"y")
    store.end_framework(ONE)
    store.end_framework(ONE)
    with pytest.raises(NotFound):
        store.open(ONE, "a")
    assert stored(store, TWO, "a") == b"y"
    assert store.frameworks() == [TWO]
    put(store, ONE, "a", b"again")


def test_blocks_of_a_framework_without_executors_stay_for_whoever_asks_and_not_for_ever(tmp_path: Path) -> None:
    now_s = [0.0]
    store = BlockStore(tmp_path, MIB, clock_s=lambda: now_s[0])
    put(store, ONE, "a", b"x")
    put(store, TWO, "a", b"y")
    for now_s[0] in (10.0, ORPHAN_S):
        store.collect([TWO])
        assert stored(store, ONE, "a") == b"x"
    now_s[0] = 2 * ORPHAN_S - 1
    store.collect([TWO])
    assert store.frameworks() == [ONE, TWO], "it was asked for since"
    now_s[0] += 1
    store.collect([TWO])
    assert store.frameworks() == [TWO]


def test_blocks_of_a_framework_that_is_over_go_with_its_last_executor(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, MIB)
    put(store, ONE, "a", b"x")
    put(store, TWO, "a", b"y")
    store.framework_over(ONE)
    store.collect([ONE, TWO])
    assert stored(store, ONE, "a") == b"x", "its executor is still ending"
    store.collect([TWO])
    assert store.frameworks() == [TWO]


def test_a_file_that_somebody_removed_is_a_block_that_is_gone(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, MIB)
    put(store, ONE, "a", b"x")
    (tmp_path / ONE / "a").unlink()
    with pytest.raises(NotFound):
        store.open(ONE, "a")
    assert store.used_bytes == 0


def test_many_writers_of_one_name_leave_one_whole_block(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, 8 * MIB)

    def write(letter: bytes) -> None:
        for _ in range(20):
            put(store, ONE, "same", letter * 64 * KIB)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for _ in range(50):
        with contextlib.suppress(NotFound):
            assert len(set(stored(store, ONE, "same"))) == 1, "never half of one and half of another"
    for thread in threads:
        thread.join()
    assert store.used_bytes == 64 * KIB + OVERHEAD_BYTES
