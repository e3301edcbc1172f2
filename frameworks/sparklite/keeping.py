"""Keeping an RDD: on the workers (`cache`, `persist`), or in files (`checkpoint`)."""

from typing import TYPE_CHECKING, TypeVar

from mesolite.executors.sparklite.storage_level import StorageLevel

from .base import RddBase
from .errors import SparkError

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")


class Keeping(RddBase[T]):
    """Part of `RDD`."""

    def cache(self) -> "RDD[T]":
        """Keep it in memory (and on the agents' disks) once it has been computed."""
        return self.persist()

    def persist(self, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> "RDD[T]":
        """Keep it once it has been computed.

        Raises:
            SparkError: It has another level already.
        """
        node = self._lineage.node
        level = None if storageLevel == StorageLevel.NONE else storageLevel
        if node.level is not None and node.level != level:
            raise SparkError(
                "Cannot change storage level of an RDD after it was already assigned a level: unpersist it first"
            )
        node.level = level
        return self._self()

    def unpersist(self, blocking: bool = False) -> "RDD[T]":
        """Keep it no longer, and drop what is kept. Nobody waits for that, whatever `blocking` says."""
        if self._lineage.node.level is not None:
            self._lineage.node.level = None
            self.ctx.unpersist(self.id())
        return self._self()

    @property
    def is_cached(self) -> bool:
        """Whether it is to be kept on the workers."""
        return self._lineage.node.level is not None

    def getStorageLevel(self) -> StorageLevel:
        """How it is kept; `StorageLevel.NONE` where it is not."""
        return self._lineage.node.level or StorageLevel.NONE

    def checkpoint(self) -> None:
        """Save it to files after the next job that needs it, and read it from there ever after (`SparkContext.setCheckpointDir`).

        The partitions are computed once more for that: cache it too.

        Raises:
            SparkError: There is no directory for it.
        """
        self.ctx.checkpoints.mark(self._lineage)

    def localCheckpoint(self) -> None:
        """Keep it on the workers from the next job on, instead of in files.

        Unlike Spark's this does not cut the lineage, so that what is lost with an agent can be computed again.
        """
        self._locally = True
        self.ctx.checkpoints.mark_local(self._lineage)

    def isCheckpointed(self) -> bool:
        """Whether it has been saved, or kept by `localCheckpoint`."""
        return self._lineage.checkpointed

    @property
    def is_checkpointed(self) -> bool:
        """Whether `checkpoint` or `localCheckpoint` was called."""
        return self._locally or self._lineage.checkpoint_path is not None

    def isLocallyCheckpointed(self) -> bool:
        """Whether `localCheckpoint` was called."""
        return self._locally

    def getCheckpointFile(self) -> str | None:
        """Where it has been saved; None where it has not."""
        return f"file:{self._lineage.checkpoint_path}" if self._lineage.checkpointed and not self._locally else None

    #: `localCheckpoint` was called.
    _locally = False
