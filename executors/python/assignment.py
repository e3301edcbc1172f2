"""Which call goes to which worker, and when: the executor's core. Calls come in, workers come and go, time is told.

A worker runs one call at a time, and each call is given to at most one worker that may have begun it. A call alone is given to a
worker that has nothing else. Calls of a function that has proven **short** may wait behind others in the worker's socket, so that
the worker need not wait for main between two of them: in chunks, bounded by time and by number, two chunks at a time. What waits
there can be taken back, because whatever is still in the socket was not begun; that is done

- when a worker was silent for a look (`silent`): one of its calls turned out long, and the others are given elsewhere;
- when the worker ends: only the one call that it had taken ends with it;
- when somebody asks for one of them (`cancel`).

           submit                 deal                       answered
    (new) --------> waiting ----------------> in a worker ------------> (ended)
                       ^      taken_back           |        lost
                       +---------------------------+------------------> (ended)
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from .calls import Call

#: What the calls of one chunk are expected to take together; a function whose calls are expected to run no longer is short.
#: Asking main for the next call costs about 100 µs: far above it whoever waits for results wins nothing by chunks.
CHUNK_US: Final = 1_000
#: And how many they may be.
CHUNK_CALLS: Final = 16
#: Chunks that one worker may have: while it runs the one, main prepares the other.
CHUNKS_PER_WORKER: Final = 2
#: Bytes that may wait in a worker's socket; a larger call travels alone.
MAX_WAITING_BYTES: Final = 65_536
#: Functions whose times are remembered.
MAX_ESTIMATES: Final = 4_096
#: Of each shorter run, this part is believed; a longer one is believed at once.
_ESTIMATE_DECAY: Final = 4


class Ticket:
    """A call on its way."""

    __slots__ = ("alone", "call", "number", "told", "weight")

    def __init__(self, number: int, call: Call, weight: int, *, alone: bool) -> None:
        #: Counts all calls of this executor; tells answers apart.
        self.number = number
        self.call = call
        #: Bytes in a socket.
        self.weight = weight
        #: It must not wait behind others, nor others behind it.
        self.alone = alone
        #: Its sender was told that it has begun.
        self.told = False


class Lane:
    """One worker, as far as calls are concerned."""

    __slots__ = ("chunks", "closing", "in_flight", "moved", "ready", "since_us", "waiting_bytes", "worker")

    def __init__(self, worker: int) -> None:
        self.worker: Final = worker
        #: Given and not answered, in the order of giving, by number.
        self.in_flight: dict[int, Ticket] = {}
        #: The last number of each chunk that is under way.
        self.chunks: deque[int] = deque()
        self.waiting_bytes = 0
        #: When its first call in flight began, as far as known: never later than it did begin.
        self.since_us = 0
        #: It answered since the last look.
        self.moved = True
        #: Its process is up.
        self.ready = False
        #: It gets no more calls.
        self.closing = False

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return not self.in_flight


class Assignment:
    """Calls that wait, and workers with what they have.

    Args:
        chunk_us: What the calls of one chunk may take together, and a call that is short.
    """

    def __init__(self, chunk_us: int = CHUNK_US) -> None:
        self._chunk_us: Final = chunk_us
        self.lanes: Final[dict[int, Lane]] = {}
        self._waiting: Final[deque[Ticket]] = deque()
        #: Waiting ones by their sender's key.
        self._by_key: Final[dict[object, Ticket]] = {}
        #: In a worker, by their sender's key.
        self._lane_of: Final[dict[object, Lane]] = {}
        #: How long calls of a function are expected to run, by digest.
        self._estimates: Final[OrderedDict[bytes, int]] = OrderedDict()
        self._last_number = 0

    @property
    def waiting(self) -> int:
        """Calls that no worker was given."""
        return len(self._by_key)

    @property
    def active(self) -> int:
        """Workers that have calls."""
        return sum(1 for lane in self.lanes.values() if lane.in_flight)

    # Calls

    def submit(self, call: Call, weight: int, *, alone: bool) -> None:
        """Take a call.

        Args:
            call: The call.
            weight: Its bytes in a worker's socket.
            alone: It shares a worker's socket with no other.
        """
        self._last_number += 1
        ticket = Ticket(self._last_number, call, weight, alone=alone or weight > MAX_WAITING_BYTES)
        self._waiting.append(ticket)
        self._by_key[call.key] = ticket

    def withdraw(self, key: object) -> Ticket | None:
        """Take a waiting call out for good; None where it does not wait."""
        ticket = self._by_key.pop(key, None)
        if ticket is not None and len(self._by_key) * 2 + 64 < len(self._waiting):
            self._sweep()
        return ticket

    def withdraw_all(self) -> list[Ticket]:
        """Take all waiting calls out for good."""
        tickets = [ticket for ticket in self._waiting if self._by_key.get(ticket.call.key) is ticket]
        self._waiting.clear()
        self._by_key.clear()
        return tickets

    def lane_of(self, key: object) -> Lane | None:
        """The worker that was given this call."""
        return self._lane_of.get(key)

    def _sweep(self) -> None:
        """Drop withdrawn tickets, which otherwise stay until their turn comes."""
        kept = [ticket for ticket in self._waiting if self._by_key.get(ticket.call.key) is ticket]
        self._waiting.clear()
        self._waiting.extend(kept)

    # Workers

    def add_worker(self, worker: int) -> Lane:
        """Expect a worker; it gets nothing before it is ready."""
        lane = self.lanes[worker] = Lane(worker)
        return lane

    def remove_worker(self, worker: int, taken_back: Iterable[int]) -> list[Ticket]:
        """A worker is over. What was found in its socket waits again.

        Returns:
            What it had besides, which it may have begun, for the caller to end.
        """
        self.take_back(worker, taken_back)
        lane = self.lanes.pop(worker)
        lost = list(lane.in_flight.values())
        for ticket in lost:
            del self._lane_of[ticket.call.key]
        return lost

    def take_back(self, worker: int, numbers: Iterable[int]) -> None:
        """What was found in a worker's socket was not begun: it waits again, before all others."""
        lane = self.lanes[worker]
        back = [ticket for number in numbers if (ticket := lane.in_flight.pop(number, None)) is not None]
        for ticket in reversed(back):
            lane.waiting_bytes -= ticket.weight
            del self._lane_of[ticket.call.key]
            self._by_key[ticket.call.key] = ticket
            self._waiting.appendleft(ticket)
        if back:
            lane.chunks.clear()
            if lane.in_flight:
                lane.chunks.append(next(reversed(lane.in_flight)))

    # Giving and taking

    def deal(self, now_us: int) -> list[tuple[Lane, list[Ticket]]]:
        """Give out what can be given now. The last of each list closes a chunk: its answer has to be heard."""
        dealt: list[tuple[Lane, list[Ticket]]] = []
        if not self._by_key:
            return dealt
        for chunks in range(CHUNKS_PER_WORKER):
            open_lanes = [
                lane
                for lane in self.lanes.values()
                if lane.ready and not lane.closing and len(lane.chunks) == chunks and self._may_add(lane)
            ]
            left = len(open_lanes)
            for lane in open_lanes:
                tickets = self._chunk(lane, fair=-(-len(self._by_key) // left))
                left -= 1
                if tickets:
                    self._give(lane, tickets, now_us)
                    dealt.append((lane, tickets))
        return dealt

    def _may_add(self, lane: Lane) -> bool:
        """Whether others may wait behind what it has: only where all of that is short."""
        return all(not ticket.alone and self.is_short(ticket) for ticket in lane.in_flight.values())

    def is_short(self, ticket: Ticket) -> bool:
        """Whether its function has proven short."""
        return self.estimate_us(ticket) <= self._chunk_us

    def estimate_us(self, ticket: Ticket) -> int:
        """How long it is expected to run; more than any short one where nothing is known."""
        return self._estimates.get(ticket.call.function.digest, self._chunk_us + 1)

    def _chunk(self, lane: Lane, fair: int) -> list[Ticket]:
        """What goes next to this worker: one call, or some short ones.

        Args:
            lane: The worker.
            fair: Its share of what waits, so that others are not left without.
        """
        chosen: list[Ticket] = []
        budget_us, room = self._chunk_us, MAX_WAITING_BYTES - lane.waiting_bytes
        while len(chosen) < min(CHUNK_CALLS, fair):
            ticket = self._next()
            if ticket is None:
                break
            estimate = self.estimate_us(ticket)
            together = not ticket.alone and estimate <= self._chunk_us
            first = lane.idle and not chosen
            if not first and not (together and estimate <= budget_us and ticket.weight <= room):
                break
            self._waiting.popleft()
            del self._by_key[ticket.call.key]
            chosen.append(ticket)
            budget_us -= estimate
            room -= ticket.weight
            if not together:
                break
        return chosen

    def _next(self) -> Ticket | None:
        """The one that has waited longest."""
        while self._waiting:
            ticket = self._waiting[0]
            if self._by_key.get(ticket.call.key) is ticket:
                return ticket
            self._waiting.popleft()
        return None

    def _give(self, lane: Lane, tickets: list[Ticket], now_us: int) -> None:
        if lane.idle:
            lane.since_us = now_us
        lane.moved = True
        lane.chunks.append(tickets[-1].number)
        for ticket in tickets:
            lane.in_flight[ticket.number] = ticket
            lane.waiting_bytes += ticket.weight
            self._lane_of[ticket.call.key] = lane

    def answered(self, lane: Lane, number: int, ran_us: int, now_us: int) -> Ticket | None:
        """A worker answered one of its calls; None where it has no such call."""
        ticket = lane.in_flight.pop(number, None)
        if ticket is None:
            return None
        del self._lane_of[ticket.call.key]
        lane.waiting_bytes -= ticket.weight
        lane.since_us = now_us
        lane.moved = True
        if lane.chunks and lane.chunks[0] == number:
            lane.chunks.popleft()
        self._learn(ticket.call.function.digest, ran_us)
        return ticket

    def _learn(self, digest: bytes, ran_us: int) -> None:
        before = self._estimates.get(digest)
        if before is None:
            if len(self._estimates) >= MAX_ESTIMATES:
                self._estimates.popitem(last=False)
            self._estimates[digest] = ran_us
        elif ran_us > before:
            self._estimates[digest] = ran_us
        elif ran_us < before:
            self._estimates[digest] = before - -(-(before - ran_us) // _ESTIMATE_DECAY)

    def silent(self) -> list[Lane]:
        """Workers that hold several calls and have answered none since the last time this was asked."""
        found = [lane for lane in self.lanes.values() if len(lane.in_flight) > 1 and not lane.moved]
        for lane in self.lanes.values():
            lane.moved = False
        return found

    # Invariants

    def check(self) -> None:
        """Assert what must hold between any two calls of these methods."""
        held = [ticket for lane in self.lanes.values() for ticket in lane.in_flight.values()]
        assert len({ticket.number for ticket in held}) == len(held), "a call is in two workers"
        assert {id(self._lane_of[ticket.call.key]) for ticket in held} == {
            id(lane) for lane in self.lanes.values() if lane.in_flight
        }, "keys lead to the wrong workers"
        assert not self._by_key.keys() & self._lane_of.keys(), "a call waits and is in a worker"
        assert len(self._lane_of) == len(held), "a key leads to a worker that has no such call"
        for lane in self.lanes.values():
            alone = [ticket for ticket in lane.in_flight.values() if ticket.alone]
            assert not alone or len(lane.in_flight) == 1, "a call that must be alone is not"
            assert lane.waiting_bytes == sum(ticket.weight for ticket in lane.in_flight.values()), "bytes miscounted"
            assert len(lane.in_flight) <= CHUNK_CALLS * CHUNKS_PER_WORKER, "too many calls in one worker"
            assert len(lane.chunks) <= len(lane.in_flight), "a chunk without calls"
