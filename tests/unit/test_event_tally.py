"""What senders of events count, and what Flower makes of it: the right figures, whatever was lost or left out."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from mesolite.flower_totals import MAX_LIVES, Grown, TallyBook, observe
from mesolite.transport.event_tally import CELL_BOUNDS, MAX_ROWS, MAX_ROWS_AT_ONCE, OTHERS, EventTally


def said(tally: EventTally) -> list[dict[str, Any]]:
    """All that it has to say, as events."""
    events: list[dict[str, Any]] = []
    while (event := tally.take()) is not None:
        events.append({"hostname": "celery@h", **event[1]})
    return events


def sums(grown: list[Grown]) -> dict[tuple[str, str, str], int]:
    """Counts by worker, task and kind."""
    total: dict[tuple[str, str, str], int] = {}
    for each in grown:
        for kind, count in each.counts.items():
            key = each.worker, each.task, kind
            total[key] = total.get(key, 0) + count
    return total


def test_nothing_is_said_where_nothing_changed() -> None:
    tally = EventTally("life")
    assert tally.take() is None
    tally.count("w", "t", "task-started")
    assert len(said(tally)) == 1
    assert tally.take() is None
    tally.say_all()
    assert len(said(tally)) == 1


def test_a_word_that_was_lost_is_made_good_by_the_next() -> None:
    tally, book = EventTally("life"), TallyBook()
    grown: list[Grown] = []
    for number in range(5):
        tally.count("w", "t", "task-succeeded", 0.2)
        events = said(tally)
        if number in (0, 4):
            grown += [each for event in events for each in book.take(event)]
    assert [each.counts for each in grown] == [{"task-succeeded": 1}, {"task-succeeded": 4}]
    assert [[times for _, times in each.runtimes] for each in grown] == [[1], [4]]


def test_what_is_said_again_is_not_counted_again() -> None:
    tally, book = EventTally("life"), TallyBook()
    tally.count("w", "t", "task-succeeded", 0.2)
    first = [each for event in said(tally) for each in book.take(event)]
    tally.say_all()
    again = [each for event in said(tally) for each in book.take(event)]
    assert sums(first) == {("w", "t", "task-succeeded"): 1}
    assert sums(again) == {}
    assert [each.runtimes for each in again] == [[]]


def test_a_new_life_counts_from_the_beginning_and_nothing_of_the_last_waits() -> None:
    """A dispatcher that is killed says no last word about what waits in it."""
    book = TallyBook()
    waiting = 0
    for life in ("first", "second"):
        tally = EventTally(life)
        tally.waits("w", "t", 3)
        tally.count("w", "t", "task-received")
        grown = [each for event in said(tally) for each in book.take(event)]
        assert sums(grown) == {("w", "t", "task-received"): 1}
        waiting += sum(each.waiting for each in grown)
    assert waiting == 3


def test_more_names_than_there_is_room_for_are_counted_together() -> None:
    tally = EventTally("life")
    for number in range(MAX_ROWS + 50):
        tally.count("w", f"t-{number}", "task-started")
    events = said(tally)
    assert all(len(event["rows"]) <= MAX_ROWS_AT_ONCE for event in events)
    rows = {row["task"]: row["counts"]["task-started"] for event in events for row in event["rows"]}
    assert (len(rows), rows[OTHERS], sum(rows.values())) == (MAX_ROWS + 1, 50, MAX_ROWS + 50)


def test_a_book_forgets_the_lives_that_it_heard_of_longest_ago() -> None:
    book = TallyBook()
    for number in range(MAX_LIVES + 1):
        assert len(book.take({"hostname": "h", "life": f"{number}", "rows": [row(counts={"a": 1})]})) == 1
    assert sums(book.take({"hostname": "h", "life": f"{MAX_LIVES}", "rows": [row(counts={"a": 2})]})) == {
        ("w", "t", "a"): 1
    }
    assert sums(book.take({"hostname": "h", "life": "0", "rows": [row(counts={"a": 1})]})) == {("w", "t", "a"): 1}


def row(**more: object) -> dict[str, object]:
    """What is said of one worker's tasks of one name."""
    return {"worker": "w", "task": "t", "counts": {}, "cells": [], "waiting": 0, "waited_s": 0.0, **more}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"life": "l"},
        {"hostname": "h", "life": 3, "rows": "none"},
        {"hostname": "h", "life": "l", "rows": [{"worker": 1}]},
    ],
)
def test_what_cannot_be_understood_counts_for_nothing(event: dict[str, object]) -> None:
    assert TallyBook().take(event) == []


@given(st.lists(st.floats(min_value=1e-6, max_value=1e7), min_size=1, max_size=60), st.integers(0, 2**32))
def test_a_histogram_of_sums_is_the_histogram_of_the_runtimes(runtimes: list[float], seed: int) -> None:
    """Goal: buckets are right to the task, for Prometheus's own bounds. Method: said at random moments; the real histogram."""
    tally, book, chance = EventTally("life"), TallyBook(), random.Random(seed)
    expected, made = (Histogram("a", "b", registry=CollectorRegistry()) for _ in range(2))
    for runtime_s in runtimes:
        tally.count("w", "t", "task-succeeded", runtime_s)
        expected.observe(runtime_s)
        if chance.random() < 0.3:
            hear(tally, book, made)
    hear(tally, book, made)
    samples = [
        {sample.labels.get("le", sample.name): sample.value for sample in next(iter(each.collect())).samples}
        for each in (expected, made)
    ]
    for result in samples:
        result.pop("a_created", None)
    assert samples[0].pop("a_sum") == pytest.approx(samples[1].pop("a_sum"), rel=1e-6)
    assert samples[0] == samples[1]


def hear(tally: EventTally, book: TallyBook, histogram: Histogram) -> None:
    """Flower hears what changed."""
    for event in said(tally):
        for grown in book.take(event):
            for runtime_s, tasks in grown.runtimes:
                observe(histogram, runtime_s, tasks)


def test_the_bounds_of_cells_grow() -> None:
    assert list(CELL_BOUNDS) == sorted(set(CELL_BOUNDS))
