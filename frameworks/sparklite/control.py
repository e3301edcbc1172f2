"""Control over jobs: groups, tags and properties of the thread that submits them, cancelling, and logs."""

import logging
from abc import abstractmethod
from typing import Final

from .conf import SparkConf
from .context_base import ContextBase
from .job_scheduler import JobScheduler
from .jobs import DESCRIPTION, GROUP, INTERRUPT, TAGS
from .properties import LocalProperties

#: Spark's levels and what they are in Python's logging.
_LEVELS: Final = {
    "ALL": logging.NOTSET + 1,
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 1,
}


class Control(ContextBase):
    """Part of `SparkContext`."""

    def __init__(self, conf: SparkConf) -> None:
        super().__init__(conf)
        self._properties: Final = LocalProperties()

    @property
    @abstractmethod
    def _scheduler(self) -> JobScheduler:
        """What runs jobs."""

    def setLocalProperty(self, key: str, value: str | None) -> None:
        """Set a property that affects jobs submitted from this thread; None takes it away."""
        self._properties.set(key, value)

    def getLocalProperty(self, key: str) -> str | None:
        """Get a property set in this thread, or None if it is missing."""
        return self._properties.get(key)

    def setJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> None:
        """Assign a group id to all jobs started by this thread until it is set to another, or cleared."""
        self._properties.set(GROUP, groupId)
        self._properties.set(DESCRIPTION, description)
        self._properties.set(INTERRUPT, str(interruptOnCancel).lower())

    def setJobDescription(self, value: str | None) -> None:
        """Set a human readable description of the jobs of this thread."""
        self._properties.set(DESCRIPTION, value)

    def setInterruptOnCancel(self, interruptOnCancel: bool) -> None:
        """Kept for programs that say it: tasks of a cancelled job are always ended."""
        self._properties.set(INTERRUPT, str(interruptOnCancel).lower())

    def addJobTag(self, tag: str) -> None:
        """Add a tag to all jobs started by this thread.

        Raises:
            ValueError: It is empty, or holds a comma.
        """
        _check_tag(tag)
        self._properties.set(TAGS, ",".join(sorted({*self.getJobTags(), tag})))

    def removeJobTag(self, tag: str) -> None:
        """Remove a tag that was added by this thread. Raises as `addJobTag`."""
        _check_tag(tag)
        self._properties.set(TAGS, ",".join(sorted(self.getJobTags() - {tag})) or None)

    def getJobTags(self) -> set[str]:
        """Get the tags of this thread."""
        return set(filter(None, (self._properties.get(TAGS) or "").split(",")))

    def clearJobTags(self) -> None:
        """Remove all tags of this thread."""
        self._properties.set(TAGS, None)

    def cancelJobGroup(self, groupId: str) -> None:
        """Cancel active jobs of a group."""
        self._scheduler.cancel_where(lambda job: job.group == groupId, f"job group {groupId!r} was cancelled")

    def cancelJobsWithTag(self, tag: str) -> None:
        """Cancel active jobs that have a tag. Raises as `addJobTag`."""
        _check_tag(tag)
        self._scheduler.cancel_where(lambda job: tag in job.tags, f"jobs tagged {tag!r} were cancelled")

    def cancelAllJobs(self) -> None:
        """Cancel all jobs that have been scheduled or are running."""
        self._scheduler.cancel_where(lambda job: True, "all jobs of the context were cancelled")

    def setLogLevel(self, logLevel: str) -> None:
        """Control the log level of Mesolite's own logs in this process.

        Raises:
            ValueError: There is no such level.
        """
        level = _LEVELS.get(logLevel.upper())
        if level is None:
            raise ValueError(f"Supplied level {logLevel} did not match one of: {','.join(sorted(_LEVELS))}")
        logging.getLogger("mesolite").setLevel(level)


def _check_tag(tag: str) -> None:
    if not tag:
        raise ValueError("Spark job tag cannot be an empty string.")
    if "," in tag:
        raise ValueError("Spark job tag cannot contain ','.")
