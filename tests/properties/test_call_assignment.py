"""Whatever workers do and whenever they die: every call has one end, and none is begun twice.

The world around the core is a model: each worker is a queue of calls, of which it takes one at a time; it answers, or is silent,
or dies. Safety is looked at after each step; at the end everybody behaves, and everything must have ended.
"""

from collections import deque
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesolite.executors.python.assignment import (
    CHUNK_CALLS,
    CHUNK_US,
    CHUNKS_PER_WORKER,
    MAX_WAITING_BYTES,
    Assignment,
    Ticket,
)
from mesolite.executors.python.calls import Call, Function, Outcome

FUNCTIONS: Final = [Function(bytes([number]) * 16, b"f") for number in range(3)]


def nothing(call: Call, outcome: Outcome) -> None:
    """Ends are counted by the model."""


class Worker:
    """A worker as the core cannot see it."""

    def __init__(self) -> None:
        #: In its socket.
        self.queue: deque[Ticket] = deque()
        self.running: Ticket | None = None


class CallsAndWorkers(RuleBasedStateMachine):
    """One executor."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Assignment()
        self.workers: dict[int, Worker] = {}
        self.next_worker = 1
        self.next_key = 0
        self.now_us = 0
        self.begun: set[object] = set()
        self.ended: dict[object, str] = {}

    # What the executor does

    @rule(
        count=st.integers(1, 40), function=st.sampled_from(FUNCTIONS), alone=st.booleans(), weight=st.integers(1, 9_000)
    )
    def submit(self, count: int, function: Function, alone: bool, weight: int) -> None:
        for _ in range(count):
            self.next_key += 1
            self.core.submit(Call(self.next_key, function, b"a", nothing), weight, alone=alone)

    @precondition(lambda self: len(self.workers) < 4)
    @rule()
    def worker_comes_up(self) -> None:
        lane = self.core.add_worker(self.next_worker)
        lane.ready = True
        self.workers[self.next_worker] = Worker()
        self.next_worker += 1

    @rule()
    def deal(self) -> None:
        for lane, tickets in self.core.deal(self.now_us):
            assert tickets
            assert len(tickets) <= CHUNK_CALLS
            self.workers[lane.worker].queue.extend(tickets)

    @rule(back=st.booleans())
    def look(self, back: bool) -> None:
        for lane in self.core.silent():
            if back:
                self.take_back(lane.worker)

    def take_back(self, number: int) -> None:
        worker = self.workers[number]
        self.core.take_back(number, [ticket.number for ticket in worker.queue])
        worker.queue.clear()

    @precondition(lambda self: self.next_key > 0)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        key = data.draw(st.integers(1, self.next_key))
        lane = self.core.lane_of(key)
        if lane is not None:
            self.take_back(lane.worker)
        ticket = self.core.withdraw(key)
        if ticket is not None:
            assert key not in self.begun
            self.end(ticket, "cancelled")

    # What workers do

    @precondition(lambda self: bool(self.workers))
    @rule(data=st.data(), ran_us=st.sampled_from([1, 50, CHUNK_US, CHUNK_US + 1, 1_000_000]), steps=st.integers(1, 20))
    def work(self, data: st.DataObject, ran_us: int, steps: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.workers)))
        for _ in range(steps):
            self.step(number, ran_us)

    def step(self, number: int, ran_us: int) -> None:
        """Answer what it runs, or begin the next."""
        worker = self.workers[number]
        if worker.running is not None:
            self.now_us += ran_us
            ticket = self.core.answered(self.core.lanes[number], worker.running.number, ran_us, self.now_us)
            assert ticket is not None
            assert ticket is worker.running
            worker.running = None
            self.end(ticket, "answered")
        elif worker.queue:
            worker.running = worker.queue.popleft()
            assert worker.running.call.key not in self.begun, "begun twice"
            self.begun.add(worker.running.call.key)

    @precondition(lambda self: bool(self.workers))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.workers)))
        worker = self.workers.pop(number)
        lost = self.core.remove_worker(number, [ticket.number for ticket in worker.queue])
        assert lost == ([worker.running] if worker.running is not None else []), "it costs the one call that it ran"
        for ticket in lost:
            self.end(ticket, "lost")

    def end(self, ticket: Ticket, how: str) -> None:
        assert ticket.call.key not in self.ended, "ended twice"
        self.ended[ticket.call.key] = how

    # What must hold

    @invariant()
    def the_core_is_whole(self) -> None:
        self.core.check()

    @invariant()
    def every_call_is_somewhere(self) -> None:
        flying = sum(len(lane.in_flight) for lane in self.core.lanes.values())
        assert self.core.waiting + flying + len(self.ended) == self.next_key

    @invariant()
    def a_workers_socket_is_never_overfull(self) -> None:
        for worker in self.workers.values():
            assert len(worker.queue) <= CHUNK_CALLS * CHUNKS_PER_WORKER
            assert len(worker.queue) == 1 or sum(ticket.weight for ticket in worker.queue) <= MAX_WAITING_BYTES

    def teardown(self) -> None:
        """Everything ends once workers work."""
        if not self.workers:
            self.worker_comes_up()
        for _ in range(10 * self.next_key + 10):
            self.deal()
            for number in self.workers:
                self.step(number, 10)
        assert len(self.ended) == self.next_key
        assert not self.core.waiting


TestCallsAndWorkers = CallsAndWorkers.TestCase
TestCallsAndWorkers.settings = settings(max_examples=60, stateful_step_count=40)
