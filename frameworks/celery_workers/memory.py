"""What a group keeps in Redis for its next life: under which id it is a framework, and its workers.

The values are kept under the group's own name, which is no framework's id: they outlast each framework that the group was.
Whoever claims them is the group; a predecessor that still lives cannot write any more, and ends.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import uuid4

import msgspec

from mesolite.errors import RedisUnavailable
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger
from mesolite.transport.contract import Store

from ..driver.framework_store import FrameworkStore
from .effects import Remember
from .worker import Worker

_FRAMEWORK: Final = "framework"
_WORKER: Final = "worker:"

_log = get_logger("mesolite.celery_workers")


class GroupMemory:
    """Used from one thread at a time.

    Args:
        open_store: Opens a store of one's own.
        name: The group's.

    Raises:
        RedisUnavailable: Redis does not answer.
    """

    def __init__(self, open_store: Callable[[], Store], name: str) -> None:
        self._name: Final = name
        self._store: Final = open_store()
        try:
            self._kept: Final = FrameworkStore(self._store, FrameworkId(f"celery-workers.{name}"))
        except BaseException:
            self._store.close()
            raise
        #: Not written yet, Redis being away.
        self._pending: dict[str, bytes | None] = {}

    def framework_id(self) -> FrameworkId:
        """Under which id the group is a framework; a new one where there is none."""
        kept = self._kept.get(_FRAMEWORK)
        if kept is not None:
            return FrameworkId(kept.decode())
        framework_id = FrameworkId(f"celery-workers-{self._name}-{uuid4().hex[:12]}")
        self._kept.put(_FRAMEWORK, framework_id.encode())
        return framework_id

    def workers(self) -> list[Worker]:
        """Return the workers of earlier lives."""
        found: list[Worker] = []
        for name, value in self._kept.values.items():
            if not name.startswith(_WORKER):
                continue
            try:
                found.append(msgspec.msgpack.decode(value, type=Worker))
            except msgspec.MsgspecError as error:
                # Of another version: its task tells of it.
                _log.warning("celery_workers.unreadable", name=name, reason=str(error))
        return sorted(found, key=lambda worker: worker.launched_ms)

    def remember(self, effect: Remember) -> None:
        """Keep and forget workers; while Redis is away, later.

        Raises:
            Superseded: Another life of the group has begun.
        """
        self._pending |= {_WORKER + worker.task_id: msgspec.msgpack.encode(worker) for worker in effect.kept}
        self._pending |= dict.fromkeys(_WORKER + task_id for task_id in effect.forgotten)
        self.flush()

    def flush(self) -> None:
        """Write what is not written yet. As `remember`."""
        if not self._pending:
            return
        try:
            self._kept.change(self._pending)
        except RedisUnavailable as error:
            # Nothing waits for it: a worker that was forgotten is known again by its task.
            _log.warning("celery_workers.not_kept", reason=str(error))
        else:
            self._pending.clear()

    def end(self) -> None:
        """Forget the framework and its workers: the id is used up. Where Redis is away the next life finds that out."""
        self._pending.clear()
        with suppress(RedisUnavailable):
            self._kept.change(dict.fromkeys(self._kept.values))

    def close(self) -> None:
        """Close the connection."""
        self._store.close()
