"""Has redis-py take a primary that cannot write yet for one that is away, so that results are stored a moment later.

A primary that Sentinels have just elected refuses writes until a replica follows it, where `min-replicas-to-write` asks for
that: NOREPLICAS. To redis-py this is an answer like any other, and Celery's backend does not try again after an answer: the
result of a task that ends at this moment is lost, and so is the chord that waits for it. Behind a connection that broke both do
try again. redis-py itself does the same with READONLY, which a primary that was replaced says.
"""

import sys
from typing import Any, Final

_REFUSAL: Final = "NOREPLICAS"
#: Where redis-py keeps which exception stands for which word: since version 5, and before.
_PARSERS: Final = ("redis._parsers.base", "redis.connection")


def expect_failovers() -> bool:
    """Do so in this process, where redis-py is loaded; False where it is not, or keeps this elsewhere."""
    errors: Any = sys.modules.get("redis.exceptions")
    if errors is None:
        return False
    for name in _PARSERS:
        parser: Any = getattr(sys.modules.get(name), "BaseParser", None)
        classes: Any = getattr(parser, "EXCEPTION_CLASSES", None)
        if isinstance(classes, dict):
            classes.setdefault(_REFUSAL, errors.ConnectionError)
            return True
    return False
