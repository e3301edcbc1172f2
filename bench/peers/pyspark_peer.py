"""PySpark as it comes: local[2], its defaults."""

# pyright: reportMissingImports=false

import shutil
from typing import Any

import pyspark

from .conversation import folder
from .rdd_conversation import RddEngine, serve


class PySpark(RddEngine):
    """PySpark."""

    version = f"PySpark {pyspark.__version__}"
    setting = "local[2], default settings, 1 GiB of heap, 512 MiB before Python workers spill"

    def open(self) -> Any:
        """See `RddEngine`."""
        if shutil.which("java") is None:
            raise SystemExit("PySpark needs Java: install a JRE of version 17 or later")
        conf = pyspark.SparkConf().setMaster("local[2]").setAppName("bench").set("spark.local.dir", str(folder()))
        conf.set("spark.ui.enabled", "false").set("spark.ui.showConsoleProgress", "false")
        context = pyspark.SparkContext(conf=conf)
        context.setLogLevel("ERROR")
        return context


if __name__ == "__main__":
    serve(PySpark())
