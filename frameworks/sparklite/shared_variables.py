"""What a context's user shares with all tasks: `broadcast`, `accumulator`, `addFile`, `addPyFile`."""

from abc import abstractmethod
from typing import TypeVar

from mesolite.executors.sparklite.accumulators import Accumulator, AccumulatorParam
from mesolite.executors.sparklite.broadcast import Broadcast

from .context_base import ContextBase
from .shared_data import SharedData

T = TypeVar("T")


class SharedVariables(ContextBase):
    """Part of `SparkContext`."""

    @property
    @abstractmethod
    def _shared(self) -> SharedData:
        """What is shared."""

    def broadcast(self, value: T) -> Broadcast[T]:
        """Put a value where all tasks can read it; each agent fetches it once.

        Raises:
            SparkError: It cannot be pickled, or no agent's store takes it.
        """
        return self._shared.broadcasts.new(value)

    def accumulator(self, value: T, accum_param: AccumulatorParam[T] | None = None) -> Accumulator[T]:
        """Make a variable that tasks can add to, and the driver can read.

        Args:
            value: What it begins with.
            accum_param: How values are added; left out for numbers.

        Raises:
            TypeError: There is no such param, and the value is no number.
        """
        return self._shared.accumulators.new(value, accum_param)

    def addFile(self, path: str, recursive: bool = False) -> None:
        """Give a file of this machine to all tasks that follow: `SparkFiles.get(NAME)` is its path there.

        Raises:
            SparkError: It is not there, or a directory without `recursive`.
        """
        self._shared.files.add(path, recursive)

    def addPyFile(self, path: str) -> None:
        """Give a module (.py), or a .zip or .egg of modules, to all tasks that follow; they and the driver can import it.

        Raises:
            SparkError: It is not there, or holds no modules.
        """
        self._shared.files.add_py(path)

    @property
    def listFiles(self) -> list[str]:
        """Where the added files came from."""
        return self._shared.files.listed
