"""What the DAG scheduler goes by; names, meanings and defaults of Spark's configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSettings:
    """See https://spark.apache.org/docs/latest/configuration.html#scheduling; all times in milliseconds."""

    #: spark.task.maxFailures: a partition that failed so often fails its job.
    max_failures: int = 4
    #: spark.stage.maxConsecutiveAttempts: a stage that could not fetch so often in a row fails its jobs.
    max_stage_attempts: int = 4
    #: spark.locality.wait: how long a task waits for a worker where its input is.
    locality_wait_ms: int = 3_000
    #: spark.scheduler.mode: FAIR shares between pools, FIFO goes by age of jobs.
    fair: bool = False
    #: spark.speculation and what belongs to it.
    speculation: bool = False
    speculation_interval_ms: int = 100
    speculation_multiplier: float = 1.5
    speculation_quantile: float = 0.75
    #: spark.speculation.minTaskRuntime
    speculation_min_ms: int = 100
    #: A reduce task goes where at least this share of its input is (as Spark's REDUCER_PREF_LOCS_FRACTION).
    reducer_share: float = 0.2
    #: How long a barrier stage waits for a cluster with as many workers as it has tasks. (Spark looks 40 times, every 15 s.)
    barrier_wait_ms: int = 120_000
    #: An executor has so many tasks more than workers, so that these do not wait for the way to the driver and back.
    ahead: int = 1
