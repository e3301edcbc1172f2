"""Which runs with containers of their own were launched, for the next life of their dispatcher.

A message is given away when its run begins to wait for an offer. The next life asks the master for the runs of such messages. One
that nobody knows may have begun and ended long ago, or never have been launched: so launches are written down before they are
sent, and what is not written never began, and is run. Names stay for a while after the end: others have to write it down first.
"""

from collections.abc import Iterable
from typing import Final

from mesolite.ids import FrameworkId
from mesolite.transport.contract import Store

from ..driver.framework_store import MAX_NAMES
from .kept_values import KeptValues

_LAUNCHED: Final = "launched:"
#: There while all launches are written down.
_COMPLETE: Final = "complete"
#: Runs that ended, newest: those of some minutes, where ten end in a second.
MAX_ENDED: Final = 5_000
#: Names of so many that run at once are kept.
MAX_LAUNCHED: Final = MAX_NAMES - MAX_ENDED - 1
#: A dispatcher asks for what those before it gave away as its broker delivers it again: within this, however much it is.
ATTACH_WITHIN_MS: Final = 600_000


class SingleRecords(KeptValues):
    """See the module.

    Args:
        store: Of one's own.
        framework_id: Whose runs.
        is_first: No dispatcher of this name was there before, under this id or another.

    Raises:
        RedisUnavailable: Redis does not answer.
    """

    def __init__(self, store: Store, framework_id: FrameworkId, *, is_first: bool) -> None:
        super().__init__(store, framework_id)
        self._kept.update(self._store.values)
        names = [name.removeprefix(_LAUNCHED) for name in self._kept if name.startswith(_LAUNCHED)]
        self._is_complete = is_first or _COMPLETE in self._kept
        #: Launched by earlier lives; None where nobody knows of all.
        self._earlier: Final = frozenset(names) if self._is_complete else None
        #: Runs that ended, or that nobody has asked for yet: oldest first, a dict for its order.
        self._over: Final[dict[str, None]] = dict.fromkeys(names)
        self._launched: Final[set[str]] = set()
        #: From when on all that may run has a name here; None where that is so from the beginning, or will not be in this life.
        self._complete_ms: int | None = None
        if self._is_complete:
            self._change({_COMPLETE: b"1"})

    def begin(self, now_ms: int) -> None:
        """The runner begins: first of all."""
        self._complete_ms = None if self._is_complete else now_ms + ATTACH_WITHIN_MS

    def never_began(self, name: str) -> bool:
        """Whether no earlier life launched this run. From any thread."""
        return self._earlier is not None and name not in self._earlier

    def launch(self, names: Iterable[str], now_ms: int) -> None:
        """These are about to be launched, which is not to be where this leaves `superseded`; or are asked for."""
        changes: dict[str, bytes | None] = {}
        for name in names:
            self._launched.add(name)
            self._over.pop(name, None)
            changes[_LAUNCHED + name] = b""
        if len(self._launched) > MAX_LAUNCHED:
            # The next life asks for all, and takes what nobody knows for lost.
            changes, self._complete_ms = {_COMPLETE: None}, None
        elif self._complete_ms is not None and now_ms >= self._complete_ms:
            changes[_COMPLETE], self._complete_ms = b"1", None
        self._change(changes)

    def end(self, name: str) -> None:
        """One ended."""
        self._launched.discard(name)
        self._over.pop(name, None)
        self._over[name] = None
        old = list(self._over)[: max(0, len(self._over) - MAX_ENDED)]
        for each in old:
            del self._over[each]
        if old:
            self._change(dict.fromkeys(_LAUNCHED + each for each in old))
