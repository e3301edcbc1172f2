"""The bond between two sessions over two streams that may lose, repeat and reorder: everything said is heard once, in order.

One end numbers what it says from 1 and keeps it until the other has confirmed it. The other takes each number once and in order:
what it has taken before it skips, what lies behind a hole it drops and asks for (go back N). Confirmations are cumulative and
ride on whatever is said anyway; where nothing is, one goes by itself after a while. What stays unconfirmed is said again after a
silence, with growing pauses, and at once after a change of Redis.

    said ----> unconfirmed ---- confirmed by the other ----> forgotten
                 |     ^
                 '-----'  said again: asked for, a silence, a new connection

Losing an entry therefore costs time only, and taking one twice is impossible within a pair of sessions. A session that ends takes
its links with it: what it had taken is for its owner to know.

This is a core: time comes in, frames go out.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

#: What may be under way unconfirmed: beyond it, whoever has more to say keeps it. Confirmations ride on
#: what is said within milliseconds, or come after `CONFIRM_EVERY`: so the window is seldom full.
WINDOW_ENTRIES: Final = 256
WINDOW_BYTES: Final = 32 * 1024 * 1024
#: A confirmation that found nothing to ride on goes by itself after this: well below `SILENCE_MS`.
CONFIRM_AFTER_MS: Final = 100
#: Or as soon as so many entries wait for it: a sender whose window is full stands still.
CONFIRM_EVERY: Final = WINDOW_ENTRIES // 4
CONFIRM_EVERY_BYTES: Final = WINDOW_BYTES // 4
#: Without a confirmation for so long, what is unconfirmed is said again; then after twice as long, and so on.
SILENCE_MS: Final = 1_000
MAX_SILENCE_MS: Final = 15_000
#: A hole is asked for again after this, and what was said again since is not said again before.
ASK_AGAIN_MS: Final = 250
#: So much is said again at once; the rest as the other confirms. A healed Redis is not to be flooded.
AGAIN_BYTES: Final = 2 * 1024 * 1024
#: After so many more silences in a row the connection is doubted: a primary that was cut off takes writes that nobody reads.
DOUBT_AFTER_SILENCES: Final = 3


class Frame(NamedTuple):
    """What one end says: an envelope without its addresses."""

    #: From 1; 0: nothing is said, only confirmed or asked.
    number: int
    confirmed: int
    asks: bool
    body: bytes


@dataclass(slots=True)
class _Kept:
    """Said and not confirmed."""

    number: int
    body: bytes
    #: When it was said last.
    said_ms: float


class Link:
    """One end."""

    def __init__(self) -> None:
        self._next_number = 1
        #: In order of numbers, without holes, the newest `_next_number - 1`.
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        #: All of the other's entries up to here are taken; never decreases.
        self._taken = 0
        #: What the other was last told of that.
        self._confirmed = 0
        self._unconfirmed_bytes = 0
        #: When a confirmation must go, where nothing else does; None where none is owed.
        self._confirm_due_ms: float | None = None
        #: When the unconfirmed is said again; None where there is none.
        self._silence_due_ms: float | None = None
        self._silences = 0
        #: How many there had been when the connection was made.
        self._silences_before = 0
        #: The unconfirmed is said again for another reason than a silence, at this moment.
        self._again_due_ms: float | None = None
        #: What was said up to here may be lost: confirmations of a part of it let the next part be said again.
        self._again_up_to = 0
        #: When something was last said again.
        self._newest_again_ms = float("-inf")
        #: A hole was seen, and the next frame says so.
        self._asks = False
        #: When a hole may be asked for again.
        self._ask_from_ms = float("-inf")

    @property
    def has_room(self) -> bool:
        """Whether more may be said now."""
        return len(self._kept) < WINDOW_ENTRIES and self._kept_bytes < WINDOW_BYTES

    @property
    def unconfirmed(self) -> int:
        """Entries that the other has not confirmed."""
        return len(self._kept)

    @property
    def doubtful(self) -> bool:
        """Whether the other has been silent for so long that another connection should be tried."""
        return self._silences - self._silences_before >= DOUBT_AFTER_SILENCES

    @property
    def deadline_ms(self) -> float | None:
        """When `again` or `confirmation` has something to say; None where only news can change that."""
        moments = (self._confirm_due_ms, self._silence_due_ms, self._again_due_ms)
        return min((each for each in moments if each is not None), default=None)

    def say(self, body: bytes, now_ms: float) -> Frame:
        """Number and keep this; there must be room."""
        assert self.has_room, "the window is full"
        number = self._next_number
        self._next_number += 1
        self._kept.append(_Kept(number, body, now_ms))
        self._kept_bytes += len(body)
        if self._silence_due_ms is None:
            self._silence_due_ms = now_ms + SILENCE_MS
        return self._frame(number, body)

    def hear(self, number: int, confirmed: int, asks: bool, size_bytes: int, now_ms: float) -> bool:
        """Take a frame of the other; return whether its body is news, and to be acted on now.

        Args:
            number: And `confirmed`, `asks`: of the frame. Any values, they come from a peer.
            size_bytes: Of its body.
            now_ms: The time.
        """
        self._note_confirmed(confirmed, now_ms)
        if asks:
            self._said_again_on_request(confirmed, now_ms)
        if number == 0:
            return False
        if number == self._taken + 1:
            self._taken = number
            self._unconfirmed_bytes += size_bytes
            self._owe(now_ms, CONFIRM_AFTER_MS)
            if self._taken - self._confirmed >= CONFIRM_EVERY or self._unconfirmed_bytes >= CONFIRM_EVERY_BYTES:
                self._owe(now_ms, 0)
            return True
        if number <= self._taken:
            # The confirmation got lost, or is under way.
            self._owe(now_ms, 0)
        elif now_ms >= self._ask_from_ms:
            self._asks = True
            self._ask_from_ms = now_ms + ASK_AGAIN_MS
            self._owe(now_ms, 0)
        return False

    def again(self, now_ms: float) -> list[Frame]:
        """Return what is to be said again now: before anything new, so that it comes in order."""
        if self._silence_due_ms is not None and now_ms >= self._silence_due_ms:
            self._silences += 1
            return self._again(now_ms)
        if self._again_due_ms is not None and now_ms >= self._again_due_ms:
            return self._again(now_ms)
        return []

    def confirmation(self, now_ms: float) -> Frame | None:
        """Return a frame that only confirms, if one is due and nothing else was said that it could ride on."""
        if self._confirm_due_ms is not None and now_ms >= self._confirm_due_ms:
            return self._frame(0, b"")
        return None

    def reconnected(self, now_ms: float) -> None:
        """Another Redis, or the same again, may have forgotten anything: say the unconfirmed and confirm again, at once."""
        self._silences_before = self._silences
        if self._kept:
            self._again_due_ms = now_ms
        if self._taken:
            self._owe(now_ms, 0)

    def check(self) -> None:
        """Assert its invariants."""
        numbers = [each.number for each in self._kept]
        assert numbers == list(range(self._next_number - len(numbers), self._next_number)), "kept without holes"
        assert self._kept_bytes == sum(len(each.body) for each in self._kept)
        assert (self._silence_due_ms is None) == (not self._kept), "whatever is unconfirmed is said again some time"
        assert self._kept or self._again_due_ms is None
        assert self._confirmed <= self._taken

    def _frame(self, number: int, body: bytes) -> Frame:
        """Make a frame; whatever is owed rides on it."""
        asks, self._asks = self._asks, False
        self._confirmed = self._taken
        self._unconfirmed_bytes = 0
        self._confirm_due_ms = None
        return Frame(number, self._taken, asks, body)

    def _owe(self, now_ms: float, within_ms: float) -> None:
        due_ms = now_ms + within_ms
        if self._confirm_due_ms is None or due_ms < self._confirm_due_ms:
            self._confirm_due_ms = due_ms

    def _note_confirmed(self, confirmed: int, now_ms: float) -> None:
        if not self._kept or not self._kept[0].number <= confirmed < self._next_number:
            # Known already, or of things that were never said, which only a confused peer confirms.
            return
        while self._kept and self._kept[0].number <= confirmed:
            self._kept_bytes -= len(self._kept.popleft().body)
        self._silences = self._silences_before = 0
        if not self._kept:
            self._silence_due_ms = self._again_due_ms = None
            return
        self._silence_due_ms = now_ms + SILENCE_MS
        if self._kept[0].number <= self._again_up_to and self._kept[0].said_ms < self._newest_again_ms:
            self._again_due_ms = now_ms

    def _said_again_on_request(self, confirmed: int, now_ms: float) -> None:
        """Plan to say the unconfirmed again at once, unless what is asked for was said a moment ago and is under way."""
        if self._kept and confirmed == self._kept[0].number - 1 and now_ms - self._kept[0].said_ms >= ASK_AGAIN_MS / 2:
            self._again_due_ms = now_ms

    def _again(self, now_ms: float) -> list[Frame]:
        """Say the oldest of the unconfirmed again."""
        pause_ms = min(SILENCE_MS << min(self._silences, 5), MAX_SILENCE_MS)
        self._silence_due_ms = now_ms + pause_ms
        self._again_due_ms = None
        self._again_up_to = self._kept[-1].number
        self._newest_again_ms = now_ms
        frames: list[Frame] = []
        size_bytes = 0
        for each in self._kept:
            if frames and size_bytes + len(each.body) > AGAIN_BYTES:
                break
            each.said_ms = now_ms
            size_bytes += len(each.body)
            frames.append(self._frame(each.number, each.body))
        return frames
