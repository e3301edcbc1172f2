"""Dask bag: the same steps by its own operations, on its scheduler of processes with two workers."""

# Dask has few types.
# pyright: reportMissingImports=false, reportUnknownLambdaType=false, reportAttributeAccessIssue=false
# pyright: reportPrivateImportUsage=false
# mypy: disable-error-code="no-untyped-call"

from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask.bag

from .rdd_conversation import RddEngine, serve
from .rdd_programs import SMALL


def word_count(context: Any, place: str) -> Any:
    """Count words by `foldby`, which combines within partitions first, as `reduceByKey` does."""
    del context
    words = dask.bag.read_text(sorted(map(str, Path(place).iterdir()))).map(str.split).flatten()
    counted = words.map(lambda word: (word, 1)).foldby(
        lambda pair: pair[0], lambda total, pair: total + pair[1], 0, lambda a, b: a + b, 0, split_every=SMALL
    )
    found = counted.compute()
    return [len(found), sum(count for _, count in found)]


class DaskBag(RddEngine):
    """Dask bag."""

    version = f"dask {version('dask')}"
    setting = 'scheduler="processes", 2 workers'
    programs: ClassVar = {"word_count": word_count}

    def open(self) -> Any:
        """See `RddEngine`."""
        dask.config.set(scheduler="processes", num_workers=2)
        return None

    def first(self, context: Any) -> None:
        """See `RddEngine`."""
        assert dask.bag.range(100, 2).count().compute() == 100

    def close(self, context: Any) -> None:
        """See `RddEngine`."""


if __name__ == "__main__":
    serve(DaskBag())
