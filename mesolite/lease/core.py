"""Leader election as a core: who leads, until when, and when to ask the store again.

    WAITING --Claim, nobody has it--> LEADING --store away--> LAPSED --Renew answered--> LEADING
       ^                                 |                       |
       '------ another has it -----------+-----------------------'

The lease alone keeps two masters from working at once, most of the time; what keeps them from doing harm all of the time is
the epoch, which the store compares at each commit and agents and drivers compare at each message. So nothing here need be
exact: a clock that runs wrong costs a wasted step, not a task.

A leader whose lease ran out while the store was away (a failover takes about as long as a lease) goes on in its epoch when
the store is back and nobody took over: it has nothing to rebuild. The others let it, for a moment (`courtesy_ms`).
"""

from dataclasses import dataclass
from typing import Final, assert_never

from mesolite.transport.contract import Lease

from .events import (
    Answered,
    Claim,
    EpochSpoilt,
    LeaseEffect,
    LeaseEvent,
    Look,
    Release,
    Renew,
    Resigned,
    Tick,
    Unanswered,
)
from .settings import LOOK_MS, RETRY_MS, LeaseSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to lead."""

    epoch: int
    #: Ends here by the clock of its holder, if it is not prolonged.
    until_ms: int


class LeaseCore:
    """Decides for one life of one master.

    Args:
        holder: Unique among all lives of all masters.
        settings: Its numbers.
    """

    def __init__(self, *, holder: str, settings: LeaseSettings) -> None:
        assert holder, "a holder has a name"
        assert " " not in holder, "which is one word"
        self._holder: Final = holder
        self._settings: Final = settings
        #: The lease that this master has or had, as long as it may go on in its epoch.
        self._mine: Lease | None = None
        self._until_ms = 0
        #: When an epoch of this master was last spoilt.
        self._spoilt_ms: int | None = None
        #: The lease of another, as last heard.
        self._other: Lease | None = None
        self._at_least = 0
        #: The store did not answer the last question.
        self._is_away = False
        self._has_resigned = False
        #: When to ask next; the first time at once.
        self._ask_ms = 0

    @property
    def holder(self) -> str:
        """Who this is."""
        return self._holder

    def grant(self, now_ms: int) -> Grant | None:
        """Return the right to lead, if there is one at this moment."""
        if self._mine is None or now_ms >= self._until_ms or self._has_resigned:
            return None
        return Grant(epoch=self._mine.epoch, until_ms=self._until_ms)

    @property
    def leader(self) -> Lease | None:
        """Whoever leads or led last, as far as is known here; None where nobody does, or this master's lease may go on."""
        return self._other

    def next_deadline_ms(self) -> int | None:
        """When a `Tick` is wanted; None after the end."""
        return None if self._has_resigned else self._ask_ms

    def apply(self, event: LeaseEvent) -> list[LeaseEffect]:
        """Take one event up and return what to ask the store. Each question but the last is followed by its answer."""
        match event:
            case Tick():
                return self._tick(event.now_ms)
            case Answered():
                self._answered(event)
            case Unanswered():
                self._is_away = True
                self._ask_ms = event.now_ms + RETRY_MS
            case EpochSpoilt():
                self._epoch_spoilt(event)
            case Resigned():
                lease, self._mine, self._has_resigned = self._mine, None, True
                return [] if lease is None else [Release(lease=lease)]
            case _:
                assert_never(event)
        return []

    def check(self) -> None:
        """Assert its invariants."""
        assert self._mine is None or self._mine.holder == self._holder, "what it holds is its own"
        assert self._mine is None or self._other is None, "one leads"
        assert self._other is None or self._other.holder != self._holder, "it is not its own rival"

    def _tick(self, now_ms: int) -> list[LeaseEffect]:
        if self._has_resigned or now_ms < self._ask_ms:
            return []
        # Until the answer says otherwise; without one, nothing is asked twice at once.
        self._ask_ms = now_ms + RETRY_MS
        if self._mine is not None:
            return [Renew(lease=self._mine)]
        if self._is_away:
            return [Look()]
        # The time is what the epoch would be in a store that never heard of any: see `Store.claim_lease`. In milliseconds,
        # because within a second a master can be elected, be forgotten by a failover, and be elected again.
        return [Claim(at_least=max(now_ms, self._at_least))]

    def _answered(self, event: Answered) -> None:
        state, was_away, self._is_away = event.state, self._is_away, False
        if state.lease is None:
            self._nobody_leads(event.now_ms, was_away)
        elif state.lease.holder == self._holder and state.lease.epoch < self._at_least:
            # A claim of before, whose answer got lost; its epoch is spoilt.
            self._ask_ms = event.now_ms
        elif state.lease.holder == self._holder and self._mine is None and was_away:
            # A claim of before, whose answer got lost, and now only looked at. Perhaps no replica has it, and another leads
            # already on a server that took over: a renewal waits for replicas.
            self._mine, self._other = state.lease, None
            self._ask_ms = event.now_ms
        elif state.lease.holder == self._holder:
            self._mine, self._other = state.lease, None
            self._until_ms = event.asked_ms + state.left_ms - self._settings.safety_ms
            self._ask_ms = event.asked_ms + self._settings.renew_ms
        else:
            self._give_up()
            self._other = state.lease
            self._ask_ms = event.now_ms + min(state.left_ms + 1, LOOK_MS)

    def _nobody_leads(self, now_ms: int, was_away: bool) -> None:
        """Claim: at once where this master led (its epoch is over or forgotten), after a pause where another may go on."""
        led = self._mine is not None
        self._give_up()
        self._other = None
        self._ask_ms = now_ms + (self._settings.courtesy_ms if was_away and not led else 0)

    def _epoch_spoilt(self, event: EpochSpoilt) -> None:
        if self._mine is None or self._mine.epoch != event.epoch:
            return
        self._at_least = max(self._at_least, event.at_least)
        self._give_up()
        # Once is a failover. Again and again is a lease on one server and commits to another, for as long as one of the two
        # connections leads to a server that was replaced: no need to take a new epoch at each round trip.
        again = self._spoilt_ms is not None and event.now_ms - self._spoilt_ms < self._settings.ttl_ms
        self._ask_ms = event.now_ms + (LOOK_MS if again else 0)
        self._spoilt_ms = event.now_ms

    def _give_up(self) -> None:
        """Lead no longer in this epoch, nor ever in it or an older one again."""
        if self._mine is not None:
            self._at_least = max(self._at_least, self._mine.epoch + 1)
        self._mine, self._until_ms = None, 0
