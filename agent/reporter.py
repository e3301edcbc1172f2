"""Hands reports to the stream, and notices when it does not take them.

A report that could not be handed over is dropped: the core says everything again until it is answered. While the store is
away nothing is tried but now and then a question, with growing pauses; when it is answered, the core is told to say at once
what got lost.
"""

from collections.abc import Iterable
from typing import Final

from mesolite.errors import ProtocolError, Unavailable
from mesolite.ids import AgentId, SessionId
from mesolite.logs import get_logger
from mesolite.protocol import DeadLetter, Report, ReportBatch, encode, encode_dead_letter
from mesolite.retries import Retries
from mesolite.transport.contract import Store
from mesolite.transport.keys import DEAD_LETTERS, MAX_DEAD_LETTERS_LENGTH, MAX_REPORTS_LENGTH, reports_stream

from .effects import SendReports
from .intake import Undecodable
from .settings import MAX_REPORTS_PER_BATCH

_log = get_logger("mesolite.agent")


class Reporter:
    """One agent's way to the master. Used from one thread."""

    def __init__(
        self, store: Store, agent_id: AgentId, session: SessionId, principal: str, *, confirm_delay_ms: int = 0
    ) -> None:
        """Begin with the session's first number.

        Args:
            store: Where the stream is.
            agent_id: Who reports.
            session: This life of it.
            principal: Whose stream is written.
            confirm_delay_ms: How long a report that only confirms waits for another; see `CONFIRM_DELAY_MS`.
        """
        self._confirm_delay_ms: Final = confirm_delay_ms
        #: Confirms commands and says nothing else; leaves with the next report, or when it has waited long enough.
        self._held: SendReports | None = None
        self._held_until_ms = 0
        self._store: Final = store
        self._agent_id: Final = agent_id
        self._session: Final = session
        self._stream: Final = reports_stream(principal)
        #: Of the last batch: grows by one each.
        self._number = 0
        #: When to ask an absent store again; None while it is there.
        self._ask_at_ms: int | None = None
        self._retries: Final = Retries()

    @property
    def deadline_ms(self) -> int | None:
        """When `is_back` should be asked or `send_held` called; None while nothing waits."""
        return self._held_until_ms if self._held is not None else self._ask_at_ms

    def send(self, effects: Iterable[SendReports], now_ms: int) -> None:
        """Send the reports of one pass: as few batches as their number allows, the newest header on all."""
        reports: list[Report] = []
        last: SendReports | None = None
        gap = False
        for effect in effects:
            reports.extend(effect.reports)
            gap = gap or effect.gap
            last = effect
        if last is None or self._ask_at_ms is not None:
            return
        if self._confirm_delay_ms and not reports and not gap:
            if self._held is None:
                self._held_until_ms = now_ms + self._confirm_delay_ms
            self._held = last
            return
        # Its header is newer.
        self._held = None
        self._send(last, gap, reports, now_ms)

    def send_held(self, now_ms: int) -> None:
        """Send what waited for another report, where none came in time."""
        held = self._held
        if held is not None and now_ms >= self._held_until_ms:
            self._held = None
            if self._ask_at_ms is None:
                self._send(held, False, [], now_ms)

    def _send(self, last: SendReports, gap: bool, reports: list[Report], now_ms: int) -> None:
        try:
            for start in range(0, max(1, len(reports)), MAX_REPORTS_PER_BATCH):
                self._append(last, gap, reports[start : start + MAX_REPORTS_PER_BATCH])
        except Unavailable as error:
            self._lost(now_ms, error)

    def set_aside(self, item: Undecodable, now_ms: int) -> None:
        """Keep a message that cannot be read for the operator, where the store takes it."""
        _log.warning("agent.command_undecodable", agent_id=self._agent_id, reason=item.reason)
        letter = DeadLetter(
            timestamp_ms=now_ms,
            source=f"master to agent {self._agent_id!r}",
            reason=item.reason,
            payload=item.payload,
        )
        if self._ask_at_ms is not None:
            return
        try:
            self._store.append(DEAD_LETTERS, encode_dead_letter(letter), max_length=MAX_DEAD_LETTERS_LENGTH)
        except Unavailable as error:
            self._lost(now_ms, error)

    def is_back(self, now_ms: int) -> bool:
        """Ask an absent store whether it is there again, not too often; True once, when it is."""
        if self._ask_at_ms is None or now_ms < self._ask_at_ms:
            return False
        try:
            self._store.last_id(self._stream)
        except Unavailable:
            self._ask_at_ms = now_ms + self._retries.take_ms()
            return False
        self._ask_at_ms = None
        self._retries.reset()
        _log.info("agent.redis_back", agent_id=self._agent_id)
        return True

    def _append(self, header: SendReports, gap: bool, reports: list[Report]) -> None:
        self._number += 1
        batch = ReportBatch(
            agent_id=self._agent_id,
            session=self._session,
            number=self._number,
            epoch=header.epoch,
            confirmed=header.confirmed,
            gap=gap,
            reports=tuple(reports),
        )
        try:
            payload = encode(batch)
        except ProtocolError as error:
            if len(reports) <= 1:
                _log.error("agent.report_too_large", agent_id=self._agent_id, reason=str(error))
                return
            for half in (reports[: len(reports) // 2], reports[len(reports) // 2 :]):
                self._append(header, gap, half)
            return
        self._store.append(self._stream, payload, max_length=MAX_REPORTS_LENGTH)

    def _lost(self, now_ms: int, error: Unavailable) -> None:
        _log.warning("agent.redis_away", agent_id=self._agent_id, reason=str(error))
        self._ask_at_ms = now_ms + self._retries.take_ms()
