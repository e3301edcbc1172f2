"""What the driver has to say, gathered until the end of a step so that one batch carries it (DESIGN 6)."""

from collections.abc import Iterable

from mesolite.protocol import Accept, Acknowledge, Acknowledgement, Call, Message

from .settings import BYTES_PER_WEIGHT, MAX_ACKNOWLEDGEMENTS, MAX_BATCH_WEIGHT, MAX_WAITING_ACKNOWLEDGEMENTS


class Outbox:
    """Calls and acknowledgements that wait."""

    def __init__(self, acknowledgement_delay_ms: int = 0) -> None:
        """Start empty.

        Args:
            acknowledgement_delay_ms: See `DriverSettings`.
        """
        self._acknowledgement_delay_ms = acknowledgement_delay_ms
        #: When acknowledgements leave that wait for calls to ride on; None while none wait.
        self.due_ms: int | None = None
        self._calls: list[Call] = []
        self._acknowledgements: list[Acknowledgement] = []

    def add(self, call: Call) -> None:
        """Append a call."""
        self._calls.append(call)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Append an acknowledgement, unless too many wait: its update will come again."""
        if len(self._acknowledgements) < MAX_WAITING_ACKNOWLEDGEMENTS:
            self._acknowledgements.append(acknowledgement)

    def can_wait(self, now_ms: int) -> bool:
        """Say whether there are only acknowledgements, and calls may come soon that they can ride on."""
        if not self._acknowledgement_delay_ms or not self._acknowledgements or self._calls:
            return False
        if self.due_ms is None:
            self.due_ms = now_ms + self._acknowledgement_delay_ms
        return now_ms < self.due_ms

    def remove_all(self) -> list[Call]:
        """Drop the calls and return them; acknowledgements stay, for they hold under any subscription."""
        calls, self._calls = self._calls, []
        return calls

    def take(self) -> list[tuple[Call, ...]]:
        """Return everything that waits, in order, cut into batches of bounded weight."""
        self.due_ms = None
        calls = self.remove_all()
        waiting, self._acknowledgements = self._acknowledgements, []
        for start in range(0, len(waiting), MAX_ACKNOWLEDGEMENTS):
            calls.append(Acknowledge(tuple(waiting[start : start + MAX_ACKNOWLEDGEMENTS])))
        return list(_cut(calls))


def weight(call: Call) -> int:
    """How much work a call is for the master, in tasks launched."""
    if isinstance(call, Accept):
        tasks = [task for operation in call.operations for task in operation.task_infos]
        return 1 + len(tasks) + sum(len(task.data) for task in tasks) // BYTES_PER_WEIGHT
    if isinstance(call, Acknowledge):
        return 1 + len(call.acknowledgements) // 4
    if isinstance(call, Message):
        return 1 + len(call.data) // BYTES_PER_WEIGHT
    return 1


def _cut(calls: Iterable[Call]) -> Iterable[tuple[Call, ...]]:
    batch: list[Call] = []
    total = 0
    for call in calls:
        own = weight(call)
        if batch and total + own > MAX_BATCH_WEIGHT:
            yield tuple(batch)
            batch, total = [], 0
        batch.append(call)
        total += own
    if batch:
        yield tuple(batch)
