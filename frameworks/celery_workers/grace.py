"""How long a worker may take to end."""

from .group import Group
from .settings import SOFT_SHUTDOWN_MARGIN_MS


def grace_ms(group: Group, soft_shutdown_s: float) -> int:
    """Return the kill grace of a group's workers: what it says, and no less than a soft shutdown of the application takes.

    Celery's own is one where the workers' `REMAP_SIGTERM` says so; else SIGTERM waits for tasks as long as they take, and the
    grace is all that bounds it.
    """
    soft_ms = int(soft_shutdown_s * 1000) + SOFT_SHUTDOWN_MARGIN_MS if soft_shutdown_s > 0 else 0
    return max(group.drain_grace_ms, soft_ms)
