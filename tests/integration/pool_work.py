"""What calls of the pool's tests run in workers."""

import os
from pathlib import Path

from tests.waiting import eventually


def twice(number: int) -> int:
    """Something short."""
    return 2 * number


def mark(path: str, number: int) -> int:
    """Leave a line that says that this call began: one write, so that lines of many workers do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    return number


def mark_and_wait(path: str, number: int, until: str) -> int:
    """Leave a line, and run until a file is there."""
    mark(path, number)
    eventually(Path(until).exists, within_s=120)
    return number


def length(data: bytes) -> int:
    """Something with large arguments."""
    return len(data)


def many(size: int) -> bytes:
    """Something with a large result."""
    return bytes(size)


def fail(message: str) -> None:
    """Something that goes wrong."""
    raise ValueError(message)
