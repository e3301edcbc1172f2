"""How often a master's process looks for garbage that refers to itself.

Python frees most things when the last reference goes; its collector is there for the rest, and looks through every object that
might be part of a cycle, with everything else at a standstill. A master's books are millions of such objects and no garbage.
By Python's defaults, 10,000 agents that come back cost a quarter of a second of looking, and 50,000 cost 3.9 s, one and a half of
them at a stretch, in which the thread that renews the lease stands still too.
"""

import gc
from typing import Final

#: So many objects more than at the last look, before the newest are looked at: 10 ms.
YOUNG: Final = 50_000
#: So many looks at the newest before those that stayed are looked at again, and as often again before all are.
MIDDLE: Final = 20
OLD: Final = 100


def look_for_garbage_seldom() -> None:
    """Set this process's collector up for large books that live long."""
    # What is imported is not looked at any more.
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
