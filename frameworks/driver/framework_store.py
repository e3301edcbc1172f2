"""What a framework keeps in Redis for its next scheduler: small named values, written by one scheduler at a time.

A scheduler that begins claims the values, and gets them; from then on its predecessor, which may live and not know, cannot write
any more. So a scheduler that takes over goes on from what is really there, and nobody writes behind its back. The values go with
the framework: tearing it down, or its failover timeout, deletes them.

Redis replicates asynchronously. A failover may forget the newest writes, as it may forget the newest calls; a scheduler that must
not lose anything reconciles, as after any failover, and takes what it reads here for where to begin.
"""

from collections.abc import Mapping
from typing import Final

from mesolite.clock import Clock, SystemClock
from mesolite.errors import BadInput, Superseded
from mesolite.ids import FrameworkId
from mesolite.transport.contract import Store
from mesolite.transport.keys import framework_state

#: Bounds of what one framework keeps. This is for where it stands (counters, open jobs, what it launched), in values that are
#: written again and again; large things belong into files or a database.
MAX_NAMES: Final = 10_000
MAX_NAME_LENGTH: Final = 255
MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_TOTAL_BYTES: Final = 16 * 1024 * 1024


class FrameworkStore:
    """The values of one framework, for one scheduler. Used from one thread: the driver's, or the one that starts it.

    A write takes a round trip to Redis, a tenth of a millisecond. Reading takes none: nobody else writes.
    """

    def __init__(self, store: Store, framework_id: FrameworkId, clock: Clock | None = None) -> None:
        """Claim what the framework keeps.

        Args:
            store: A store of one's own; `close` it afterwards.
            framework_id: Whose values. They need not exist.
            clock: The time.

        Raises:
            RedisUnavailable: Redis does not answer. Trying again is safe.
        """
        self._store: Final = store
        self._key: Final = framework_state(framework_id)
        # Not below the clock: a Redis that forgot an earlier claim must not give its number to somebody else.
        now_ms = (clock or SystemClock()).now_ms()
        self._generation, self._values = store.claim_state(self._key, at_least=now_ms)
        self._total_bytes = sum(len(name) + len(value) for name, value in self._values.items())

    @property
    def values(self) -> Mapping[str, bytes]:
        """All values by name, as this scheduler wrote or found them."""
        return self._values

    def get(self, name: str) -> bytes | None:
        """Return a value, or None where there is none of that name."""
        return self._values.get(name)

    def put(self, name: str, value: bytes) -> None:
        """Keep a value under a name; as `change`."""
        self.change({name: value})

    def delete(self, name: str) -> None:
        """Keep a value no longer; it need not exist. As `change`."""
        self.change({name: None})

    def change(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep values, and delete those that are None: all of it, or nothing.

        Raises:
            BadInput: A name or a value is too long, or it would be too many; nothing was changed.
            Superseded: Another scheduler of this framework has claimed the values: this one is to stop.
            RedisUnavailable: Redis does not answer. It may have been done all the same; doing it again is safe.
        """
        grown_bytes = self._growth_bytes(changes)
        if not self._store.change_state(self._key, self._generation, changes):
            raise Superseded
        for name, value in changes.items():
            if value is None:
                self._values.pop(name, None)
            else:
                self._values[name] = value
        self._total_bytes += grown_bytes

    def _growth_bytes(self, changes: Mapping[str, bytes | None]) -> int:
        """Say by how much the values grow; raises BadInput where they may not."""
        grown_bytes = names = 0
        for name, value in changes.items():
            if not 1 <= len(name) <= MAX_NAME_LENGTH:
                raise BadInput(f"the name of a value has {len(name)} characters; 1 to {MAX_NAME_LENGTH} are allowed")
            if value is not None and len(value) > MAX_VALUE_BYTES:
                raise BadInput(f"value {name!r} has {len(value)} bytes; at most {MAX_VALUE_BYTES} are allowed")
            known = self._values.get(name)
            grown_bytes -= len(name) + len(known) if known is not None else 0
            grown_bytes += len(name) + len(value) if value is not None else 0
            names += (value is not None) - (known is not None)
        if names > 0 and len(self._values) + names > MAX_NAMES:
            raise BadInput(f"{len(self._values) + names} values; a framework keeps at most {MAX_NAMES}: delete some")
        if grown_bytes > 0 and self._total_bytes + grown_bytes > MAX_TOTAL_BYTES:
            total_bytes = self._total_bytes + grown_bytes
            raise BadInput(f"values of {total_bytes} bytes; a framework keeps at most {MAX_TOTAL_BYTES}: delete some")
        return grown_bytes
