"""What a warm pool keeps in Redis for its next life: its executors, and which calls were lost with those that are over.

An executor is written before it is launched, and what was lost before anybody is told: so a life that follows knows of
all that may run, and takes nothing for not begun that may have been. Where Redis is away, what is to be written waits for it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.logs import get_logger
from mesolite.transport.contract import Store

from ..futures.held_record import HeldRecord, decode_record
from .kept_values import KeptValues

_EXECUTOR: Final = "executor:"
_LOST: Final = "lost"
#: A dispatcher is told of a loss at once, and acts on it; the next life asks for what it did not act on within this.
LOST_KEPT_MS: Final = 86_400_000
#: The newest; each is a hundred bytes, and they are written as one value.
MAX_LOST: Final = 5_000

_log = get_logger("mesolite.celery")


class WarmRecords(KeptValues):
    """Of one framework. Used from one thread: the one that makes it, then the driver's.

    Raises:
        RedisUnavailable: Redis does not answer.
    """

    def __init__(self, store: Store, framework_id: FrameworkId) -> None:
        super().__init__(store, framework_id)
        #: When each was lost.
        self._lost: dict[str, int] = {}
        #: Names of executors that are over.
        self._over: set[str] = set()
        #: Executors that the lives before had and did not see the end of, and those that ended while calls were looked for.
        self.earlier: Final[list[HeldRecord]] = []
        self._read(self._store.values)

    @property
    def lost(self) -> Mapping[str, int]:
        """Calls of earlier lives that were lost with their executors."""
        return self._lost

    def known_tasks(self) -> list[tuple[TaskId, AgentId | None]]:
        """Workers of earlier lives, for the driver to ask for."""
        return [(task_id, each.agent_id) for each in self.earlier if not each.over for task_id in each.tasks]

    def keep(self, record: HeldRecord) -> None:
        """Keep an executor, or what has changed of it."""
        self._change({_EXECUTOR + record.info.executor_id: record.encode()})

    def over(self, executor_id: str, lost: Iterable[str], now_ms: int, *, keep: bool) -> None:
        """An executor is over, and these calls with it.

        Args:
            executor_id: Which.
            lost: Names of calls that may have begun there.
            now_ms: The time.
            keep: Calls were looked for there that may have been its: a next life is to know that there was one.
        """
        name = _EXECUTOR + executor_id
        kept = self._kept.get(name)
        changes: dict[str, bytes | None] = {name: None}
        if keep and kept is not None:
            changes[name] = msgspec.structs.replace(decode_record(kept), over=True).encode()
            self._over.add(name)
        self._change({**changes, **self._losses(lost, now_ms)})

    def lose(self, lost: Iterable[str], now_ms: int) -> None:
        """These calls are lost, whoever had them."""
        self._change(self._losses(lost, now_ms))

    def _losses(self, lost: Iterable[str], now_ms: int) -> dict[str, bytes | None]:
        new = dict.fromkeys(lost, now_ms)
        if not new:
            return {}
        self._lost.update(new)
        recent = [(each, at_ms) for each, at_ms in self._lost.items() if at_ms > now_ms - LOST_KEPT_MS]
        self._lost = dict(recent[-MAX_LOST:])
        return {_LOST: msgspec.msgpack.encode(self._lost)}

    def searched(self) -> None:
        """Nothing is looked for any more: executors that are over may be forgotten."""
        if self._over:
            over, self._over = self._over, set[str]()
            self._change(dict.fromkeys(over))

    def _read(self, values: Mapping[str, bytes]) -> None:
        for name, value in values.items():
            try:
                if name.startswith(_EXECUTOR):
                    record = decode_record(value)
                    self.earlier.append(record)
                    self._over |= {name} if record.over else set()
                elif name == _LOST:
                    self._lost = msgspec.msgpack.decode(value, type=dict[str, int])
                else:
                    continue
            except (ValueError, msgspec.MsgspecError) as error:
                _log.warning("celery.record_unreadable", framework_id=self._framework_id, name=name, reason=str(error))
            else:
                self._kept[name] = value
