"""How much is said in one batch: none may be larger than MAX_PAYLOAD_BYTES, or it would travel nowhere.

Commands carry numbers of their own, so a batch of them is cut where it turns out too large. Events are numbered by the batch,
before anybody knows its size; so the size of each is guessed, from what may be large in it. What the guess leaves out has to stay
within the three quarters of a batch that MAX_BATCH_BYTES leaves free.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from mesolite.errors import ProtocolError
from mesolite.protocol import (
    CommandBatch,
    Event,
    FrameworkMessage,
    Offer,
    Offers,
    UnsatisfiableDemand,
    Update,
    encode,
)

from .settings import MAX_BATCH_BYTES

#: Of a message with ids and names of ordinary length: most have 200 to 300 bytes.
_ORDINARY_BYTES = 400
#: Of a resource or an attribute, besides its text.
_PART_BYTES = 64


def portions(events: Iterable[Event]) -> Iterator[tuple[Event, ...]]:
    """Cut events into as few batches as can travel."""
    portion: list[Event] = []
    total = 0
    for event in events:
        size = size_of(event)
        if portion and total + size > MAX_BATCH_BYTES:
            yield tuple(portion)
            portion, total = [], 0
        portion.append(event)
        total += size
    if portion:
        yield tuple(portion)


def offer_events(offers: Sequence[Offer]) -> list[Offers]:
    """Put offers into as few events as can travel."""
    events: list[Offers] = []
    portion: list[Offer] = []
    total = 0
    for offer in offers:
        size = _size_of_offer(offer)
        if portion and total + size > MAX_BATCH_BYTES:
            events.append(Offers(tuple(portion)))
            portion, total = [], 0
        portion.append(offer)
        total += size
    events.append(Offers(tuple(portion)))
    return events


def size_of(event: Event) -> int:
    """Guess how many bytes an event takes."""
    match event:
        case Update():
            return _ORDINARY_BYTES + len(event.status.data) + len(event.status.message)
        case Offers():
            return sum(map(_size_of_offer, event.offers))
        case FrameworkMessage():
            return _ORDINARY_BYTES + len(event.data)
        case UnsatisfiableDemand():
            return _ORDINARY_BYTES + _PART_BYTES * (len(event.demand.shape) + len(event.largest))
        case _:
            return _ORDINARY_BYTES


def _size_of_offer(offer: Offer) -> int:
    attributes = sum(len(each.name) + len(each.text) + _PART_BYTES for each in offer.attributes)
    return _ORDINARY_BYTES + attributes + _PART_BYTES * (len(offer.resources) + len(offer.executor_ids))


def pack(batch: CommandBatch) -> list[bytes]:
    """Encode a batch of commands, in halves where it is too large to travel whole.

    Raises:
        ProtocolError: One command is too large by itself, which validation rules out.
    """
    try:
        return [encode(batch)]
    except ProtocolError:
        if len(batch.commands) == 1:
            raise
    middle = len(batch.commands) // 2
    first = replace(batch, commands=batch.commands[:middle])
    second = replace(batch, commands=batch.commands[middle:], first_number=batch.first_number + middle)
    return [*pack(first), *pack(second)]
