"""When the driver has to do something without being told: all its deadlines in one place."""

from .settings import (
    DEFAULT_HEARTBEAT_MS,
    JITTER_SHARE,
    MAX_HEARTBEAT_MS,
    MIN_HEARTBEAT_MS,
    SILENT_INTERVALS,
    SUBSCRIBE_RETRY_CAP_MS,
    SUBSCRIBE_RETRY_MS,
    TEARDOWN_RETRY_CAP_MS,
    TEARDOWN_RETRY_MS,
    DriverSettings,
)
from .subscription import Backoff, Phase


class Timers:
    """Deadlines in milliseconds of the clock that the events carry."""

    def __init__(self, settings: DriverSettings) -> None:
        self._reconcile_interval_ms = settings.reconcile_interval_ms
        self._interval_ms = DEFAULT_HEARTBEAT_MS
        #: When the master was last heard.
        self._heard_ms = 0
        self._heartbeat_ms = 0
        self._subscribe_ms = 0
        #: A SUBSCRIBE is to leave with this step.
        self._subscribe_prepared = False
        self._reconcile_ms = 0
        #: Before this a standing subscription is not renewed again.
        self._renewal_ms = 0
        self._wake_ms: int | None = None
        self._teardown_patience_ms = settings.teardown_patience_ms
        #: When TEARDOWN is said again, and when no more.
        self._teardown_ms = 0
        self._give_up_ms: int | None = None
        self._teardown_backoff = Backoff(TEARDOWN_RETRY_MS, TEARDOWN_RETRY_CAP_MS)
        self._backoff = Backoff(SUBSCRIBE_RETRY_MS, SUBSCRIBE_RETRY_CAP_MS)

    def next_ms(self, phase: Phase, reconciliation_ms: int | None) -> int | None:
        """Return the earliest deadline that matters in this phase."""
        deadlines = [deadline for deadline in (self._wake_ms,) if deadline is not None]
        if phase is Phase.SUBSCRIBING:
            deadlines.append(self._subscribe_ms)
        elif phase is Phase.SUBSCRIBED:
            deadlines += [self._heartbeat_ms, self._silence_ms(), self._reconcile_ms]
            if reconciliation_ms is not None:
                deadlines.append(reconciliation_ms)
        elif phase is Phase.LEAVING:
            assert self._give_up_ms is not None, "who leaves has said so"
            return min(self._teardown_ms, self._give_up_ms)
        elif phase is Phase.ENDED:
            return None
        return min(deadlines, default=None)

    def heard(self, now_ms: int) -> None:
        """The master spoke to this session."""
        self._heard_ms = now_ms

    def set_interval(self, interval_ms: int) -> None:
        """The master says how often it wants to hear a heartbeat, and how often it sends one."""
        self._interval_ms = min(max(interval_ms, MIN_HEARTBEAT_MS), MAX_HEARTBEAT_MS)

    def silent_for_too_long(self, now_ms: int) -> bool:
        """Whether the master must be assumed to have lost the subscription."""
        return now_ms >= self._silence_ms()

    def subscribe_now(self, now_ms: int) -> None:
        """Subscribe with the next tick, and begin with short waits."""
        self._subscribe_ms = now_ms
        self._backoff.reset()

    def prepare_subscribe(self, now_ms: int, jitter: float) -> None:
        """If it is time, let a SUBSCRIBE out with this step and set the time for the next."""
        if now_ms >= self._subscribe_ms:
            self._subscribe_prepared = True
            self._subscribe_ms = now_ms + self._backoff.take_ms(1 - JITTER_SHARE + 2 * JITTER_SHARE * jitter)

    def take_subscribe(self) -> bool:
        """Whether a SUBSCRIBE is to leave now; says so once."""
        prepared, self._subscribe_prepared = self._subscribe_prepared, False
        return prepared

    def may_subscribe_anew(self, now_ms: int) -> bool:
        """Whether a standing subscription is to be renewed: once for one outage, which both of the shell's threads may report."""
        due = now_ms >= self._renewal_ms
        if due:
            self._renewal_ms = now_ms + SUBSCRIBE_RETRY_MS
        return due

    def subscribed(self, now_ms: int) -> None:
        """The subscription stands: heartbeats and periodic reconciliation count from here."""
        self._subscribe_prepared = False
        self._heard_ms = now_ms
        self._heartbeat_ms = now_ms + self._interval_ms
        self._reconcile_ms = now_ms + self._reconcile_interval_ms

    def heartbeat_is_due(self, now_ms: int) -> bool:
        """Whether to say HEARTBEAT; sets the time for the next."""
        due = now_ms >= self._heartbeat_ms
        if due:
            self._heartbeat_ms = now_ms + self._interval_ms
        return due

    def reconciliation_is_due(self, now_ms: int) -> bool:
        """Whether to begin the periodic reconciliation; sets the time for the next."""
        due = now_ms >= self._reconcile_ms
        if due:
            self._reconcile_ms = now_ms + self._reconcile_interval_ms
        return due

    def teardown_said(self, now_ms: int) -> None:
        """TEARDOWN leaves; set the time for the next, and with the first for the last."""
        self._teardown_ms = now_ms + self._teardown_backoff.take_ms()
        if self._give_up_ms is None:
            self._give_up_ms = now_ms + self._teardown_patience_ms

    def teardown_is_due(self, now_ms: int) -> bool:
        """Whether to say TEARDOWN again."""
        return now_ms >= self._teardown_ms

    def teardown_is_given_up(self, now_ms: int) -> bool:
        """Whether nobody has confirmed the end for too long."""
        return self._give_up_ms is not None and now_ms >= self._give_up_ms

    def wake_at(self, at_ms: int) -> None:
        """Wake the scheduler then; an earlier wish stands."""
        self._wake_ms = at_ms if self._wake_ms is None else min(self._wake_ms, at_ms)

    def wakeup_is_due(self, now_ms: int) -> bool:
        """Whether to wake the scheduler; says so once."""
        due = self._wake_ms is not None and now_ms >= self._wake_ms
        if due:
            self._wake_ms = None
        return due

    def _silence_ms(self) -> int:
        return self._heard_ms + SILENT_INTERVALS * self._interval_ms
