"""Whatever a dispatcher, its connection and its broker do: no message is lost, and none is with Celery twice.

Method: a book and the broker in memory, with connections that break between a request and its answer, dispatchers that die, and
failovers after which the broker is as it was a while ago. After each step every message that was sent and had no last word must
lie in a queue or be owned; and one that is delivered must not be delivered again before it went back, its connection was lost, or
its dispatcher died. At the end all is well, and every message comes to its last word.
"""

import copy
import json
from collections.abc import Sequence
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesolite.frameworks.celery.broker.book import Book
from mesolite.frameworks.celery.broker.decoding import Layout, arrival
from mesolite.frameworks.celery.broker.memory import MemoryBroker, MemoryStore
from mesolite.frameworks.celery.broker.reconciling import begin, reconcile
from mesolite.frameworks.celery.broker.requests import Guard, Held, Life, Take, Taken

QUEUES: Final = ("one", "two")
LAYOUT: Final = Layout("", "\x06\x16")
PICK: Final = st.integers(0, 1_000)


def message(tag: str) -> bytes:
    return json.dumps({"headers": {}, "properties": {"delivery_tag": tag, "delivery_info": {}}}).encode()


def tag_in(raw: bytes) -> str:
    return str(json.loads(raw)["properties"]["delivery_tag"])


class OwnedMessages(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.broker = MemoryBroker()
        self.past = [copy.deepcopy(self.broker)]
        self.sent: set[str] = set()
        #: Had their last word, by this life or an earlier one.
        self.done: set[str] = set()
        #: With Celery, delivered by the channel that is open or given.
        self.out: set[str] = set()
        self.given: set[str] = set()
        self.done_in_this_life: set[str] = set()
        #: Had their last word, and the broker knows: no failover since.
        self.settled: set[str] = set()
        self.salts = self.tags = 0
        self.live()

    def live(self) -> None:
        self.salts += 1
        self.store = MemoryStore(self.broker)
        life = self.store.claim(f"s{self.salts}", 1)
        assert isinstance(life, Life)
        self.guard, self.book, self.channel = Guard(life, 0), Book(life), 1
        begin(self.store, self.take_in)
        self.out, self.given, self.done_in_this_life = set(), set(), set()
        #: Given, and came over an earlier connection.
        self.survived: set[str] = set()

    def take_in(self, held: Sequence[Held]) -> None:
        self.book.arrived(
            arrival(item.item_id, item.key, item.message, LAYOUT, state=item.state, redelivered=True) for item in held
        )

    def connect(self) -> None:
        """The connection was lost: Celery forgets what it had not begun, and another channel is opened."""
        self.store = MemoryStore(self.broker)
        self.guard = Guard(self.guard.life, self.guard.session + 1)
        assert self.store.enter(self.guard, 1)
        self.book.closed(self.channel, lambda _: False)
        self.out &= self.given
        self.survived = set(self.out)
        self.channel += 1
        reconcile(self.store, self.guard, self.book, self.take_in)
        self.settle()

    def remember(self) -> None:
        self.past = [*self.past[-3:], copy.deepcopy(self.broker)]

    def pick(self, tags: set[str], number: int) -> str:
        return sorted(tags)[number % len(tags)]

    # -- the world

    @rule(queue=st.sampled_from(QUEUES), count=st.integers(1, 3))
    def producer_sends(self, queue: str, count: int) -> None:
        for _ in range(count):
            self.tags += 1
            tag = f"t{self.tags}"
            self.sent.add(tag)
            self.broker.push(queue, message(tag))
        self.remember()

    @rule(count=st.integers(1, 4), rotating=st.booleans(), answered=st.booleans(), room=st.integers(0, 4))
    def dispatcher_takes(self, count: int, rotating: bool, answered: bool, room: int) -> None:
        take = Take(self.book.next_take(), [QUEUES], count, 1_000, rotating)
        taken = self.store.take(self.guard, take)
        self.remember()
        if answered:
            self.take_taken(taken)
        else:
            self.connect()
        self.celery_gets(room)

    def take_taken(self, taken: Taken) -> None:
        self.book.arrived(arrival(item_id, key, raw, LAYOUT) for item_id, key, raw in taken.items)

    @rule(count=st.integers(0, 4))
    def celery_gets(self, count: int) -> None:
        for owned in self.book.deliver(QUEUES, self.channel, count):
            assert owned.own_tag not in self.out, "delivered while it is out"
            assert owned.own_tag not in self.done_in_this_life, "delivered after its last word"
            assert owned.own_tag not in self.settled, "delivered though its last word was written"
            self.out.add(owned.own_tag)

    @precondition(lambda self: self.out)
    @rule(number=PICK)
    def pool_gives(self, number: int) -> None:
        tag = self.pick(self.out, number)
        self.book.give(tag)
        self.given.add(tag)

    @precondition(lambda self: self.out)
    @rule(number=PICK, end_first=st.booleans())
    def task_ends(self, number: int, end_first: bool) -> None:
        tag = self.pick(self.out, number)
        for word in (self.book.end, self.book.acknowledge) if end_first else (self.book.acknowledge, self.book.end):
            word(tag)
        self.finish(tag)

    def finish(self, tag: str) -> None:
        self.survived.discard(tag)
        assert self.book.find(tag) is None
        self.out.discard(tag)
        self.given.discard(tag)
        self.done.add(tag)
        self.done_in_this_life.add(tag)

    @precondition(lambda self: self.out)
    @rule(number=PICK, first=st.booleans())
    def celery_returns(self, number: int, first: bool) -> None:
        tag = self.pick(self.out, number)
        self.book.return_(tag, first=first)
        self.survived.discard(tag)
        self.out.discard(tag)
        self.given.discard(tag)

    @precondition(lambda self: self.out)
    @rule(number=PICK)
    def pool_sets_aside(self, number: int) -> None:
        tag = self.pick(self.out, number)
        self.book.set_aside(tag, b"")
        self.finish(tag)

    @precondition(lambda self: self.given)
    @rule(number=PICK)
    def pool_takes_back(self, number: int) -> None:
        tag = self.pick(self.given, number)
        self.book.take_back(tag)
        self.given.discard(tag)
        if tag in self.survived:
            # Celery has forgotten it with the connection over which it came.
            self.survived.discard(tag)
            self.out.discard(tag)

    @rule(answered=st.booleans(), arrives=st.booleans())
    def dispatcher_writes(self, answered: bool, arrives: bool) -> None:
        writes = self.book.batch()
        if writes is None:
            return
        if answered or arrives:
            self.store.write(self.guard, writes)
            self.remember()
        if answered:
            self.book.written()
            self.settle()
        else:
            self.connect()

    def settle(self) -> None:
        if self.book.unwritten == 0:
            self.settled |= self.done_in_this_life

    @rule()
    def connection_breaks(self) -> None:
        self.connect()
        self.remember()

    @rule()
    def dispatcher_dies(self) -> None:
        # What Celery was told to forget and Redis was not may run again; nothing else changes.
        self.done &= self.done_in_redis()
        self.broker.now_ms += 1
        self.live()
        self.remember()

    @rule()
    def dispatcher_leaves(self) -> None:
        self.connect()
        self.book.let_go()
        reconcile(self.store, self.guard, self.book, self.take_in)
        self.store.leave(self.guard)
        self.live()
        self.remember()

    @rule(back=st.integers(1, 3))
    def redis_fails_over(self, back: int) -> None:
        """What was acknowledged to producers may be forgotten, which nobody here can help; what we hold may not."""
        now_ms = self.broker.now_ms
        self.settled = set()
        self.broker = copy.deepcopy(self.past[-1 - min(back, len(self.past) - 1)])
        self.broker.now_ms = now_ms
        held = {owned.own_tag for owned in self.book}
        self.sent = {tag for tag in self.sent if tag in held or tag in self.in_redis() or tag in self.done}
        self.connect()
        self.remember()

    def teardown(self) -> None:
        """All is well from now on: every message comes to its last word, and nothing is left."""
        if not hasattr(self, "broker"):
            return
        for _ in range(3):
            self.connect()
            self.take_taken(self.store.take(self.guard, Take(self.book.next_take(), [QUEUES], 1_000, 1_000_000, True)))
            self.celery_gets(1_000)
            for tag in sorted(self.out):
                self.book.acknowledge(tag)
                self.book.end(tag)
                self.finish(tag)
        self.connect()
        assert self.sent <= self.done
        assert len(self.book) == 0
        assert (self.in_redis(), self.broker.states) == (set(), {})

    # -- what is always true

    def in_redis(self) -> set[str]:
        raws = [raw for queue in self.broker.queues.values() for raw in queue]
        raws += [item.message for item in MemoryStore(self.broker).held(sorted(self.broker.owned))]
        return set(map(tag_in, raws))

    def done_in_redis(self) -> set[str]:
        return self.done - self.in_redis()

    @invariant()
    def no_message_is_lost(self) -> None:
        lost = self.sent - self.done - self.in_redis()
        assert not lost, lost

    @invariant()
    def the_book_is_sound(self) -> None:
        self.book.check()


OwnedMessages.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestOwnedMessages = OwnedMessages.TestCase
