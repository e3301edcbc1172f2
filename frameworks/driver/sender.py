"""The driver's way out: payloads to the calls stream, kept while Redis is away."""

from collections import deque
from typing import Final

from mesolite.clock import Clock
from mesolite.errors import RedisUnavailable
from mesolite.logs import get_logger
from mesolite.protocol import DeadLetter, encode_dead_letter
from mesolite.retries import Retries
from mesolite.transport.contract import Append, Store
from mesolite.transport.keys import DEAD_LETTERS, MAX_DEAD_LETTERS_LENGTH

#: Payloads kept while Redis is away. Beyond it the oldest are given up: what they asked for is asked again, or comes to light by
#: reconciliation, when Redis is back.
MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024

_log = get_logger("mesolite.driver")


class Sender:
    """Appends payloads in order. A payload may be appended twice when an answer got lost: its number tells the master."""

    def __init__(self, store: Store, stream: str, max_length: int, clock: Clock) -> None:
        self._store = store
        self._stream = stream
        self._max_length = max_length
        self._clock = clock
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._retries = Retries()
        #: When to try again; None while Redis answers.
        self.retry_ms: int | None = None

    @property
    def unsent(self) -> int:
        """How many payloads wait."""
        return len(self._unsent)

    def add(self, payload: bytes) -> None:
        """Append a payload to what is to be sent."""
        self._unsent.append(payload)
        self._unsent_bytes += len(payload)
        while self._unsent_bytes > MAX_UNSENT_BYTES and len(self._unsent) > 1:
            self._unsent_bytes -= len(self._unsent.popleft())

    def set_aside(self, letter: DeadLetter) -> None:
        """Keep a message that could not be read for the operator; while Redis is away it is only logged."""
        try:
            self._store.append(DEAD_LETTERS, encode_dead_letter(letter), max_length=MAX_DEAD_LETTERS_LENGTH)
        except RedisUnavailable as unavailable:
            _log.warning("driver.letter_lost", source=letter.source, reason=str(unavailable))

    def try_now(self) -> None:
        """Let the next `send` try at once: Redis answers others again."""
        if self.retry_ms is not None:
            self.retry_ms = self._clock.now_ms()

    def send(self) -> bool:
        """Send what waits, unless Redis is away and it is too early to try again.

        Returns:
            Whether Redis has just come back.
        """
        now_ms = self._clock.now_ms()
        if not self._unsent or (self.retry_ms is not None and now_ms < self.retry_ms):
            return False
        appends = [
            Append(stream=self._stream, payload=payload, max_length=self._max_length) for payload in self._unsent
        ]
        try:
            self._store.append_many(appends)
        except RedisUnavailable as unavailable:
            if self.retry_ms is None:
                _log.warning("driver.store_away", reason=str(unavailable), unsent=len(self._unsent))
            self.retry_ms = now_ms + self._retries.take_ms()
            return False
        self._unsent.clear()
        self._unsent_bytes = 0
        was_away = self.retry_ms is not None
        self.retry_ms = None
        self._retries.reset()
        return was_away
