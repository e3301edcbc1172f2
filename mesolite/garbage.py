"""How often a process that keeps books looks for garbage that refers to itself.

Python frees most things when the last reference goes; its collector is there for the rest, and looks through every object that
might be part of a cycle, with everything else at a standstill. Books are many such objects and no garbage.

A master's are millions: by Python's defaults, 10,000 agents that come back cost a quarter of a second of looking, and 50,000 cost
3.9 s, one and a half of them at a stretch, in which the thread that renews the lease stands still too. A dispatcher of Celery's
tasks makes many for each, and keeps them until it has ended: with these numbers it did 5 % more (medians of 12 rounds in turn).
"""

import gc
from typing import Final

#: A master's objects more than at the last look, before the newest are looked at: 10 ms.
MASTERS_YOUNG: Final = 50_000
#: A dispatcher's: fewer, since it shares its machine's memory with what runs for it.
DISPATCHERS_YOUNG: Final = 10_000
#: So many looks at the newest before those that stayed are looked at again, and as often again before all are.
MIDDLE: Final = 20
OLD: Final = 100


def look_for_garbage_seldom(young: int) -> None:
    """Set this process's collector up for books that live long.

    Args:
        young: How many objects more than at the last look there must be before the newest are looked at.
    """
    # What is imported is not looked at any more.
    gc.freeze()
    gc.set_threshold(young, MIDDLE, OLD)
