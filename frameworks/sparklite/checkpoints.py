"""Checkpoints: RDDs that are saved to files after the first job that needs them, and read from there ever after.

That cuts the lineage: what came before an RDD is not needed any more. Iterative programs use it so that a lineage does not grow
for ever.
"""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesolite.executors.sparklite.files import FilePiece
from mesolite.executors.sparklite.nodes import ReadBy
from mesolite.executors.sparklite.saving import ReadPickled, SavePickled
from mesolite.executors.sparklite.storage_level import StorageLevel

from .errors import SparkError
from .input_files import local_path
from .lineage import Lineage
from .output_directory import saved_in

if TYPE_CHECKING:
    from .context_base import ContextBase

#: Items that are pickled together.
_BATCH: Final = 1024


class Checkpoints:
    """All checkpoints of a context. For use from several threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        #: Marked and not saved yet.
        self._marked: Final[set[Lineage]] = set()
        #: Of this context alone.
        self.directory: Path | None = None

    def set_directory(self, name: str) -> None:
        """Save under a new directory inside this one from now on.

        Raises:
            SparkError: It is in a store that sparklite does not write.
        """
        directory = Path(local_path(name)) / str(uuid.uuid4())
        directory.mkdir(parents=True)
        self.directory = directory

    def mark(self, lineage: Lineage) -> None:
        """Save an RDD after the next job that needs it.

        Raises:
            SparkError: Nobody said where.
        """
        if self.directory is None:
            raise SparkError(
                "Checkpoint directory has not been set in the SparkContext: call sc.setCheckpointDir first"
            )
        with self._lock:
            if lineage.checkpoint_path is None:
                lineage.checkpoint_path = str(self.directory / f"rdd-{lineage.node.rdd_id}")
                self._marked.add(lineage)

    def mark_local(self, lineage: Lineage) -> None:
        """Keep an RDD on the workers from the next job on, as `persist`; its lineage stays, so what is lost can be made again."""
        if lineage.node.level is None:
            lineage.node.level = StorageLevel.MEMORY_AND_DISK
        with self._lock:
            self._marked.add(lineage)

    def save_marked(self, last: Lineage, ctx: "ContextBase") -> None:
        """A job has computed an RDD: save those that it needed and that are marked."""
        if not self._marked:
            return
        for lineage in _marked_before(last, self._marked):
            with self._lock:
                if lineage not in self._marked:
                    continue
                self._marked.discard(lineage)
            try:
                if lineage.checkpoint_path is not None:
                    self._save(lineage, lineage.checkpoint_path, ctx)
            except BaseException:
                # The next job that needs it tries again.
                self._marked.add(lineage)
                raise
            lineage.checkpointed = True

    def _save(self, lineage: Lineage, path: str, ctx: "ContextBase") -> None:
        partitions = lineage.node.partitions
        save, wanted = SavePickled(path, _BATCH), tuple(range(partitions))
        names = saved_in(path, lambda: ctx.run(lineage, save, wanted, f"checkpoint of {lineage.name}"))
        pieces = [FilePiece(file, 0, Path(file).stat().st_size) for file in (f"{path}/{name}" for name in names)]
        node = ReadBy(lineage.node.rdd_id, partitions, ReadPickled())
        node.level = lineage.node.level
        lineage.node.saved = node
        lineage.input_of = pieces.__getitem__
        lineage.node, lineage.shuffle, lineage.parents = node, None, ()


def _marked_before(last: Lineage, marked: set[Lineage]) -> Iterator[Lineage]:
    """The marked RDDs that a job needed; nothing beyond them, because it is not needed any more."""
    seen: set[Lineage] = set()
    waiting = [last]
    while waiting:
        lineage = waiting.pop()
        if lineage in seen:
            continue
        seen.add(lineage)
        if lineage in marked:
            yield lineage
        else:
            waiting += lineage.parents
            if lineage.shuffle is not None:
                waiting.append(lineage.shuffle.parent)
