"""How many calls of each kind have not ended, and how many of them the scheduler knows of.

The scheduler is told at once when they are more than it knows of, and when it looks, that they are fewer. So calls that come one
by one do not wake its thread, which would take a tenth of a millisecond from each.
"""

from .options import Kind


class Load:
    """Calls of one kind that have not ended."""

    __slots__ = ("calls", "kind", "told")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.calls = 0
        #: How many of them the scheduler knows of.
        self.told = 0


class Loads:
    """Of one pool, whose lock is held by whoever uses this."""

    def __init__(self) -> None:
        self._loads: dict[Kind, Load] = {}
        self._more = False
        #: The scheduler is about to look.
        self._telling = False

    def count(self, kind: Kind) -> Load:
        """Count a new call; whoever ends it takes it off `calls` of what is returned."""
        load = self._loads.get(kind)
        if load is None:
            load = self._loads[kind] = Load(kind)
        load.calls += 1
        self._more = self._more or load.calls > load.told
        return load

    def is_to_be_told(self) -> bool:
        """Whether the scheduler is to be woken for what was counted; asked once for each time that it is."""
        tell = self._more and not self._telling
        self._more = False
        self._telling = self._telling or tell
        return tell

    def take_changed(self) -> list[tuple[Kind, int]]:
        """Return what the scheduler does not know yet; now it does."""
        self._telling = False
        changed = [(load.kind, load.calls) for load in self._loads.values() if load.calls != load.told]
        for kind, calls in changed:
            self._loads[kind].told = calls
        return changed

    def refused(self, kind: Kind) -> None:
        """The scheduler has given up on a kind: it is to hear of the next call of it."""
        load = self._loads.get(kind)
        if load is not None:
            load.told = 0
