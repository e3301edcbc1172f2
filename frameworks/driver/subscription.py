"""The life of a subscription, as a table.

            STARTED                  CONFIRMED
    IDLE ------------> SUBSCRIBING ------------> SUBSCRIBED
                           ^                         |
                           |  ASKED_AGAIN, NEW_EPOCH, SILENCE
                           +-------------------------+
    every phase -- REFUSED, SUPERSEDED --> ENDED
    every phase -- TORN_DOWN --> LEAVING -- REFUSED, SUPERSEDED, GIVEN_UP --> ENDED

A subscription stands between one session of a scheduler and one epoch of the master. When either changes, offers are void
(their ids mean nothing to the new master) and what the framework believes about its tasks must be compared with what the
master knows: hence every way into SUBSCRIBED restates and reconciles. While SUBSCRIBING, SUBSCRIBE is repeated with back-off, so
a request to subscribe again adds nothing there; but a new epoch does, because the old master may have taken the last one with it.

A store that fails over may forget a TEARDOWN that it took. So it is said until the master answers a SUBSCRIBE with the refusal
that only an ended framework gets, for as long as there is patience; then the failover timeout has to end the framework.
"""

import enum
from collections.abc import Mapping
from typing import Final


class Phase(enum.Enum):
    """Where a subscription stands."""

    IDLE = "idle"
    SUBSCRIBING = "subscribing"
    SUBSCRIBED = "subscribed"
    #: TEARDOWN was sent and is not confirmed yet; nothing else is heard or said.
    LEAVING = "leaving"
    ENDED = "ended"


class Cause(enum.Enum):
    """What may happen to a subscription."""

    STARTED = "started"
    #: The master says Subscribed.
    CONFIRMED = "confirmed"
    #: The master says Resubscribe.
    ASKED_AGAIN = "asked again"
    #: A batch of a newer epoch came: another master leads.
    NEW_EPOCH = "new epoch"
    #: The master has said nothing for too long.
    SILENCE = "silence"
    #: The master says Error.
    REFUSED = "refused"
    #: Another session of the same framework subscribed, and the Error that should have said so got lost.
    SUPERSEDED = "superseded"
    #: The scheduler ends the framework.
    TORN_DOWN = "torn down"
    #: Nobody confirmed the end for too long.
    GIVEN_UP = "given up"


class FollowUp(enum.Enum):
    """What the driver does about it, in the order of the table."""

    SUBSCRIBE = "send SUBSCRIBE at once"
    FORGET_OFFERS = "tell the scheduler that its offers are void, and drop launches that have not left"
    TELL_DISCONNECTED = "tell the scheduler that it is disconnected"
    TELL_SUBSCRIBED = "tell the scheduler that it is subscribed"
    RESTATE = "send demand and wanted kills again"
    RECONCILE = "ask for every task that has not ended"
    TELL_ERROR = "tell the scheduler that it is over"
    VOID = "forget offers, and calls that have not left, without a word"
    SEND_TEARDOWN = (
        "send TEARDOWN, behind a SUBSCRIBE where the subscription does not stand, and ask whether it is done"
    )


_AGAIN: Final = (FollowUp.FORGET_OFFERS, FollowUp.TELL_DISCONNECTED, FollowUp.SUBSCRIBE)
_OVER: Final = (FollowUp.FORGET_OFFERS, FollowUp.TELL_ERROR)

TRANSITIONS: Final[Mapping[tuple[Phase, Cause], tuple[Phase, tuple[FollowUp, ...]]]] = {
    (Phase.IDLE, Cause.STARTED): (Phase.SUBSCRIBING, (FollowUp.SUBSCRIBE,)),
    (Phase.IDLE, Cause.CONFIRMED): (Phase.IDLE, ()),
    (Phase.IDLE, Cause.ASKED_AGAIN): (Phase.IDLE, ()),
    (Phase.IDLE, Cause.NEW_EPOCH): (Phase.IDLE, ()),
    (Phase.IDLE, Cause.SILENCE): (Phase.IDLE, ()),
    (Phase.IDLE, Cause.REFUSED): (Phase.ENDED, _OVER),
    (Phase.IDLE, Cause.SUPERSEDED): (Phase.IDLE, ()),
    (Phase.IDLE, Cause.TORN_DOWN): (Phase.LEAVING, (FollowUp.VOID, FollowUp.SEND_TEARDOWN)),
    (Phase.IDLE, Cause.GIVEN_UP): (Phase.IDLE, ()),
    (Phase.SUBSCRIBING, Cause.STARTED): (Phase.SUBSCRIBING, ()),
    (Phase.SUBSCRIBING, Cause.CONFIRMED): (
        Phase.SUBSCRIBED,
        (FollowUp.TELL_SUBSCRIBED, FollowUp.RESTATE, FollowUp.RECONCILE),
    ),
    (Phase.SUBSCRIBING, Cause.ASKED_AGAIN): (Phase.SUBSCRIBING, ()),
    (Phase.SUBSCRIBING, Cause.NEW_EPOCH): (Phase.SUBSCRIBING, (FollowUp.SUBSCRIBE,)),
    (Phase.SUBSCRIBING, Cause.SILENCE): (Phase.SUBSCRIBING, ()),
    (Phase.SUBSCRIBING, Cause.REFUSED): (Phase.ENDED, _OVER),
    # The other session may be an older one that will be told so; ours is on its way.
    (Phase.SUBSCRIBING, Cause.SUPERSEDED): (Phase.SUBSCRIBING, ()),
    (Phase.SUBSCRIBING, Cause.TORN_DOWN): (Phase.LEAVING, (FollowUp.VOID, FollowUp.SEND_TEARDOWN)),
    (Phase.SUBSCRIBING, Cause.GIVEN_UP): (Phase.SUBSCRIBING, ()),
    (Phase.SUBSCRIBED, Cause.STARTED): (Phase.SUBSCRIBED, ()),
    # The answer to a SUBSCRIBE that was sent twice. The master has taken back what it offered before it.
    (Phase.SUBSCRIBED, Cause.CONFIRMED): (Phase.SUBSCRIBED, (FollowUp.FORGET_OFFERS, FollowUp.RESTATE)),
    (Phase.SUBSCRIBED, Cause.ASKED_AGAIN): (Phase.SUBSCRIBING, _AGAIN),
    (Phase.SUBSCRIBED, Cause.NEW_EPOCH): (Phase.SUBSCRIBING, _AGAIN),
    (Phase.SUBSCRIBED, Cause.SILENCE): (Phase.SUBSCRIBING, _AGAIN),
    (Phase.SUBSCRIBED, Cause.REFUSED): (Phase.ENDED, _OVER),
    (Phase.SUBSCRIBED, Cause.SUPERSEDED): (Phase.ENDED, _OVER),
    (Phase.SUBSCRIBED, Cause.TORN_DOWN): (Phase.LEAVING, (FollowUp.VOID, FollowUp.SEND_TEARDOWN)),
    (Phase.SUBSCRIBED, Cause.GIVEN_UP): (Phase.SUBSCRIBED, ()),
    (Phase.LEAVING, Cause.STARTED): (Phase.LEAVING, ()),
    # The answer to the SUBSCRIBE before a repeated TEARDOWN.
    (Phase.LEAVING, Cause.CONFIRMED): (Phase.LEAVING, ()),
    # A master that says so has not heard the TEARDOWN.
    (Phase.LEAVING, Cause.ASKED_AGAIN): (Phase.LEAVING, (FollowUp.SEND_TEARDOWN,)),
    (Phase.LEAVING, Cause.NEW_EPOCH): (Phase.LEAVING, (FollowUp.SEND_TEARDOWN,)),
    (Phase.LEAVING, Cause.SILENCE): (Phase.LEAVING, ()),
    (Phase.LEAVING, Cause.REFUSED): (Phase.ENDED, ()),
    (Phase.LEAVING, Cause.SUPERSEDED): (Phase.ENDED, ()),
    (Phase.LEAVING, Cause.TORN_DOWN): (Phase.LEAVING, ()),
    (Phase.LEAVING, Cause.GIVEN_UP): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.STARTED): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.CONFIRMED): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.ASKED_AGAIN): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.NEW_EPOCH): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.SILENCE): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.REFUSED): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.SUPERSEDED): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.TORN_DOWN): (Phase.ENDED, ()),
    (Phase.ENDED, Cause.GIVEN_UP): (Phase.ENDED, ()),
}


class Backoff:
    """Growing waits between attempts, spread by a random share."""

    def __init__(self, first_ms: int, cap_ms: int) -> None:
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        self._next_ms = first_ms

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._next_ms = self._first_ms

    def take_ms(self, spread: float = 1.0) -> int:
        """Return the next wait, multiplied by `spread` and never below 1 ms; the one after is twice as long, up to the cap."""
        wait_ms = max(1, int(self._next_ms * spread))
        self._next_ms = min(self._next_ms * 2, self._cap_ms)
        return wait_ms
