"""What this dispatcher owns: every message from its arrival to its last word, and what must be written about it. Pure.

    arrived -> waiting --delivered--> with Celery --given--> with an executor --ended and acknowledged--> gone
                  ^                       |                        |
                  +--- channel closed ----+                        +--- returned, set aside --> gone

What changed is collected until it is written (`batch`), and kept until that is answered (`written`): after a lost connection it
is written again (`reconnected`). Of each message the newest word counts.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .records import Returns, id_order, other_tag, returned
from .requests import Goes, Held, Life, Writes

#: Messages that are owned at once: each costs Celery a request of some 3 KiB, and a start after a crash reads them all.
MAX_OWNED: Final = 10_000
#: Bytes of them. They are in the dispatcher's memory as they are in Redis.
MAX_OWNED_BYTES: Final = 64 * 1024 * 1024
#: Messages of which it is remembered that they had their last word: more than end in the seconds that a failover may forget.
MAX_GONE: Final = 20_000
#: Words written in one batch, and bytes after which no more are added.
_MAX_BATCH: Final = 1_000
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024

#: States as they are written: given, and given and acknowledged. Behind it the tag by which it was delivered.
_GIVEN: Final = "g"
_ACKNOWLEDGED: Final = "a"


class Arrival(NamedTuple):
    """A message that was taken, or that an earlier life owned."""

    item_id: str
    key: str
    #: Of the queue, as kombu names it.
    queue: str
    raw: bytes
    #: Decoded, for the delivery.
    message: dict[str, Any]
    tag: str
    returns: Returns
    #: As an earlier life wrote it; "" where it was not given.
    state: str = ""
    redelivered: bool = False


@dataclass(slots=True)
class Owned:
    """One owned message."""

    item_id: str
    key: str
    queue: str
    raw: bytes
    #: The message's own tag; with the key it says which message it is.
    own_tag: str
    #: By which Celery knows it.
    tag: str
    returns: Returns
    #: Decoded; only until it is delivered, and made again by whoever delivers it again.
    message: dict[str, Any] | None
    redelivered: bool
    #: The channel that delivered it; 0 while it waits.
    channel: int = 0
    #: By this life.
    given: bool = False
    #: By an earlier life.
    was_given: bool = False
    was_acknowledged: bool = False
    acknowledged: bool = False
    ended: bool = False
    #: Its task asked to go back to the queue: that is no loss.
    asked_back: bool = False

    @property
    def state(self) -> str:
        """As it is written."""
        if not (self.given or self.was_given):
            return ""
        return (_ACKNOWLEDGED if self.acknowledged or self.was_acknowledged else _GIVEN) + self.tag


class _Ended(NamedTuple):
    """A word on a message: forget it."""


class _State(NamedTuple):
    """A word on a message: this is its state."""

    state: str


class _Aside(NamedTuple):
    """A word on a message: keep this of it for people."""

    entry: bytes


_Word = _Ended | _State | _Aside | Goes


class Book:
    """What is owned. Changed from one thread."""

    def __init__(self, life: Life) -> None:
        self.life: Final = life
        self._owned: dict[str, Owned] = {}
        self._by_tag: dict[str, Owned] = {}
        #: Own tag and key to id, of what is owned.
        self._known: dict[tuple[str, str], str] = {}
        #: Own tag and key of what had its last word, oldest first.
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()
        #: Ids of what is to be delivered; some may be gone.
        self._waiting: deque[str] = deque()
        #: Of messages that wait, by queue.
        self._waiting_counts: Counter[str] = Counter()
        #: Channels that delivered something and are not closed.
        self._open: set[int] = set()
        #: What is to be written, by id.
        self._todo: dict[str, _Word] = {}
        #: What was sent and not answered, oldest first.
        self._sent: deque[dict[str, _Word]] = deque()
        self.owned_bytes = 0
        self._takes = 0

    def __len__(self) -> int:
        return len(self._owned)

    def __iter__(self) -> Iterator[Owned]:
        """What is owned, as it arrived."""
        return iter(self._owned.values())

    # -- arriving

    def next_take(self) -> str:
        """Return what the ids of the next take begin with."""
        self._takes += 1
        return f"{self.life.text}.{self._takes}"

    def room(self) -> int:
        """Return how many more messages may be taken."""
        return 0 if self.owned_bytes >= MAX_OWNED_BYTES else max(0, MAX_OWNED - len(self._owned))

    def arrived(self, arrivals: Iterable[Arrival]) -> None:
        """Own these, and let them wait for delivery.

        One that is known is a copy: Redis forgot that it was taken, or that it ended.
        """
        for arrival in arrivals:
            if arrival.item_id in self._owned or arrival.item_id in self._todo:
                continue
            identity = (arrival.tag, arrival.key)
            if identity in self._known or identity in self._gone:
                self._todo[arrival.item_id] = _Ended()
                continue
            owned = self._new(arrival)
            self._owned[owned.item_id] = owned
            self._by_tag[owned.tag] = owned
            self._known[identity] = owned.item_id
            self.owned_bytes += len(owned.raw)
            self._waiting.append(owned.item_id)
            self._waiting_counts[owned.queue] += 1

    def _new(self, arrival: Arrival) -> Owned:
        tag = arrival.state[1:] or arrival.tag
        if tag in self._by_tag:
            tag = other_tag(arrival.tag, arrival.key)
        return Owned(
            item_id=arrival.item_id,
            key=arrival.key,
            queue=arrival.queue,
            raw=arrival.raw,
            own_tag=arrival.tag,
            tag=tag,
            returns=arrival.returns,
            message=arrival.message,
            redelivered=arrival.redelivered,
            was_given=arrival.state != "",
            was_acknowledged=arrival.state[:1] == _ACKNOWLEDGED,
        )

    def deliver(self, queues: Collection[str], channel: int, count: int) -> list[Owned]:
        """Return messages that wait and have a consumer, at most so many, as delivered by this channel.

        What an earlier life gave away runs already, and comes whatever the count: it was the first to arrive.
        """
        self._open.add(channel)
        found: list[Owned] = []
        kept: list[str] = []
        while self._waiting:
            owned = self._owned.get(self._waiting[0])
            if owned is not None and len(found) >= count and not owned.was_given:
                break
            self._waiting.popleft()
            if owned is None or owned.channel:
                continue
            if owned.queue not in queues:
                kept.append(owned.item_id)
                continue
            owned.channel = channel
            self._waiting_counts[owned.queue] -= 1
            found.append(owned)
        self._waiting.extendleft(reversed(kept))
        return found

    def waiting(self, queues: Collection[str]) -> int:
        """Return how many messages wait for consumers of these queues."""
        return sum(self._waiting_counts[queue] for queue in queues)

    def unconsumed(self, queues: Collection[str]) -> set[str]:
        """Return queues but these of which messages wait."""
        return {queue for queue, count in self._waiting_counts.items() if count and queue not in queues}

    def closed(self, channel: int, still_held: Callable[[str], bool]) -> None:
        """Let what this channel delivered wait again, as Celery forgets it with its connection: not what was given or is held."""
        self._open.discard(channel)
        self._wait_again(
            owned
            for owned in self._owned.values()
            if owned.channel == channel and not (owned.given or still_held(owned.tag))
        )

    def _wait_again(self, messages: Iterable[Owned]) -> None:
        again = sorted(messages, key=lambda owned: (not owned.was_given, id_order(owned.item_id)))
        for owned in again:
            owned.channel = 0
            owned.redelivered = True
            self._waiting_counts[owned.queue] += 1
        self._waiting.extendleft(owned.item_id for owned in reversed(again))

    # -- what Celery and the pool say

    def find(self, tag: str) -> Owned | None:
        """Return what is owned under a tag."""
        return self._by_tag.get(tag)

    def give(self, tag: str) -> None:
        """It is about to be sent to an executor."""
        owned = self._by_tag.get(tag)
        if owned is not None and not owned.given:
            owned.given = True
            self._note_state(owned)

    def acknowledge(self, tag: str) -> bool:
        """Celery is done with it, or acknowledges early. True where it is gone by this."""
        owned = self._by_tag.get(tag)
        if owned is None or owned.acknowledged:
            return False
        owned.acknowledged = True
        return self._settle(owned)

    def end(self, tag: str) -> bool:
        """The last word is out. True where it is gone by this."""
        owned = self._by_tag.get(tag)
        if owned is None or owned.ended:
            return False
        owned.ended = True
        return self._settle(owned)

    def take_back(self, tag: str) -> None:
        """What was given, or held over a lost connection, did not begin. What came over a closed channel Celery forgot."""
        owned = self._by_tag.get(tag)
        if owned is None:
            return
        if owned.given or owned.was_given:
            owned.given = owned.was_given = owned.acknowledged = owned.was_acknowledged = False
            self._note_state(owned)
        if owned.channel and owned.channel not in self._open:
            self._wait_again([owned])

    def asked_back(self, tag: str) -> None:
        """Its task asks to go back to the queue."""
        owned = self._by_tag.get(tag)
        if owned is not None:
            owned.asked_back = True

    def drop(self, tag: str) -> bool:
        """Celery rejects it for good."""
        owned = self._by_tag.get(tag)
        if owned is None:
            return False
        self._forget(owned, _Ended())
        self._remember_gone(owned)
        return True

    def return_(self, tag: str, *, first: bool) -> bool:
        """It goes back to its queue, as the next or the last to be taken."""
        owned = self._by_tag.get(tag)
        if owned is None:
            return False
        times, losses = owned.returns
        if owned.given or owned.was_given:
            times, losses = times + 1, losses + (not owned.asked_back)
        touched = bool(owned.channel or owned.redelivered or owned.was_given)
        message = returned(owned.raw, owned.own_tag, Returns(times, losses)) if touched else owned.raw
        self._forget(owned, Goes(owned.item_id, owned.key, first, message))
        return True

    def set_aside(self, tag: str, entry: bytes) -> bool:
        """It is kept for people, and goes nowhere else."""
        owned = self._by_tag.get(tag)
        if owned is None:
            return False
        self._forget(owned, _Aside(entry))
        self._remember_gone(owned)
        return True

    def unreadable(self, item_id: str, entry: bytes) -> None:
        """A message came that nobody can read: the same, without having been owned."""
        self._todo[item_id] = _Aside(entry)

    def let_go(self, queues: Collection[str] | None = None) -> int:
        """Return what was not given, of these queues where only it waits, or all, in the order in which it was taken."""
        going = [
            owned
            for owned in self._owned.values()
            if not (owned.given or owned.was_given)
            and (queues is None or (owned.queue in queues and not owned.channel))
        ]
        going.sort(key=lambda owned: id_order(owned.item_id), reverse=True)
        for owned in going:
            self.return_(owned.tag, first=True)
        return len(going)

    def _settle(self, owned: Owned) -> bool:
        given = owned.given or owned.was_given
        if not (owned.acknowledged or owned.was_acknowledged):
            return False
        if owned.ended or not given:
            self._forget(owned, _Ended())
            self._remember_gone(owned)
            return True
        self._note_state(owned)
        return False

    def _note_state(self, owned: Owned) -> None:
        self._todo[owned.item_id] = _State(owned.state)

    def _forget(self, owned: Owned, word: _Word) -> None:
        del self._owned[owned.item_id]
        del self._known[owned.own_tag, owned.key]
        del self._by_tag[owned.tag]
        self.owned_bytes -= len(owned.raw)
        if not owned.channel:
            self._waiting_counts[owned.queue] -= 1
        self._todo[owned.item_id] = word

    def _remember_gone(self, owned: Owned) -> None:
        self._gone[owned.own_tag, owned.key] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    # -- writing

    def batch(self) -> Writes | None:
        """Return what is to be written next, None where nothing is. It counts as sent."""
        if not self._todo:
            return None
        writes, sent, size = Writes(), dict[str, _Word](), 0
        for item_id, word in self._todo.items():
            if len(sent) == _MAX_BATCH or size > _MAX_BATCH_BYTES:
                break
            sent[item_id] = word
            match word:
                case _Ended():
                    writes.ended.append(item_id)
                case _State(state):
                    writes.states.append((item_id, state))
                case _Aside(entry):
                    writes.aside.append((item_id, entry))
                    size += len(entry)
                case Goes():
                    writes.going.append(word)
                    size += len(word.message)
        for item_id in sent:
            del self._todo[item_id]
        self._sent.append(sent)
        return writes

    def written(self) -> None:
        """The oldest batch that was sent is done."""
        self._sent.popleft()

    def reconnected(self) -> None:
        """What was sent and not answered is to be written again."""
        again: dict[str, _Word] = {}
        for sent in self._sent:
            again |= sent
        self._sent.clear()
        self._todo = again | self._todo

    @property
    def unwritten(self) -> int:
        """How many messages have a word that is not written, or not known to be."""
        return len(self._todo) + sum(map(len, self._sent))

    # -- comparing

    def strangers(self, stored: Collection[str]) -> list[str]:
        """Return ids that Redis owns for us and this book does not know, as taken.

        They come from a take whose answer was lost, or Redis forgot their last word.
        """
        strange = [item_id for item_id in stored if item_id not in self._owned and item_id not in self._todo]
        return sorted(strange, key=id_order)

    def missing(self, stored: Collection[str]) -> list[Held]:
        """Return what is to be owned again: Redis forgot it, or (where it is given) may have forgotten that."""
        return [
            Held(owned.item_id, owned.key, owned.raw, owned.state)
            for owned in self._owned.values()
            if owned.item_id not in stored or owned.state
        ]

    def check(self) -> None:
        """Assert what is always true."""
        assert len(self._owned) == len(self._by_tag) == len(self._known)
        assert self.owned_bytes == sum(len(owned.raw) for owned in self._owned.values())
        waiting = [owned for owned in self._owned.values() if not owned.channel]
        assert +self._waiting_counts == Counter(owned.queue for owned in waiting)
        assert {owned.item_id for owned in waiting} <= set(self._waiting)
        for item_id, word in self._todo.items():
            assert isinstance(word, _State) == (item_id in self._owned), (item_id, word)
