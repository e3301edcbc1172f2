"""Where RDDs begin: collections, numbers, files, and others put together."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from mesolite.executors.sparklite.files import ReadRecords, ReadWhole
from mesolite.executors.sparklite.lines import ReadLines
from mesolite.executors.sparklite.nodes import Items, Numbers, ReadBy
from mesolite.executors.sparklite.saving import ReadPickled

from ..futures.pickling import dumps
from . import input_files
from .call_site import call_site
from .combining import united
from .context_base import ContextBase
from .errors import SparkError
from .input_files import InputFile
from .lineage import Lineage
from .rdd import RDD

#: Items of a collection that stay together: those of PySpark's serializer, which decide what is in which partition.
_BATCH_ITEMS: Final = 1024


class Reading(ContextBase):
    """Part of `SparkContext`."""

    def parallelize(self, c: Iterable[Any], numSlices: int | None = None) -> RDD[Any]:
        """Make an RDD of a collection; its items are pickled now, and later changes to them do not count.

        Args:
            c: The items. A `range` is not made a list of.
            numSlices: How many partitions; None: `defaultParallelism`.

        Raises:
            ValueError: There would be no partition.
        """
        slices = self.defaultParallelism if numSlices is None else int(numSlices)
        if slices < 1:
            raise ValueError("Positive number of partitions required")
        if isinstance(c, range):
            numbers = _parts_of(c, slices)
            return self._leaf(Numbers(self.next_rdd_id(), slices), numbers)
        items = list(c)
        cuts = _cuts(len(items), slices)
        pickles = [dumps(items[begin:end]) for begin, end in pairwise(cuts)]
        return self._leaf(Items(self.next_rdd_id(), slices), pickles)

    def range(self, start: int, end: int | None = None, step: int = 1, numSlices: int | None = None) -> RDD[int]:
        """Make an RDD of numbers as `range` does."""
        return self.parallelize(range(start) if end is None else range(start, end, step), numSlices)

    def emptyRDD(self) -> RDD[Any]:
        """Make an RDD that has no partitions."""
        return self._leaf(Items(self.next_rdd_id(), 0), [])

    def union(self, rdds: Sequence[RDD[Any]]) -> RDD[Any]:
        """Make an RDD of all items of several.

        Raises:
            ValueError: There is none.
        """
        if not rdds:
            raise ValueError("union needs at least one RDD; sc.emptyRDD() has no items")
        return united(list(rdds))

    def textFile(self, name: str, minPartitions: int | None = None, use_unicode: bool = True) -> RDD[str]:
        r"""Make an RDD of the lines of text files.

        Lines end with \n, \r\n or \r, as Hadoop has it. Files whose names end with .gz, .bz2 or .deflate are uncompressed, and
        are one partition each.

        Args:
            name: A path; several with commas between them; patterns; directories. See `input_files`.
            minPartitions: About so many partitions at least; None: two, or one where there is one worker only.
            use_unicode: Decode lines as UTF-8; with False they stay bytes.
        """
        wanted = minPartitions or self.defaultMinPartitions
        return self._files(name, ReadLines(use_unicode), lambda files: input_files.pieces_of(files, wanted))

    def wholeTextFiles(
        self, path: str, minPartitions: int | None = None, use_unicode: bool = True
    ) -> RDD[tuple[str, str]]:
        """Make an RDD of (address, text) of each file; small files together in a partition."""
        wanted = minPartitions or self.defaultMinPartitions
        read = ReadWhole("str" if use_unicode else "bytes")
        return self._files(path, read, lambda files: input_files.texts_together(files, wanted), nested=True)

    def binaryFiles(self, path: str, minPartitions: int | None = None) -> RDD[tuple[str, bytes]]:
        """Make an RDD of (address, bytes) of each file; small files together in a partition."""
        wanted = max(self.defaultParallelism, minPartitions or self.defaultMinPartitions)
        return self._files(path, ReadWhole(), lambda files: input_files.binaries_together(files, wanted), nested=True)

    def binaryRecords(self, path: str, recordLength: int) -> RDD[bytes]:
        """Make an RDD of records that have so many bytes each.

        Raises:
            ValueError: The length is not positive.
        """
        if recordLength < 1:
            raise ValueError(f"records have at least one byte, not {recordLength}")
        read = ReadRecords(recordLength)
        return self._files(path, read, lambda files: input_files.records_of(files, recordLength))

    def pickleFile(self, name: str, minPartitions: int | None = None) -> RDD[Any]:
        """Make an RDD of what `saveAsPickleFile` saved: a partition for each file, however many are asked for.

        Unpickling runs code: read only what you trust.
        """
        return self._files(name, ReadPickled(), input_files.one_by_one)

    def setCheckpointDir(self, dirName: str) -> None:
        """Save checkpoints under a directory that the driver and all workers can see."""
        self.checkpoints.set_directory(dirName)

    def getCheckpointDir(self) -> str | None:
        """Where checkpoints go; None where that was not said."""
        directory = self.checkpoints.directory
        return None if directory is None else f"file:{directory}"

    def _files(
        self,
        name: str,
        read: Callable[[Any], Iterable[Any]],
        part: Callable[[list[InputFile]], Sequence[Any]],
        *,
        nested: bool = False,
    ) -> RDD[Any]:
        """An RDD that reads files. Those that are not there are an error when something needs the RDD, as with Spark."""
        trouble: SparkError | None = None
        inputs: Sequence[Any] = ()
        try:
            inputs = part(input_files.files_of(name, nested=nested))
        except SparkError as error:
            trouble = error
        made = self._leaf(ReadBy(self.next_rdd_id(), len(inputs), read), inputs)
        made.lineage.label, made.lineage.trouble = name, trouble
        return made

    def _leaf(self, node: Items | Numbers | ReadBy, inputs: Sequence[Any]) -> RDD[Any]:
        return self.new_rdd(Lineage(node, input_of=inputs.__getitem__, name=call_site()), None)


def _cuts(size: int, slices: int) -> list[int]:
    """Where the partitions of a list begin and end: between batches, which are small enough to go round."""
    batch = max(1, min(size // slices, _BATCH_ITEMS))
    batches = -(-size // batch)
    return [min(batches * place // slices * batch, size) for place in range(slices + 1)]


def _parts_of(numbers: range, slices: int) -> list[tuple[int, int, int]]:
    """A range in parts: (start, stop, step) of each."""
    starts = [numbers.start + len(numbers) * place // slices * numbers.step for place in range(slices + 1)]
    return [(begin, end, numbers.step) for begin, end in pairwise(starts)]
