"""Functions on a cluster: a `concurrent.futures.Executor`.

from mesolite.frameworks.futures import Executor

with Executor() as executor:
    for result in executor.map(work, range(100)):
        print(result)
"""

from .broken import ExecutorBroken
from .errors import (
    ArgumentsTooLarge,
    BlockLost,
    CallError,
    CallKilled,
    CallLost,
    CallTimedOut,
    CannotRun,
    ImageWithoutPython,
    NotPicklable,
    OutOfMemory,
    PythonMismatch,
    RemoteError,
    RemoteTraceback,
    ResultTooLarge,
    TooLargeForCluster,
    WorkerDied,
)
from .executor import Executor, ExecutorView
from .future import ClusterFuture
from .in_process import InProcessPool
from .options import CallOptions
from .work import Backend, BackendListener, Work

__all__ = [
    # for programs
    "CallOptions",
    "ClusterFuture",
    "Executor",
    "ExecutorView",
    # errors
    "ArgumentsTooLarge",
    "BlockLost",
    "CallError",
    "CallKilled",
    "CallLost",
    "CallTimedOut",
    "CannotRun",
    "ExecutorBroken",
    "ImageWithoutPython",
    "NotPicklable",
    "OutOfMemory",
    "PythonMismatch",
    "RemoteError",
    "RemoteTraceback",
    "ResultTooLarge",
    "TooLargeForCluster",
    "WorkerDied",
    # what runs calls
    "Backend",
    "BackendListener",
    "InProcessPool",
    "Work",
]
