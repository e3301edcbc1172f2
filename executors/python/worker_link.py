"""Main's end of one worker: gives it calls, takes its answers, and takes back what it has not begun.

Main keeps a second descriptor of the worker's own end of the calls' socket. Reading from it races with the worker's reading,
and the kernel gives each message to exactly one of both: what main reads there, the worker can never begin.
"""

import contextlib
import socket
from collections import deque
from typing import Final

from .assignment import Ticket
from .calls import BlockRef, Function, Payload
from .codec import dumps, pack_payload
from .frames import (
    ARGUMENTS_IN_BLOCK,
    FORGET_FUNCTIONS,
    FUNCTION_IN_BLOCK,
    LOUD,
    MAX_FUNCTIONS,
    MAX_MESSAGE_BYTES,
    WITH_FUNCTION,
    AnswerFrame,
    BadFrame,
    CallFrame,
    answer_bytes,
    call_number,
    decode_answer,
    encode_call,
    parts_of,
)

#: An answer is refused as garbage above this: larger results are blocks, or refused by the worker (`Limits.max_inline_bytes`).
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class WorkerLink:
    """The sockets to one worker."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self._calls, self._its_calls = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answers, self._its_answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The worker's ends stay blocking: that is a property of the end, which main's second descriptor of it shares.
        self._calls.setblocking(False)
        self._answers.setblocking(False)
        #: Functions that the worker has, or will have once it has taken what is in its socket.
        self._known: set[bytes] = set()
        self._forget = False
        #: Messages that did not fit into the socket yet.
        self._unsent: deque[bytes | memoryview] = deque()
        #: Parts of an answer that has not come completely, and how much of it is missing.
        self._parts: list[bytes] = []
        self._missing = 0
        #: Calls whose answers may come without waking main.
        self._quiet: set[int] = set()
        #: A call that was sent in parts, and how many these are. It is alone in the worker.
        self._in_parts: tuple[int, int] | None = None
        #: Of the spool that the worker prints into (`output`).
        self.generation = 0

    def fds(self) -> tuple[int, int]:
        """The worker's ends, for the zygote to hand on."""
        return self._its_calls.fileno(), self._its_answers.fileno()

    def handed_over(self) -> None:
        """The zygote has them: of the answers' socket main needs its own end only."""
        self._its_answers.close()

    @property
    def answers_fd(self) -> int:
        """Readable when there is a loud answer."""
        return self._answers.fileno()

    @property
    def calls_fd(self) -> int:
        """Writable when what did not fit may be sent."""
        return self._calls.fileno()

    # Giving

    def give(self, tickets: list[Ticket]) -> bool:
        """Send calls; the last one is to be answered loudly.

        Returns:
            Whether everything fitted; else call `send_more` when the socket can be written.
        """
        last = tickets[-1]
        self._in_parts = None
        for ticket in tickets:
            loud = ticket is last
            frame = self._frame(ticket, loud=loud)
            if not loud:
                self._quiet.add(ticket.number)
            if len(frame) <= MAX_MESSAGE_BYTES:
                self._unsent.append(frame)
                continue
            assert len(tickets) == 1, "a call in parts travels alone"
            parts = parts_of(frame)
            self._in_parts = (ticket.number, len(parts))
            self._unsent.extend(parts)
        return self.send_more()

    def send_more(self) -> bool:
        """Send what did not fit; False where some of it still does not."""
        while self._unsent:
            try:
                self._calls.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:
                self._unsent.clear()  # it is over, as the zygote will say
                return True
            self._unsent.popleft()
        return True

    def _frame(self, ticket: Ticket, *, loud: bool) -> bytes:
        call = ticket.call
        flags = LOUD if loud else 0
        function = b""
        if call.function.digest not in self._known:
            flags |= self._introduce(call.function)
            function = _bytes_of(call.function.pickled)
        if isinstance(call.arguments, BlockRef):
            flags |= ARGUMENTS_IN_BLOCK
        environment = dumps(call.environment) if call.environment else b""
        arguments = _bytes_of(call.arguments)
        digest, reference = call.function.digest, call.by_reference_from
        return encode_call(
            CallFrame(ticket.number, flags, digest, reference, call.name, function, arguments, environment)
        )

    def _introduce(self, function: Function) -> int:
        flags = WITH_FUNCTION
        if self._forget or len(self._known) >= MAX_FUNCTIONS:
            self._known.clear()
            self._forget = False
            flags |= FORGET_FUNCTIONS
        self._known.add(function.digest)
        return flags | FUNCTION_IN_BLOCK if isinstance(function.pickled, BlockRef) else flags

    def forget_functions(self) -> None:
        """What the worker knows is not certain any more: tell it all again."""
        self._known.clear()
        self._forget = True

    # Taking

    def hear(self) -> list[AnswerFrame]:
        """The next loud answer, if one has come completely, after the quiet ones that came before it.

        Raises:
            BadFrame: Something else than a worker wrote into the socket.
        """
        try:
            message = self._answers.recv(MAX_MESSAGE_BYTES)
        except OSError:
            return []
        whole = self._joined(message) if message else None
        if whole is None:
            return []
        answer = decode_answer(whole)
        self._quiet.discard(answer.number)
        return [*self.hear_quiet(), answer]

    def hear_all(self) -> list[AnswerFrame]:
        """Every answer that has come: for a worker that is over.

        Raises:
            BadFrame: As above.
        """
        answers: list[AnswerFrame] = []
        while self._readable():
            answers.extend(self.hear())
        return answers + self.hear_quiet()

    def _readable(self) -> bool:
        try:
            return bool(self._answers.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _joined(self, message: bytes) -> bytes | None:
        """The answer, once its last part has come."""
        if not self._parts:
            size = answer_bytes(message)
            if size == len(message):
                return message
            if size > MAX_ANSWER_BYTES:
                raise BadFrame(f"an answer of {size:,} bytes")
            self._missing = size
        self._parts.append(message)
        self._missing -= len(message)
        if self._missing > 0:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole

    def hear_quiet(self) -> list[AnswerFrame]:
        """Answers that woke nobody.

        Raises:
            BadFrame: As above.
        """
        answers: list[AnswerFrame] = []
        while self._quiet:
            try:
                message = self._calls.recv(MAX_MESSAGE_BYTES)
            except OSError:
                break
            if not message:
                break
            answer = decode_answer(message)
            self._quiet.discard(answer.number)
            answers.append(answer)
        return answers

    # Taking back

    def take_back(self, *, over: bool = False) -> list[int]:
        """Take whatever the worker has not begun out of its socket. A call in parts is left to a worker that lives.

        Args:
            over: The worker has ended.

        Returns:
            The numbers of those calls, in the order in which they were given.
        """
        if self._in_parts is not None and not over:
            return []
        messages: list[bytes | memoryview] = []
        while True:
            try:
                message = self._its_calls.recv(MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not message:
                break
            messages.append(message)
        messages.extend(self._unsent)
        self._unsent.clear()
        if messages:
            self.forget_functions()
        if self._in_parts is not None:
            number, parts = self._in_parts
            return [number] if len(messages) == parts else []
        back = [call_number(message) for message in messages]
        self._quiet.difference_update(back)
        return back

    def hang_up(self) -> None:
        """Have the worker end when it looks for its next call; its answers are still heard."""
        with contextlib.suppress(OSError):
            self._calls.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the worker: it ends when it looks for its next call."""
        for each in (self._calls, self._its_calls, self._answers, self._its_answers):
            each.close()


def _bytes_of(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else dumps(pack_payload(payload))
