"""From the bytes of one connection to the calls of an executor: whole lines, in their order, or the fault that ends it.

It knows the order of a conversation (one SUBSCRIBE, first) and the bounds of a line, and nothing of sockets.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from mesolite.protocol import ExecutorCall
from mesolite.protocol.executor import MAX_LINE_BYTES, ExecutorSubscribe

#: Of what the decoder says: it may quote.
_MAX_FAULT_CHARACTERS: Final = 300
_ADVICE: Final = "one JSON object to a line is expected, see docs/executor-protocol.md"

#: What decoding raises for bytes of a stranger: no JSON, no such message; text that is not UTF-8, too long a number; nesting
#: without end.
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Heard:
    """What some bytes came to."""

    calls: tuple[ExecutorCall, ...] = ()
    #: Why nothing more can be taken from this connection, behind these calls; empty while all is well.
    fault: str = ""


class CallReader:
    """Reads one connection."""

    def __init__(self) -> None:
        self._decoder: Final = msgspec.json.Decoder(ExecutorCall)
        #: The beginning of a line whose end has not come yet, in pieces: a long one comes in many.
        self._pieces: Final[list[bytes]] = []
        self._waiting_bytes = 0
        #: SUBSCRIBE was heard.
        self.subscribed = False

    def take(self, data: bytes) -> Heard:
        """Take up the next bytes. After a fault there must be no more."""
        first_end = data.find(b"\n")
        if self._waiting_bytes + (first_end if first_end >= 0 else len(data)) > MAX_LINE_BYTES:
            return Heard(fault=f"a line has more than {MAX_LINE_BYTES} bytes; send large data by reference")
        if first_end < 0:
            self._pieces.append(data)
            self._waiting_bytes += len(data)
            return Heard()
        head, _, tail = data.rpartition(b"\n")
        whole = b"".join([*self._pieces, head])
        self._pieces[:] = [tail] if tail else []
        self._waiting_bytes = len(tail)
        return self._in_order(self._decoded(whole))

    def _decoded(self, lines: bytes) -> Heard:
        """Decode them all at once; where that fails, up to the line that is at fault."""
        try:
            return Heard(tuple(self._decoder.decode_lines(lines)))
        except _UNREADABLE as error:
            fault = _said(error)
        calls: list[ExecutorCall] = []
        for line in lines.split(b"\n"):
            if not line.strip():
                continue
            try:
                calls.append(self._decoder.decode(line))
            except _UNREADABLE as error:
                fault = _said(error)
                break
        return Heard(tuple(calls), f"a line is no message of an executor: {fault}; {_ADVICE}")

    def _in_order(self, heard: Heard) -> Heard:
        for index, call in enumerate(heard.calls):
            if isinstance(call, ExecutorSubscribe) == self.subscribed:
                word = "SUBSCRIBE came again" if self.subscribed else "the first line is not SUBSCRIBE"
                return Heard(heard.calls[:index], f"{word}; each connection begins with one, and has no other")
            self.subscribed = True
        return heard


def _said(error: Exception) -> str:
    return str(error)[:_MAX_FAULT_CHARACTERS]
