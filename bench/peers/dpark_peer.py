"""dpark: Spark's RDDs in Python, in two processes of this machine."""

# pyright: reportMissingImports=false

import sys
from importlib.metadata import version
from typing import Any, ClassVar

from .rdd_conversation import RddEngine, serve
from .rdd_programs import word_count


class DPark(RddEngine):
    """dpark."""

    version = f"dpark {version('dpark')}"
    setting = "-m process -p 2"
    programs: ClassVar = {"word_count": word_count}

    def open(self) -> Any:
        """See `RddEngine`."""
        sys.argv = [sys.argv[0], "-m", "process", "-p", "2", "-q"]
        import dpark

        return dpark.DparkContext()

    def first(self, context: Any) -> None:
        """See `RddEngine`."""
        assert context.parallelize(list(range(100)), 2).count() == 100


if __name__ == "__main__":
    serve(DPark())
