"""Batches of calls to bytes, however large they are."""

from msgspec.structs import replace

from mesolite.errors import ProtocolError
from mesolite.protocol import Call, CallBatch, encode


def pack(batch: CallBatch) -> tuple[list[bytes], list[Call]]:
    """Encode a batch, in halves where it is too large to travel whole.

    A batch owns as many numbers as it has calls, ending with its own (see `DriverCore`), so the parts are numbered in order.

    Returns:
        Payloads to send in order, and the calls that are too large by themselves.
    """
    try:
        return [encode(batch)], []
    except ProtocolError:
        if len(batch.calls) == 1:
            return [], [batch.calls[0]]
    middle = len(batch.calls) // 2
    first = replace(batch, calls=batch.calls[:middle], number=batch.number - (len(batch.calls) - middle))
    second = replace(batch, calls=batch.calls[middle:])
    payloads, impossible = pack(first)
    more_payloads, more_impossible = pack(second)
    return payloads + more_payloads, impossible + more_impossible
