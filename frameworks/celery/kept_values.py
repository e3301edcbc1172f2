"""What a runner keeps in Redis for its next life: small values, and those that wait because Redis is away."""

from collections.abc import Callable, Mapping
from typing import Final

from mesolite.errors import RedisUnavailable, Superseded
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger
from mesolite.transport.contract import Store

from ..driver.driver import SchedulerDriver
from ..driver.framework_store import FrameworkStore
from ..futures.settings import LOOK_MS

_log = get_logger("mesolite.celery")


class KeptValues:
    """Of one framework. Used from one thread: the one that makes it, then the driver's.

    Raises:
        RedisUnavailable: Redis does not answer.
    """

    def __init__(self, store: Store, framework_id: FrameworkId) -> None:
        self._connection: Final = store
        self._store: Final = FrameworkStore(store, framework_id)
        self._framework_id: Final = framework_id
        #: What is not written yet.
        self._pending: dict[str, bytes | None] = {}
        #: As it is, or is to be, written.
        self._kept: Final[dict[str, bytes]] = {}
        #: Another dispatcher writes: nothing may be launched any more.
        self.superseded = False

    @property
    def is_saved(self) -> bool:
        """Whether all is written."""
        return not self._pending

    def rewrite(self) -> None:
        """Write all again: a Redis that took another's place may have forgotten the newest."""
        self._pending = {**self._kept, **self._pending}
        self.save()

    def save(self) -> None:
        """Write what is not written yet, if Redis answers."""
        if not self._pending or self.superseded:
            return
        try:
            self._store.change(self._pending)
        except RedisUnavailable as unavailable:
            _log.warning("celery.records_wait", framework_id=self._framework_id, reason=str(unavailable))
        except Superseded:
            self.superseded = True
        else:
            self._pending = {}

    def follow_up(self, driver: SchedulerDriver, broke: Callable[[str], None]) -> None:
        """After each change: be woken to write what is not written yet, or say that nothing can be any more.

        Args:
            driver: The runner's, which wakes it.
            broke: Told why, where another dispatcher writes.
        """
        if self.superseded:
            broke("another dispatcher of this name has taken over")
        elif not self.is_saved:
            driver.wake_at(driver.now_ms + LOOK_MS)

    def close(self) -> None:
        """Let go of Redis."""
        self._connection.close()

    def _change(self, changes: Mapping[str, bytes | None]) -> None:
        for name, value in changes.items():
            if value is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = value
        self._pending.update(changes)
        self.save()
