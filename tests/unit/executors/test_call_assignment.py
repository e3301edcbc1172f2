"""Who gets which call, and how many at once: events in, assignments out, no clock but the one that the test moves."""

from typing import Final

from mesolite.executors.python.assignment import CHUNK_CALLS, CHUNK_US, CHUNKS_PER_WORKER, Assignment, Lane, Ticket
from mesolite.executors.python.calls import Call, Function, Outcome

SHORT: Final = Function(b"s" * 16, b"short")
LONG: Final = Function(b"l" * 16, b"long")


def nothing(call: Call, outcome: Outcome) -> None:
    """Nobody listens."""


class Office:
    """An assignment with workers that are ready, and functions that are known."""

    def __init__(self, workers: int, chunk_us: int = CHUNK_US) -> None:
        self.core = Assignment(chunk_us)
        self.lanes = [self.core.add_worker(number) for number in range(1, workers + 1)]
        for lane in self.lanes:
            lane.ready = True
        self.keys = 0

    def submit(self, count: int, function: Function, *, weight: int = 100, alone: bool = False) -> None:
        for _ in range(count):
            self.keys += 1
            self.core.submit(Call(self.keys, function, b"", nothing), weight, alone=alone)

    def deal(self, now_us: int = 0) -> dict[int, list[object]]:
        """The keys of calls that each worker is given."""
        given: dict[int, list[object]] = {}
        for lane, tickets in self.core.deal(now_us):
            given.setdefault(lane.worker, []).extend(ticket.call.key for ticket in tickets)
        self.core.check()
        return given

    def answer_all(self, ran_us: int, now_us: int = 0) -> None:
        for lane in self.lanes:
            for number in list(lane.in_flight):
                assert self.core.answered(lane, number, ran_us, now_us) is not None

    def learn(self, function: Function, ran_us: int) -> None:
        """Have the core know how long calls of a function run."""
        for _ in range(20):
            self.submit(1, function)
            self.deal()
            self.answer_all(ran_us)

    def first(self, lane: Lane) -> Ticket:
        return next(iter(lane.in_flight.values()))


def test_of_a_function_that_is_not_known_each_worker_gets_one_call() -> None:
    office = Office(workers=2)
    office.submit(5, SHORT)
    assert office.deal() == {1: [1], 2: [2]}
    assert office.deal() == {}
    assert office.core.waiting == 3


def test_calls_that_proved_short_travel_in_chunks_two_at_a_time() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(100, SHORT)
    [given] = office.deal().values()
    assert len(given) == CHUNK_CALLS * CHUNKS_PER_WORKER


def test_a_chunk_is_bounded_by_the_time_that_it_is_expected_to_take() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 400)
    office.submit(100, SHORT)
    [given] = office.deal().values()
    assert len(given) == 2 * CHUNKS_PER_WORKER


def test_where_only_the_sender_waits_for_answers_chunks_may_take_longer() -> None:
    office = Office(workers=1, chunk_us=8 * CHUNK_US)
    office.learn(SHORT, 2 * CHUNK_US)
    office.learn(LONG, 8 * CHUNK_US + 1)
    office.submit(100, SHORT)
    [given] = office.deal().values()
    assert len(given) == 4 * CHUNKS_PER_WORKER
    office.answer_all(2 * CHUNK_US)
    office.core.withdraw_all()
    office.submit(2, LONG)
    [given] = office.deal().values()
    assert len(given) == 1


def test_the_next_chunk_goes_out_when_the_first_is_answered() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(100, SHORT)
    office.deal()
    [lane] = office.lanes
    for number in list(lane.in_flight)[: CHUNK_CALLS - 1]:
        office.core.answered(lane, number, 10, 0)
    assert office.deal() == {}
    office.core.answered(lane, office.first(lane).number, 10, 0)
    [given] = office.deal().values()
    assert len(given) == CHUNK_CALLS


def test_few_short_calls_are_spread_over_all_workers() -> None:
    office = Office(workers=3)
    office.learn(SHORT, 10)
    office.submit(7, SHORT)
    assert sorted(len(given) for given in office.deal().values()) == [2, 2, 3]


def test_long_calls_are_given_one_by_one_and_nothing_waits_behind_them() -> None:
    office = Office(workers=1)
    office.learn(LONG, CHUNK_US + 1)
    office.learn(SHORT, 10)
    office.submit(1, LONG)
    office.submit(5, SHORT)
    [given] = office.deal().values()
    assert len(given) == 1
    assert office.deal() == {}


def test_a_long_call_among_short_ones_keeps_its_turn() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(2, SHORT)
    office.submit(1, LONG)
    office.submit(2, SHORT)
    first = office.keys - 4
    assert office.deal() == {1: [first, first + 1]}
    office.answer_all(10)
    assert office.deal() == {1: [first + 2]}


def test_a_call_that_must_be_alone_is() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(1, SHORT, alone=True)
    office.submit(3, SHORT)
    [given] = office.deal().values()
    assert len(given) == 1
    office.answer_all(10)
    [given] = office.deal().values()
    assert len(given) == 3


def test_large_calls_travel_alone() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(3, SHORT, weight=1_000_000)
    [given] = office.deal().values()
    assert len(given) == 1


def test_one_long_run_of_a_short_function_is_believed_at_once_and_forgotten_slowly() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(1, SHORT)
    office.deal()
    office.answer_all(8 * CHUNK_US)
    office.submit(10, SHORT)
    dealt_before_trust = 0
    while len(next(iter(office.deal().values()))) == 1:
        office.answer_all(10)
        dealt_before_trust += 1
    assert 4 <= dealt_before_trust < 10


def test_a_worker_that_is_silent_for_a_look_is_found_and_one_that_answers_is_not() -> None:
    office = Office(workers=2)
    office.learn(SHORT, 10)
    office.submit(20, SHORT)
    office.deal()
    assert office.core.silent() == []
    busy, stuck = office.lanes
    office.core.answered(busy, office.first(busy).number, 10, 0)
    assert office.core.silent() == [stuck]


def test_what_is_taken_back_waits_before_all_others_in_its_order() -> None:
    office = Office(workers=2)
    office.learn(SHORT, 10)
    office.submit(8, SHORT)
    stuck, other = office.lanes
    given = office.deal()[stuck.worker]
    office.submit(1, SHORT)
    running, *waiting = list(stuck.in_flight)
    office.core.take_back(stuck.worker, waiting)
    office.core.check()
    assert list(stuck.in_flight) == [running]
    for number in list(other.in_flight):
        office.core.answered(other, number, 10, 0)
    dealt = office.deal()
    assert dealt[other.worker][: len(given) - 1] == given[1:]


def test_a_worker_that_ends_costs_what_it_had_taken() -> None:
    office = Office(workers=1)
    office.learn(SHORT, 10)
    office.submit(5, SHORT)
    office.deal()
    [lane] = office.lanes
    running, *waiting = list(lane.in_flight)
    lost = office.core.remove_worker(lane.worker, waiting)
    assert [ticket.number for ticket in lost] == [running]
    assert office.core.waiting == 4
    office.core.check()


def test_a_worker_that_closes_or_is_not_ready_gets_nothing() -> None:
    office = Office(workers=2)
    office.lanes[0].closing = True
    office.lanes[1].ready = False
    office.submit(2, SHORT)
    assert office.deal() == {}


def test_a_withdrawn_call_is_never_given() -> None:
    office = Office(workers=1)
    office.submit(200, LONG)
    for key in range(1, 200):
        assert office.core.withdraw(key) is not None
    assert office.core.withdraw(1) is None
    assert office.core.waiting == 1
    assert office.deal() == {1: [200]}
    assert office.core.withdraw(200) is None


def test_withdrawing_all_leaves_what_workers_have() -> None:
    office = Office(workers=1)
    office.submit(3, LONG)
    office.deal()
    assert [ticket.call.key for ticket in office.core.withdraw_all()] == [2, 3]
    assert office.core.active == 1
    office.core.check()


def test_an_answer_to_no_call_is_ignored() -> None:
    office = Office(workers=1)
    office.submit(1, LONG)
    office.deal()
    assert office.core.answered(office.lanes[0], 99, 1, 1) is None
    office.core.check()
