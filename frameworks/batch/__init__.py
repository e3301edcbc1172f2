"""Batch jobs: run a command once or ten thousand times, each in a container with its own CPU and memory limit.

from mesolite.frameworks import batch

with batch.connect() as cluster:
    job = cluster.submit("echo hello from $MESOLITE_INDEX", count=10, cpus=0.5, mem_mib=64)
    for result in job.results():
        print(result.index, result.state, result.exit_code)
"""

from mesolite.protocol import KillPolicy, Network, Reason, TaskState, Uri, Volume

from ..driver.placement import AttributeEquals
from .cluster import Cluster, Job
from .connecting import connect
from .core import BatchCore
from .job import JobSpec
from .journal import MemoryJournal, SqliteJournal
from .records import Journal
from .result import JobSummary, TaskResult
from .retry import RetryPolicy
from .scheduler import BatchListener, BatchScheduler
from .task import TaskOptions, TaskSpec

__all__ = [
    # for programs
    "AttributeEquals",
    "Cluster",
    "Job",
    "JobSummary",
    "KillPolicy",
    "Network",
    "Reason",
    "RetryPolicy",
    "TaskOptions",
    "TaskResult",
    "TaskState",
    "Uri",
    "Volume",
    "connect",
    # for embedding it in another process or a simulation
    "BatchCore",
    "BatchListener",
    "BatchScheduler",
    "JobSpec",
    "Journal",
    "MemoryJournal",
    "SqliteJournal",
    "TaskSpec",
]
