"""Results as files."""

from typing import Final, TypeVar

from mesolite.executors.sparklite.saving import SaveLines, SavePickled

from .base import RddBase
from .input_files import local_path
from .output_directory import saved_in

T = TypeVar("T")

#: Endings of files by Hadoop's codecs that Python knows as well.
_SUFFIXES: Final = {
    "org.apache.hadoop.io.compress.GzipCodec": ".gz",
    "org.apache.hadoop.io.compress.BZip2Codec": ".bz2",
    "org.apache.hadoop.io.compress.DefaultCodec": ".deflate",
    "org.apache.hadoop.io.compress.DeflateCodec": ".deflate",
}
#: Of a batch size of 0, which leaves it open.
_PICKLED_TOGETHER: Final = 1024


class Saving(RddBase[T]):
    """Part of `RDD`."""

    def saveAsTextFile(self, path: str, compressionCodecClass: str | None = None) -> None:
        """Write a directory with a file of lines for each partition; what is no text is written as `str` shows it.

        Args:
            path: A directory that is not there yet, which the driver and all workers can see.
            compressionCodecClass: Hadoop's name of a codec: gzip, bzip2 or deflate.

        Raises:
            ValueError: There is no such codec.
            SparkError: The directory is there.
        """
        suffix = "" if compressionCodecClass is None else _SUFFIXES.get(compressionCodecClass)
        if suffix is None:
            raise ValueError(f"unknown codec {compressionCodecClass}: there are {', '.join(_SUFFIXES)}")
        directory = local_path(path)
        saved_in(directory, lambda: self._run(SaveLines(directory, suffix)))

    def saveAsPickleFile(self, path: str, batchSize: int = 10) -> None:
        """Write a directory with a file of pickled items for each partition, for `SparkContext.pickleFile`.

        Args:
            path: A directory that is not there yet, which the driver and all workers can see.
            batchSize: Items that are pickled together; 0: as sparklite thinks best.

        Raises:
            SparkError: The directory is there.
        """
        directory = local_path(path)
        batch = batchSize if batchSize > 0 else _PICKLED_TOGETHER
        saved_in(directory, lambda: self._run(SavePickled(directory, batch)))
