"""Framework streams stay within what Redis has room for."""

from mesolite.master.backlog import MAX_FRAMEWORK_BYTES, Backlogs
from mesolite.transport.keys import MAX_FRAMEWORK_LENGTH

MEBIBYTE = 1024 * 1024


def kept(sizes: list[int]) -> list[int]:
    """What is left of batches of these sizes, appended one by one."""
    backlogs, stream = Backlogs(), list[int]()
    for size in sizes:
        stream.append(size)
        del stream[: -backlogs.length("framework:f", size)]
    return stream


def test_small_batches_are_kept_by_their_number() -> None:
    assert len(kept([1000] * (3 * MAX_FRAMEWORK_LENGTH))) == MAX_FRAMEWORK_LENGTH


def test_large_batches_are_kept_by_their_size() -> None:
    left = kept([4 * MEBIBYTE] * 1000)
    assert MAX_FRAMEWORK_BYTES * 0.9 < sum(left) <= MAX_FRAMEWORK_BYTES * 1.1


def test_small_batches_behind_large_ones_push_them_out() -> None:
    left = kept([4 * MEBIBYTE] * 100 + [10_000] * 20_000)
    assert len(left) == MAX_FRAMEWORK_LENGTH
    assert sum(left) <= MAX_FRAMEWORK_BYTES


def test_one_batch_is_kept_however_large_it_is() -> None:
    assert kept([2 * MAX_FRAMEWORK_BYTES]) == [2 * MAX_FRAMEWORK_BYTES]


def test_streams_are_counted_apart_and_forgotten() -> None:
    backlogs = Backlogs()
    for _ in range(200):
        backlogs.length("framework:a", 4 * MEBIBYTE)
    assert backlogs.length("framework:b", 4 * MEBIBYTE) == MAX_FRAMEWORK_LENGTH
    backlogs.forget("framework:a")
    assert backlogs.length("framework:a", MAX_FRAMEWORK_BYTES) == MAX_FRAMEWORK_LENGTH
