"""What a context's settings mean for its parts: names and defaults of Spark's configuration, read once."""

import re
import sys
from typing import Final

from mesolite.errors import ConfigError
from mesolite.executors.python.blocks import MAX_BLOCK_BYTES

from ..futures.options import CallOptions
from ..futures.settings import IDLE_MS
from .cluster_backend import ClusterSettings
from .conf import SparkConf
from .conf_values import number, size_bytes, time_ms, truth, whole, whole_or_none
from .dag.settings import DagSettings
from .task_specs import TaskLimits

#: Tasks that an executor is given beyond its workers, where they are short: the way to the driver and back takes longer than one
#: of a millisecond. They wait in the driver's engine, which sends 20 ms of work ahead.
AHEAD: Final = 4
_MEBIBYTE: Final = 1024 * 1024
_EXECUTOR_ENV: Final = "spark.executorEnv."
#: How much of a worker's memory a task may fill before it spills, where spark.python.worker.memory allows more: the interpreter,
#: what functions hold, and the copies that pickling makes need the rest.
SPILL_SHARE: Final = 0.5
#: Frameworks' names and ids: what is no letter, digit, `-` or `_` of an application's name becomes `-`.
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME: Final = 60


def dag_settings(conf: SparkConf, max_failures: int = 4) -> DagSettings:
    """Settings of the DAG scheduler.

    Args:
        conf: The context's.
        max_failures: Where spark.task.maxFailures is not set.

    Raises:
        ConfigError: A value makes no sense. So do all functions here.
    """
    mode = (conf.get("spark.scheduler.mode") or "FIFO").upper()
    if mode not in ("FIFO", "FAIR"):
        raise ConfigError(f"spark.scheduler.mode is {mode!r}; FIFO or FAIR")
    return DagSettings(
        max_failures=whole(conf, "spark.task.maxFailures", max_failures),
        max_stage_attempts=whole(conf, "spark.stage.maxConsecutiveAttempts", 4),
        locality_wait_ms=time_ms(conf, "spark.locality.wait", "3s"),
        fair=mode == "FAIR",
        speculation=truth(conf, "spark.speculation", False),
        speculation_interval_ms=time_ms(conf, "spark.speculation.interval", "100ms"),
        speculation_multiplier=number(conf, "spark.speculation.multiplier", 1.5),
        speculation_quantile=number(conf, "spark.speculation.quantile", 0.75),
        speculation_min_ms=time_ms(conf, "spark.speculation.minTaskRuntime", "100ms"),
        ahead=AHEAD,
    )


def task_limits(conf: SparkConf, memory_limit_bytes: int) -> TaskLimits:
    """What tasks may take.

    Args:
        conf: The context's.
        memory_limit_bytes: Of each worker; 0: it has none.
    """
    memory_bytes = size_bytes(conf, "spark.python.worker.memory", "512m", "m")
    if memory_limit_bytes:
        memory_bytes = min(memory_bytes, int(memory_limit_bytes * SPILL_SHARE))
    return TaskLimits(
        memory_bytes=memory_bytes,
        memory_limit_bytes=memory_limit_bytes,
        compress_kept=truth(conf, "spark.rdd.compress", False),
    )


def max_result_bytes(conf: SparkConf) -> int:
    """What the results of one job may have in all; 0 in the configuration: as much as there can be."""
    return size_bytes(conf, "spark.driver.maxResultSize", "1g") or MAX_BLOCK_BYTES


def worker_options(conf: SparkConf) -> CallOptions:
    """What each worker has, and where it runs."""
    mem_bytes = size_bytes(conf, "spark.executor.memory", "1g", "m")
    return CallOptions(
        cpus=number(conf, "spark.executor.cores", 1),
        mem_mib=max(1, mem_bytes // _MEBIBYTE),
        image=conf.get("mesolite.image"),
        python=conf.get("mesolite.python"),
        role=conf.get("mesolite.role") or "*",
    )


def cluster_settings(conf: SparkConf, app_name: str, parallelism: int) -> ClusterSettings:
    """Executors of a cluster.

    Args:
        conf: The context's.
        app_name: Of the application, for people.
        parallelism: How many workers the cluster has room for.
    """
    options = worker_options(conf)
    cores = conf.get("spark.cores.max")
    most = None if not cores else max(1, int(number(conf, "spark.cores.max", 1) / options.cpus))
    least = min(whole(conf, "spark.executor.instances", 0, least=0), most or sys.maxsize)
    return ClusterSettings(
        name=framework_name(app_name),
        kind=options.kind,
        min_workers=least,
        max_workers=most,
        idle_ms=time_ms(conf, "spark.dynamicAllocation.executorIdleTimeout", f"{IDLE_MS}ms", "s"),
        max_result_bytes=max_result_bytes(conf),
        environment={
            key.removeprefix(_EXECUTOR_ENV): value for key, value in conf.getAll() if key.startswith(_EXECUTOR_ENV)
        },
        own_python=sys.executable or "",
        parallelism=parallelism if most is None else min(parallelism, most) if parallelism else most,
    )


def default_parallelism(conf: SparkConf) -> int | None:
    """What spark.default.parallelism says, where it is set."""
    return whole_or_none(conf, "spark.default.parallelism")


def framework_name(app_name: str) -> str:
    """A name that may be part of ids."""
    return _NOT_IN_NAMES.sub("-", app_name).strip("-")[:_MAX_NAME] or "sparklite"
