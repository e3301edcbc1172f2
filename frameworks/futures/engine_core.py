"""Which executor gets which call, and what becomes of calls: the client's side of a pool, without I/O.

    waiting --given to one executor--> given --its end is heard--> ended
       ^                                 |
       |  refused there, or never said   +--the executor is over--> lost: ended, or waiting again where it may be retried
       '---------------------------------'

A call is with one executor at a time, and goes to another only if the first has said that it did not begin it, or is known to be
over. Whether it is over, the framework says (`executor_over`), or another life of the executor that speaks under its name.

This is a core: calls, entries and time come in; entries, and ends to be told, go out.
"""

import itertools
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

from mesolite.executors.python.calls import BlockRef, End, Outcome
from mesolite.executors.python.wire import (
    MAX_INLINE_BYTES,
    BadEntry,
    Begun,
    Cancel,
    Ended,
    Envelope,
    ExecutorItem,
    Hello,
    Returned,
    Workers,
    decode_envelope,
    decode_executor_body,
    payload_bytes,
)

from .engine_call import Ending, EngineStats, Lost, PoolCall, StorePlace, Upload
from .engine_estimates import Estimates
from .engine_executor import ExecutorEnd, Given
from .engine_queue import CallQueue
from .engine_recall import Recall

#: Larger arguments go to the block store of the executor's agent, where it serves one to clients: Redis keeps an entry in memory,
#: and whatever stands behind it on the stream waits for it.
INLINE_BYTES: Final = 4 * 1024 * 1024
#: Executors with room that are compared when a call is given: the least busy of so many is near enough to that of all.
COMPARED: Final = 32
#: Lives of executors that are over, remembered so that what they said late is not taken for a new life.
MAX_PAST_SESSIONS: Final = 4096
#: Calls given in one go before another executor is looked at.
GO: Final = 64
#: Complaints about entries that cannot be read, kept for the log.
MAX_COMPLAINTS: Final = 20


class EngineCore:
    """The state of one client."""

    def __init__(self) -> None:
        #: This client's life, given by Redis; nothing is said before.
        self._session = ""
        self._numbers = itertools.count(1)
        self._queues: dict[Hashable, CallQueue] = {}
        self._executors: dict[str, ExecutorEnd] = {}
        #: The executor of each session that is alive.
        self._by_session: dict[str, ExecutorEnd] = {}
        self._past_sessions: OrderedDict[str, None] = OrderedDict()
        #: Who has a call, by its number.
        self._holders: dict[int, ExecutorEnd] = {}
        self._estimates: Final = Estimates()
        #: Executors to which something is to be said.
        self._speaking: dict[str, ExecutorEnd] = {}
        self._recall: Final = Recall()
        self._endings: list[tuple[PoolCall, Ending]] = []
        self._begun: list[PoolCall] = []
        self._uploads: list[Upload] = []
        self._drops: list[Upload] = []
        self._complaints: list[str] = []
        self._returned = 0
        self._failed = 0
        self._lost = 0

    # Calls

    def submit(self, calls: Sequence[PoolCall]) -> None:
        """Take calls on."""
        for call in calls:
            queue = self._queue(call.kind)
            queue.waiting.append(call)
            if queue.open:
                self._fill(queue)

    def cancel(self, call: PoolCall, *, kill: bool) -> bool:
        """End a call that has not begun, and with `kill` also one that has; where it is with an executor, its end comes.

        Returns:
            Whether it was waiting, and is forgotten: it has no end then.
        """
        if call.number:
            holder = self._holders.get(call.number)
            if holder is not None and holder.given[call.number].held:
                message = "cancelled while its arguments travelled"
                self._ended(holder, call.number, Outcome(End.CANCELLED, message=message, begun=False))
            elif holder is not None:
                holder.given[call.number].unwanted = True
                holder.say(Cancel(call.number, kill))
                self._speaking[holder.executor_id] = holder
            return False
        if call.dropped:
            return False
        call.dropped = True
        self._queue(call.kind).dropped += 1
        if not call.claimed or call.claim is None:
            return True
        # It had left before, and came back: its end is waited for.
        self._end(call, Outcome(End.CANCELLED, message="cancelled while it waited to be tried again", begun=False))
        return False

    # Executors

    def executor_up(self, executor_id: str, kind: Hashable, now_ms: float) -> None:
        """There is such an executor, for calls of this kind."""
        end = self._end_of(executor_id)
        end.kind = kind
        end.announced = True
        end.ask(now_ms)
        self._speaking[executor_id] = end
        self._opened(end)

    def executor_over(self, executor_id: str, reason: str) -> None:
        """It is over for certain: nothing of it runs, and nothing will. What it had is lost; what had not left goes elsewhere."""
        end = self._executors.pop(executor_id, None)
        if end is None:
            return
        if end.session:
            self._by_session.pop(end.session, None)
            self._past_sessions[end.session] = None
            while len(self._past_sessions) > MAX_PAST_SESSIONS:
                self._past_sessions.popitem(last=False)
        self._speaking.pop(executor_id, None)
        self._recall.forget(executor_id)
        queue = self._queue(end.kind)
        queue.open.pop(executor_id, None)
        for number, given in sorted(end.given.items(), reverse=True):
            del self._holders[number]
            self._over(given)
            if not given.said:
                self._wait_again(given.call)
            elif given.call.retries > 0:
                given.call.retries -= 1
                self._wait_again(given.call)
            else:
                self._lost += 1
                self._end(given.call, Lost(executor_id, given.begun, reason))
        if queue.open:
            self._fill(queue)

    def drain(self, executor_id: str, *, draining: bool) -> None:
        """Give it no more calls, or do again; what it has, it keeps."""
        end = self._executors.get(executor_id)
        if end is not None:
            end.draining = draining
            self._opened(end)

    def given_to(self, executor_id: str) -> int:
        """Return how many calls an executor has, also of earlier lives."""
        return end.busy if (end := self._executors.get(executor_id)) else 0

    # Redis

    def named(self, session: str, now_ms: float) -> None:
        """Redis gave this life its name."""
        self._session = session
        self.reconnected(now_ms)

    def reconnected(self, now_ms: float) -> None:
        """Redis is another, or the same after an outage."""
        for executor_id, end in self._executors.items():
            end.reconnected(now_ms)
            self._speaking[executor_id] = end

    def hear(self, payloads: Sequence[bytes], now_ms: float) -> None:
        """Take entries as they stand in the stream of results. Never raises for what is in them."""
        for payload in payloads:
            if not payload:
                continue  # what sessions begin with
            try:
                self._hear_one(decode_envelope(payload), now_ms)
            except BadEntry as error:
                if len(self._complaints) < MAX_COMPLAINTS:
                    self._complaints.append(str(error))

    def take(self, now_ms: float) -> list[tuple[str, bytes]]:
        """Return the entries to append now, each with the executor whose calls it belongs to."""
        if not self._session:
            return []
        speaking, self._speaking = self._speaking, {}
        entries: list[tuple[str, bytes]] = []
        for executor_id, end in speaking.items():
            entries += [(executor_id, entry) for entry in end.take(self._session, now_ms)]
            self._opened(end)
        return entries

    def waiting_items(self) -> int:
        """Return how much could be said now."""
        return sum(end.waiting_items for end in self._speaking.values())

    def tick(self, now_ms: float) -> float | None:
        """Have said what is due, and return when to come again; None where only news can change anything."""
        deadlines: list[float] = []
        for executor_id, end in self._executors.items():
            deadline_ms = end.deadline_ms
            if deadline_ms is None:
                continue
            if deadline_ms <= now_ms:
                self._speaking[executor_id] = end
            else:
                deadlines.append(deadline_ms)
        for kind, queue in self._queues.items():
            if len(queue.waiting) == queue.dropped and queue.open:
                asked, due_ms = self._recall.look([e for e in self._executors.values() if e.kind == kind], now_ms)
                self._speaking.update((end.executor_id, end) for end in asked)
                deadlines += [due_ms] if due_ms is not None else []
        return min(deadlines, default=None)

    @property
    def speaks(self) -> bool:
        """Whether `take` may have something."""
        return bool(self._speaking)

    @property
    def doubtful(self) -> bool:
        """Whether all executors that should confirm something are silent, so that another connection should be tried."""
        doubts = [end.doubtful for end in self._by_session.values() if end.doubtful is not None]
        return bool(doubts) and all(doubts)

    def take_endings(self) -> list[tuple[PoolCall, Ending]]:
        """Return the ends that are to be told."""
        endings, self._endings = self._endings, []
        return endings

    def take_begun(self) -> list[PoolCall]:
        """Return the calls that have begun, of those that want to be told."""
        begun, self._begun = self._begun, []
        return begun

    def store_of(self, executor_id: str) -> StorePlace | None:
        """Return where the block store of an executor's agent is, as it said; None where it has said nothing yet."""
        end = self._executors.get(executor_id)
        return None if end is None else end.store

    def take_complaints(self) -> list[str]:
        """Return what was wrong with entries since the last time."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def stats(self) -> EngineStats:
        """Return how it is doing."""
        ends = list(self._by_session.values())
        return EngineStats(
            waiting=sum(len(queue.waiting) - queue.dropped for queue in self._queues.values()),
            given=len(self._holders),
            begun=sum(given.begun for end in ends for given in end.given.values()),
            executors=len(ends),
            workers=sum(end.workers for end in ends),
            returned=self._returned,
            failed=self._failed,
            lost=self._lost,
        )

    def check(self) -> None:
        """Assert its invariants."""
        for end in self._executors.values():
            end.check()
            for number in end.given:
                assert self._holders[number] is end, "whoever has a call is known to have it"
        assert len(self._holders) == sum(len(end.given) for end in self._executors.values())
        for queue in self._queues.values():
            assert not (queue.waiting and any(end.has_room for end in queue.open.values())), "nobody waits for nothing"
            assert all(call.number == 0 for call in queue.waiting)

    # Inside

    def _queue(self, kind: Hashable) -> CallQueue:
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = CallQueue()
        return queue

    def _end_of(self, executor_id: str) -> ExecutorEnd:
        end = self._executors.get(executor_id)
        if end is None:
            end = self._executors[executor_id] = ExecutorEnd(executor_id)
        return end

    def _opened(self, end: ExecutorEnd) -> None:
        """It may have room now, or none any more; and what it gave back others may have room for."""
        queue = self._queue(end.kind)
        if end.has_room:
            queue.open[end.executor_id] = end
        else:
            queue.open.pop(end.executor_id, None)
        self._fill(queue)

    def _fill(self, queue: CallQueue) -> None:
        """Give away what waits, as far as there is room."""
        while queue.waiting and queue.open:
            end = self._least_busy(queue)
            if end.has_room:
                self._give(queue, end)
            if not end.has_room:
                del queue.open[end.executor_id]

    def _least_busy(self, queue: CallQueue) -> ExecutorEnd:
        if len(queue.open) == 1:
            return next(iter(queue.open.values()))
        candidates = list(itertools.islice(queue.open.values(), COMPARED))
        if len(queue.open) > COMPARED:
            for each in candidates:
                queue.open.move_to_end(each.executor_id)
        return min(candidates, key=lambda each: each.fullness)

    def _give(self, queue: CallQueue, end: ExecutorEnd) -> None:
        """Give it one call for each idle worker, or a few ahead."""
        idle = end.workers - end.busy
        for _ in range(idle if idle > 0 else GO if len(queue.open) == 1 else max(1, min(GO, end.workers))):
            if not queue.waiting or not end.has_room:
                break
            call = queue.waiting.popleft()
            if call.dropped:
                queue.dropped -= 1
                continue
            if not call.claimed:
                assert call.claim is not None, "what has no claim is claimed"
                if not call.claim():
                    continue
                call.claimed = True
            number = call.number = next(self._numbers)
            estimate_us = self._estimates.of(call.function.digest)
            self._holders[number] = end
            if payload_bytes(call.arguments) > INLINE_BYTES:
                self._give_large(end, end.hold(number, call, estimate_us), number)
            else:
                end.give(number, call, estimate_us)
        self._speaking[end.executor_id] = end

    def _give_large(self, end: ExecutorEnd, given: Given, number: int) -> None:
        """Have the arguments brought to the agent's block store first, where it has one for us."""
        arguments = given.call.arguments
        assert isinstance(arguments, bytes), "references are small"
        assert end.hello is not None, "strangers get nothing"
        if not end.hello.blocks_url:
            self._give_inline(end, given.call, number, "its agent serves no blocks to clients")
            return
        block_id = f"{self._session.replace('.', '-')}-{number}"
        url, token = end.hello.blocks_url, end.hello.blocks_token
        given.upload = Upload(number=number, url=url, token=token, data=arguments, block_id=block_id)
        given.held = True
        self._uploads.append(given.upload)

    def _give_inline(self, end: ExecutorEnd, call: PoolCall, number: int, why: str) -> None:
        """Let large arguments travel over the stream after all, or end the call."""
        size_bytes = payload_bytes(call.arguments)
        if size_bytes <= MAX_INLINE_BYTES:
            end.run(number, call, call.arguments)
            return
        message = f"the arguments have {size_bytes:,} bytes, of which {MAX_INLINE_BYTES:,} travel inline, and {why}"
        self._ended(end, number, Outcome(End.TOO_LARGE, message=message, begun=False))

    def carried(self, upload: Upload, block: BlockRef | None, refusal: str) -> None:
        """An upload is over: where the block is, or why it is nowhere."""
        end = self._holders.get(upload.number)
        given = None if end is None else end.given.get(upload.number)
        if end is None or given is None or given.upload is not upload:
            if block is not None:
                self._drops.append(upload)
            return
        given.held = False
        if block is not None:
            end.run(upload.number, given.call, block)
        else:
            given.upload = None
            self._give_inline(end, given.call, upload.number, refusal)
        self._speaking[end.executor_id] = end

    @property
    def has_blocks(self) -> bool:
        """Whether `take_uploads` or `take_drops` has something."""
        return bool(self._uploads or self._drops)

    def take_uploads(self) -> list[Upload]:
        """Return what is to be brought to block stores; `carried` says how each went."""
        uploads, self._uploads = self._uploads, []
        return uploads

    def take_drops(self) -> list[Upload]:
        """Return blocks that nobody needs any more."""
        drops, self._drops = self._drops, []
        return drops

    def _over(self, given: Given) -> None:
        """The executor has it no more."""
        if given.upload is not None and given.said:
            self._drops.append(given.upload)

    def _wait_again(self, call: PoolCall) -> None:
        """It comes before those that never had their turn."""
        call.number = 0
        self._queue(call.kind).waiting.appendleft(call)

    def _end(self, call: PoolCall, ending: Ending) -> None:
        call.number = 0
        self._endings.append((call, ending))

    # What executors say

    def _hear_one(self, envelope: Envelope, now_ms: float) -> None:
        if envelope.receiver not in ("", self._session):
            return  # for another life of this client
        end = self._by_session.get(envelope.sender)
        if end is None or not envelope.receiver:
            self._hear_stranger(envelope, now_ms)
            return
        if end.deadline_ms is not None or envelope.number:
            self._speaking[end.executor_id] = end
        if end.hear(envelope, now_ms):
            for item in decode_executor_body(envelope.body):
                self._hear_item(end, item, now_ms)
            self._opened(end)
        elif envelope.number == 0 and envelope.body:
            self._hear_stranger(envelope, now_ms)

    def _hear_stranger(self, envelope: Envelope, now_ms: float) -> None:
        """Somebody says who it is, outside the numbering; whatever else a stranger says is for nobody."""
        if envelope.number or not envelope.body:
            return
        for item in decode_executor_body(envelope.body):
            if isinstance(item, Hello) and item.container_id == envelope.sender:
                self._meet(item, now_ms)

    def _meet(self, hello: Hello, now_ms: float) -> None:
        if hello.container_id in self._past_sessions or hello.container_id in self._by_session:
            return
        end = self._executors.get(hello.executor_id)
        if end is not None and end.session:
            # A new life under the same name: there is one at a time, so the old one is over.
            kind, announced = end.kind, end.announced
            self.executor_over(hello.executor_id, "another executor of this name has taken its place")
            end = self._end_of(hello.executor_id)
            end.kind, end.announced = kind, announced
        end = self._end_of(hello.executor_id)
        end.met(hello)
        self._by_session[hello.container_id] = end
        self._speaking[hello.executor_id] = end
        self._opened(end)

    def _hear_item(self, end: ExecutorEnd, item: ExecutorItem, now_ms: float) -> None:
        if type(item) is Returned:
            self._learn(end, item.number, item.ran_us)
            self._ended(end, item.number, Outcome(End.RETURNED, item.payload, ran_us=item.ran_us))
        elif type(item) is Begun:
            given = end.given.get(item.number)
            if given is not None:
                given.begun = True
                if given.call.hears_begun:
                    self._begun.append(given.call)
        elif type(item) is Ended:
            if item.outcome.end in (End.RETURNED, End.RAISED):
                self._learn(end, item.number, item.outcome.ran_us)
            if item.outcome.end is End.REFUSED:
                end.refused(now_ms)
            self._ended(end, item.number, item.outcome)
        elif type(item) is Workers:
            end.workers = item.workers
            end.rests_until_ms = None

    def _learn(self, end: ExecutorEnd, number: int, ran_us: int) -> None:
        given = end.given.get(number)
        if given is not None:
            self._estimates.learn(given.call.function.digest, ran_us)

    def _ended(self, end: ExecutorEnd, number: int, outcome: Outcome) -> None:
        given = end.returned(number)
        if given is None:
            return
        del self._holders[number]
        self._over(given)
        call = given.call
        recalled = outcome.end is End.CANCELLED and given.recalled and not given.unwanted
        if not outcome.begun and (recalled or outcome.end is End.REFUSED):
            self._wait_again(call)
        elif outcome.end is End.DIED and call.retries > 0:
            call.retries -= 1
            self._wait_again(call)
        else:
            if outcome.end is End.RETURNED:
                self._returned += 1
            else:
                self._failed += 1
            self._end(call, outcome)
