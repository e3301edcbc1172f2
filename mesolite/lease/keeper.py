"""The lease's shell: asks the store what the core wants asked, from a thread of its own.

A master that is busy with a large batch, or that waits for the store to take one, must not lose its lease for that; and what
it does must not wait for renewals. So the two meet only in `grant`, which answers at once.
"""

import secrets
import threading
from typing import Final, assert_never

from mesolite.clock import Clock
from mesolite.errors import Unavailable
from mesolite.logs import get_logger
from mesolite.transport.contract import Lease, LeaseState, Store

from .core import Grant, LeaseCore
from .events import Answered, Claim, EpochSpoilt, LeaseEffect, Look, Release, Renew, Resigned, Tick, Unanswered
from .settings import LeaseSettings

#: Random bytes of a holder's name.
_HOLDER_BYTES: Final = 8

_log = get_logger("mesolite.lease")


class LeaseKeeper:
    """Holds the lease for one life of a master, or waits for it.

    Args:
        store: Used only from the keeper's thread, or from the caller of `step`.
        clock: The time.
        settings: The lease's numbers.
        holder: Its name; a random one where absent.
    """

    def __init__(self, *, store: Store, clock: Clock, settings: LeaseSettings, holder: str | None = None) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._settings: Final = settings
        name = holder if holder is not None else secrets.token_hex(_HOLDER_BYTES)
        self._core: Final = LeaseCore(holder=name, settings=settings)
        self._address = ""
        #: Held while the core changes or is looked at.
        self._lock: Final = threading.Lock()
        #: Told whenever somebody may begin or cease to lead, or the thread is wanted.
        self._changed: Final = threading.Condition(self._lock)
        self._closed: Final = threading.Event()
        self._thread: threading.Thread | None = None
        #: What was last told in the log.
        self._led: int | None = None
        self._is_away = False

    def grant(self) -> Grant | None:
        """Return the right to lead, if there is one at this moment; from any thread, without waiting."""
        with self._lock:
            return self._core.grant(self._clock.now_ms())

    def leader(self) -> Lease | None:
        """Return who else leads, where that is known; None where this master does or may, or nobody does."""
        with self._lock:
            return self._core.leader

    def spoil(self, epoch: int, at_least: int) -> None:
        """Ask for a new epoch, at least `at_least`, because this one cannot be used any more. Without effect on any other."""
        with self._changed:
            self._core.apply(EpochSpoilt(now_ms=self._clock.now_ms(), epoch=epoch, at_least=at_least))
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a grant, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed.is_set() or self._core.grant(self._clock.now_ms()) is not None, timeout_s
            )

    def step(self) -> None:
        """Ask the store what is due, if anything is."""
        with self._lock:
            effects = self._core.apply(Tick(now_ms=self._clock.now_ms()))
        for effect in effects:
            self._ask(effect)
        self._tell()

    def next_deadline_ms(self) -> int | None:
        """When `step` has something to do."""
        with self._lock:
            return self._core.next_deadline_ms()

    def start(self, address: str) -> None:
        """Do `step` when it is due, in a thread.

        Args:
            address: Where this master's operator API answers, as others reach it: what they are told while it leads.
        """
        assert not address.count(" "), "an address has no spaces"
        self._address = address
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the lease up, so that another may lead at once. Call it when the master has stopped working."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        if self._thread is not None:
            # It may stand in a question to a store that hangs, and then has nothing to give up to.
            self._thread.join(timeout=self._settings.ttl_ms / 1000)
            if self._thread.is_alive():
                return
        with self._lock:
            effects = self._core.apply(Resigned(now_ms=self._clock.now_ms()))
        for effect in effects:
            self._ask(effect)

    def _run(self) -> None:
        while not self._closed.is_set():
            self.step()
            with self._changed:
                deadline_ms = self._core.next_deadline_ms()
                wait_ms = self._settings.ttl_ms if deadline_ms is None else deadline_ms - self._clock.now_ms()
                if wait_ms > 0 and not self._closed.is_set():
                    self._changed.wait(wait_ms / 1000)

    def _ask(self, effect: LeaseEffect) -> None:
        asked_ms = self._clock.now_ms()
        try:
            state = self._answer(effect)
        except Unavailable as unavailable:
            if not self._is_away:
                # A standby asks nothing else of the store; this is all that an operator hears of a wrong address.
                _log.warning("lease.store_away", reason=str(unavailable))
            self._is_away = True
            with self._lock:
                self._core.apply(Unanswered(now_ms=self._clock.now_ms()))
            return
        if self._is_away:
            _log.info("lease.store_returned")
        self._is_away = False
        with self._changed:
            self._core.apply(Answered(now_ms=self._clock.now_ms(), asked_ms=asked_ms, state=state))
            self._changed.notify_all()

    def _answer(self, effect: LeaseEffect) -> LeaseState:
        match effect:
            case Claim():
                return self._store.claim_lease(
                    holder=self._core.holder,
                    address=self._address,
                    ttl_ms=self._settings.ttl_ms,
                    at_least=effect.at_least,
                )
            case Renew():
                return self._store.renew_lease(effect.lease, ttl_ms=self._settings.ttl_ms)
            case Look():
                return self._store.lease()
            case Release():
                self._store.release_lease(effect.lease)
                return LeaseState(lease=None, left_ms=0)
            case _:
                assert_never(effect)

    def _tell(self) -> None:
        """Say in the log what changed about who leads."""
        with self._lock:
            grant, leader = self._core.grant(self._clock.now_ms()), self._core.leader
        epoch = grant.epoch if grant is not None else None
        if epoch == self._led:
            return
        self._led = epoch
        if epoch is not None:
            _log.info("lease.held", epoch=epoch)
        else:
            _log.warning("lease.lost", leader=leader.address if leader is not None else None)
