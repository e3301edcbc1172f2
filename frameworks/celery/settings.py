"""What one dispatcher is told by its command line."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..futures.connection import ClusterPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """One dispatcher."""

    #: As `celery -A` takes it.
    app: str
    #: Its next life goes on under the same name.
    name: str
    place: ClusterPlace
    #: Folders that come first on `sys.path` in containers.
    path: tuple[str, ...]
    #: The most tasks at once.
    concurrency: int
    min_workers: int = 0
    #: How long warm workers may be too many; None: as warm_settings.py says.
    idle_s: float | None = None
    #: After which the container of a warm worker is replaced; None: never.
    max_age_s: float | None = None
    #: Workers that share a container and its limits.
    workers_per_container: int = 1
    #: What tasks are given that say nothing, by the names of options.py.
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Rules of a file, as options.py reads them.
    routes: object = None
    routes_where: str = ""
    #: When it ends, tasks run on for its next life to hear of.
    leave_running: bool = False
    #: Appear in the cluster's Flower.
    flower: bool = True
    #: New tasks a second that are shown there; None: all.
    flower_tasks_per_s: float | None = 200.0


def celery_version() -> str:
    """Celery's version here."""
    return importlib.metadata.version("celery")
