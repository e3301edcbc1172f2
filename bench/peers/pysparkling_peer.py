"""pysparkling: PySpark's RDDs in plain Python, with a pool of two processes."""

# pyright: reportMissingImports=false

import pickle
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from typing import Any, ClassVar

import cloudpickle
import pysparkling

from .rdd_conversation import RddEngine, serve
from .rdd_programs import word_count


class Pysparkling(RddEngine):
    """pysparkling."""

    version = f"pysparkling {version('pysparkling')}"
    setting = "ProcessPoolExecutor(2), cloudpickle"
    programs: ClassVar = {"word_count": word_count}

    def open(self) -> Any:
        """See `RddEngine`."""
        self._pool = ProcessPoolExecutor(2)
        return pysparkling.Context(self._pool, serializer=cloudpickle.dumps, deserializer=pickle.loads)

    def close(self, context: Any) -> None:
        """See `RddEngine`."""
        del context
        self._pool.shutdown()


if __name__ == "__main__":
    serve(Pysparkling())
