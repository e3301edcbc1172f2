"""What goes into which partition: PySpark's `portable_hash`.

Python's own hash of text differs from process to process unless PYTHONHASHSEED is set. sparklite's executors run with
PYTHONHASHSEED=0, as Spark's do, so that all workers agree and partitions hold what PySpark's hold. The driver does not: what
goes where is for workers to say.
"""

import sys
from typing import Any


def portable_hash(value: Any) -> int:
    """Hash a key; None and tuples that hold it are the same everywhere.

    Raises:
        TypeError: It cannot be hashed.
    """
    if value is None:
        return 0
    if isinstance(value, tuple):
        mixed = 0x345678
        for each in value:
            mixed = ((mixed ^ portable_hash(each)) * 1000003) & sys.maxsize
        mixed ^= len(value)
        return -2 if mixed == -1 else mixed
    return hash(value)
