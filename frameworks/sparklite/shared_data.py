"""What a context shares with all tasks: broadcast values, added files, accumulators. Made with the context, closed with it."""

import logging
import tempfile
from pathlib import Path
from typing import Final

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.task_data import TaskDone

from .accumulators import AccumulatorRegistry
from .added_files import FileRegistry
from .broadcasts import BroadcastRegistry, DriverStore
from .errors import SparkError
from .task_specs import Shared

_log: Final = logging.getLogger(__name__)


class SharedData:
    """See `task_specs.Sharing`.

    Args:
        store: Where the driver puts what tasks fetch.
        app_id: The application's, as it stands in names of blocks.
    """

    def __init__(self, store: DriverStore, app_id: str) -> None:
        self._directory: Final = tempfile.TemporaryDirectory(prefix="sparklite-driver-", ignore_cleanup_errors=True)
        directory = Path(self._directory.name)
        self.accumulators: Final = AccumulatorRegistry()
        self.broadcasts: Final = BroadcastRegistry(store, app_id, directory)
        self.files: Final = FileRegistry(store, app_id, directory / "files")

    def shared(self) -> Shared:
        """See `Sharing`."""
        return Shared(
            broadcasts=self.broadcasts.moved(),
            files=self.files.blocks(),
            py_files=self.files.py_files(),
            dropped_broadcasts=self.broadcasts.dropped(),
        )

    def accepted(self, done: TaskDone) -> None:
        """See `Sharing`."""
        try:
            self.accumulators.merge(done.accumulators)
        # The param is the user's; jobs of others run on this thread.
        except Exception:  # noqa: BLE001
            _log.exception("the additions of a task to an accumulator cannot be added, and are left out")

    def copied(self, done: TaskDone) -> None:
        """See `Sharing`."""
        if done.copied:
            self.broadcasts.copied(done.copied)

    def lost(self, block: StoredBlock) -> None:
        """See `Sharing`."""
        try:
            if self.broadcasts.renew(block) or self.files.renew(block):
                _log.info("block %s was lost, and put anew", block.block_id)
        except SparkError as error:
            # The task is tried again, and fails in the end with what it could not read.
            _log.warning("block %s was lost, and cannot be put anew: %s", block.block_id, error)

    def close(self) -> None:
        """The context was stopped."""
        self.files.close()
        self._directory.cleanup()
