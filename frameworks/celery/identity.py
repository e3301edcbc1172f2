"""By which framework id a named dispatcher is known to the master, from one of its lives to the next; and which broker it had."""

from typing import Final
from uuid import uuid4

from mesolite.ids import FrameworkId
from mesolite.transport.contract import Store

from ..driver.framework_store import FrameworkStore

#: The value that holds it.
_VALUE: Final = "framework_id"
#: Where the broker of the last life is, as `broker_address.py` writes it. Lives of former versions left none.
_BROKER: Final = "broker"
#: There if an earlier id was forgotten.
_FORGOTTEN: Final = "forgotten"


class KeptIdentity:
    """The id of one name. A framework that was torn down never comes back, so its id is forgotten and the next is new.

    Args:
        store: A store of one's own; `close` it afterwards.
        kind: What sort of framework it is: the beginning of ids.
        name: Of this one, unique among its kind in the cluster.

    Raises:
        RedisUnavailable: Redis does not answer.
    """

    def __init__(self, store: Store, kind: str, name: str) -> None:
        # No framework is ever registered under this id: it names the place.
        self._values: Final = FrameworkStore(store, FrameworkId(f"{kind}:{name}"))
        kept = self._values.get(_VALUE)
        #: Whether an earlier life left it.
        self.is_kept: Final = kept is not None
        #: Whether there was none before, of whatever id.
        self.is_first: Final = kept is None and self._values.get(_FORGOTTEN) is None
        self.framework_id: Final = FrameworkId(
            kept.decode() if kept is not None else f"{kind}-{name}-{uuid4().hex[:8]}"
        )
        if kept is None:
            self._values.put(_VALUE, self.framework_id.encode())

    @property
    def broker(self) -> bytes | None:
        """What `keep_broker` was told by the last life; None where there was none, or it has ended for good."""
        return self._values.get(_BROKER)

    def keep_broker(self, address: bytes) -> None:
        """Keep which broker this life has. Raises as `FrameworkStore.change`."""
        self._values.put(_BROKER, address)

    def forget(self) -> None:
        """The framework has ended for good, and nothing of it is left to take over. Raises as `FrameworkStore.change`."""
        self._values.change({_VALUE: None, _FORGOTTEN: b"1", _BROKER: None})
