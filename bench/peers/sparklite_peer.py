"""sparklite on a cluster that runs: two workers of one CPU each."""

import os
import platform
from typing import Any

from mesolite.frameworks.sparklite import SparkConf, SparkContext

from .rdd_conversation import RddEngine, serve


class Ours(RddEngine):
    """sparklite."""

    version = f"Python {platform.python_version()}"
    setting = "2 workers of 1 CPU in the process containerizer, 512 MiB before tasks spill"

    def open(self) -> Any:
        """See `RddEngine`."""
        conf = SparkConf().setMaster(os.environ["BENCH_MASTER"]).setAppName("bench").set("spark.cores.max", "2")
        return SparkContext(conf=conf)


if __name__ == "__main__":
    serve(Ours())
