"""What tests of stores share."""

from collections.abc import Callable

from mesolite.transport import Store

#: More than any test needs, and a bound for one that hangs.
LONG_MS = 20_000

#: Opens one more handle onto the same store.
OpenStore = Callable[[], Store]
