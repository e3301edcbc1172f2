"""What needs much: CPU for images, memory for the report that somebody wrote in a hurry."""

import hashlib
from typing import Any

from celery import group

from .celery_app import app

#: Points whose value stays bounded for so many steps count as inside.
STEPS = 60


@app.task(name="shop.thumbnail", mesolite={"cpus": 0.5, "mem_mib": 128}, soft_time_limit=30, time_limit=60)
def thumbnail(number: int, width: int = 48) -> str:
    """Draw an image (of the Mandelbrot set, since a shop's photographs would need a library), and return its digest."""
    height = width * 2 // 3
    zoom = 1 / (1 + number)
    rows = [
        bytes(
            255 - _steps(complex(-0.745 + 2 * zoom * (x / width - 0.5), 0.11 + zoom * (y / height - 0.5)))
            for x in range(width)
        )
        for y in range(height)
    ]
    return hashlib.sha256(b"".join(rows)).hexdigest()[:12]


def thumbnails(count: int) -> Any:
    """Draw many at once."""
    return group(thumbnail.s(number) for number in range(count)).apply_async()


@app.task(name="shop.greedy_report", mesolite={"cpus": 0.5, "mem_mib": 160})
def greedy_report(mib: int) -> int:
    """Hold so much memory at once, written to, as a report does that reads a whole table."""
    held = [bytearray(b"x" * 2**20) for _ in range(mib)]
    return sum(len(each) for each in held) // 2**20


def _steps(point: complex) -> int:
    value = 0j
    for step in range(STEPS):
        value = value * value + point
        if abs(value) > 2:
            return step
    return STEPS
