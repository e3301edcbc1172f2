"""Elastic workers: whole `celery worker` processes as tasks, more as queues grow, fewer as they rest (docs/celery.md)."""

from .group import Group, WorkerShape
from .running import GroupRun
from .status import GroupStatus, WorkerStatus

__all__ = ["Group", "GroupRun", "GroupStatus", "WorkerShape", "WorkerStatus"]
