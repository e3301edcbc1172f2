"""Shuffles against a dictionary and `sorted`: any pairs, any partitions, memory that runs short at any look."""

import operator
import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.sparklite.columns import decode_column, encode_column
from mesolite.executors.sparklite.frames import Damaged, decode_frames, encode_frame
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.pair_steps import GROUP
from mesolite.executors.sparklite.placement import place_by
from mesolite.executors.sparklite.ranges import RangePartition
from mesolite.executors.sparklite.shuffle_data import Aggregator
from mesolite.executors.sparklite.steps import same
from tests.unit.sparklite.shuffle_rig import ShuffleRig

TEXT: Final = st.text(max_size=5) | st.text(alphabet="a\n\0\ud800", max_size=3)
KEYS: Final = (
    st.none()
    | st.integers()
    | TEXT
    | st.binary(max_size=3)
    | st.booleans()
    | st.tuples(st.none() | TEXT, st.integers())
)
VALUES: Final = KEYS | st.floats(allow_nan=False) | st.lists(st.integers(), max_size=2) | st.just(())
SHORT: Final = st.lists(st.booleans(), max_size=6)
COUNTS: Final = st.integers(1, 9)


def partitions(pairs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    """Map partitions, with many pairs of the few that are drawn."""
    several = st.lists(st.lists(pairs, max_size=12), max_size=4)
    return st.builds(repeated, several, st.sampled_from([1, 1, 2, 30]))


def repeated(given_lists: list[list[Any]], times: int) -> list[list[Any]]:
    return [each * times for each in given_lists]


def appended(combined: list[Any], value: Any) -> list[Any]:
    combined.append(value)
    return combined


def extended(combined: list[Any], other: list[Any]) -> list[Any]:
    combined.extend(other)
    return combined


GROUPS: Final = Aggregator(lambda value: [value], appended, extended)


def added(left: int, right: int) -> int:
    """No plain sum by its code."""
    return right + left


@given(partitions(st.tuples(KEYS, VALUES)), COUNTS, SHORT, st.booleans())
def test_pairs_come_to_the_partition_of_their_key_in_the_order_of_the_map_side(
    given_pairs: list[list[Any]], count: int, short: list[bool], compress: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        found = rig.run(given_pairs, count, compress=compress)
    everything = list(chain.from_iterable(given_pairs))
    expected = [[pair for pair in everything if portable_hash(pair[0]) % count == number] for number in range(count)]
    assert [list(map(repr, each)) for each in found] == [list(map(repr, each)) for each in expected]
    assert sum(each.shuffle_write_items for each in rig.counters) == len(everything)


@given(partitions(st.tuples(KEYS, st.integers())), COUNTS, SHORT, st.booleans(), st.sampled_from([operator.add, added]))
def test_values_of_a_key_are_summed_as_by_a_dictionary(
    given_pairs: list[list[Any]], count: int, short: list[bool], map_side: bool, add: Callable[[Any, Any], Any]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        found = rig.run(given_pairs, count, aggregator=Aggregator(same, add, add), map_side_combine=map_side)
    expected: dict[Any, int] = {}
    for key, value in chain.from_iterable(given_pairs):
        expected[key] = expected.get(key, 0) + value
    assert all(portable_hash(key) % count == number for number, pairs in enumerate(found) for key, _ in pairs)
    assert sum(map(len, found)) == len(expected)
    assert dict(chain.from_iterable(found)) == expected
    if not any(short):
        assert [pair for pair in expected.items() if portable_hash(pair[0]) % count == 0] == found[0]


@given(partitions(st.tuples(KEYS, VALUES)), COUNTS, SHORT, st.booleans(), st.sampled_from([GROUP, GROUPS]))
def test_grouped_values_are_in_the_order_in_which_they_came(
    given_pairs: list[list[Any]], count: int, short: list[bool], map_side: bool, groups: Aggregator
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        found = rig.run(given_pairs, count, aggregator=groups, map_side_combine=map_side)
    expected: dict[Any, list[Any]] = {}
    for key, value in chain.from_iterable(given_pairs):
        expected.setdefault(key, []).append(value)
    assert sum(map(len, found)) == len(expected)
    assert {key: list(map(repr, values)) for key, values in chain.from_iterable(found)} == {
        key: list(map(repr, values)) for key, values in expected.items()
    }


@given(partitions(st.tuples(st.integers(-9, 9), st.integers())), COUNTS, SHORT, st.booleans(), st.booleans())
def test_a_sort_is_that_of_python_stable_in_both_directions(
    given_pairs: list[list[Any]], count: int, short: list[bool], descending: bool, by_itself: bool
) -> None:
    order: Callable[[Any], Any] = same if by_itself else lambda key: abs(key) // 2
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        found = rig.run(given_pairs, count, order=order, descending=descending)
    everything = list(chain.from_iterable(given_pairs))
    for number in range(count):
        own = [pair for pair in everything if hash(pair[0]) % count == number]
        assert found[number] == sorted(own, key=lambda pair: order(pair[0]), reverse=descending)


@given(partitions(TEXT), COUNTS, SHORT, st.booleans(), st.sampled_from([same, len]))
def test_lines_sorted_by_themselves_travel_once(
    lines: list[list[str]], count: int, short: list[bool], descending: bool, order: Callable[[Any], Any]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        pairs = ([(line, line) for line in each] for each in lines)
        found = rig.run(pairs, count, order=order, descending=descending)
    everything = list(chain.from_iterable(lines))
    for number in range(count):
        own = sorted((each for each in everything if hash(each) % count == number), key=order, reverse=descending)
        assert found[number] == [(line, line) for line in own]


@given(partitions(st.tuples(st.integers(-99, 99), st.integers())), COUNTS, SHORT, st.booleans())
def test_combined_pairs_can_be_sorted_too(
    given_pairs: list[list[Any]], count: int, short: list[bool], descending: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = ShuffleRig(Path(directory), short=short)
        sums = Aggregator(same, added, added)
        found = rig.run(given_pairs, count, aggregator=sums, order=same, descending=descending)
    expected: dict[int, int] = {}
    for key, value in chain.from_iterable(given_pairs):
        expected[key] = expected.get(key, 0) + value
    for number in range(count):
        own = [pair for pair in expected.items() if hash(pair[0]) % count == number]
        assert found[number] == sorted(own, reverse=descending)


@given(st.lists(st.integers()), st.lists(st.integers(), max_size=5), st.booleans(), st.sampled_from([same, abs]))
def test_ranges_are_placed_as_their_function_says(
    keys: list[int], bounds: list[int], ascending: bool, mark_of: Callable[[Any], Any]
) -> None:
    ranges = RangePartition(sorted(map(mark_of, bounds)), mark_of, ascending)
    found: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    values: list[list[int]] = [[] for _ in found]
    pairs = ((key, -key) for key in keys)
    place_by(ranges)(pairs, [each.append for each in found], [each.append for each in values])
    assert values == [[-key for key in each] for each in found]
    assert found == [[key for key in keys if ranges(key) == number] for number in range(len(bounds) + 1)]


# -- what travels -----------------------------------------------------------------------------------------------------


@given(st.lists(VALUES, min_size=1) | st.one_of(*(st.lists(each, min_size=1) for each in (TEXT, KEYS, st.integers()))))
def test_a_column_is_what_it_was_made_of(values: list[Any]) -> None:
    found = decode_column(memoryview(encode_column(values)))
    assert list(map(repr, found)) == list(map(repr, values))
    assert list(map(type, found)) == list(map(type, values))


@given(st.lists(st.lists(st.tuples(KEYS, VALUES), min_size=1), max_size=4), st.integers(1, 50), st.booleans())
def test_frames_come_in_pieces_of_any_size(frames: list[list[Any]], size: int, compress: bool) -> None:
    data = b"".join(encode_frame(*zip(*pairs, strict=True), compress=compress)[0] for pairs in frames)
    pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
    found = [list(zip(*columns, strict=True)) for columns in decode_frames(pieces)]
    assert repr(found) == repr(frames)


@given(st.lists(st.integers(), min_size=1), st.data())
def test_frames_that_end_early_are_noticed(values: list[int], data: st.DataObject) -> None:
    frame, _ = encode_frame(values, list(map(str, values)), compress=True)
    cut = data.draw(st.integers(1, len(frame) - 1))
    with pytest.raises(Damaged):
        list(decode_frames([frame[:cut]]))
