"""The executor driver: everything about being an executor that does not depend on what it executes. Standard library only."""

from .errors import ExecutorError, NoAgent, TooLarge
from .executor import Executor, ExecutorDriver
from .loop import Loop, Timer
from .protocol import Subscribed, Task
from .states import ENDS, Reason, State

__all__ = [
    "ENDS",
    "Executor",
    "ExecutorDriver",
    "ExecutorError",
    "Loop",
    "NoAgent",
    "Reason",
    "State",
    "Subscribed",
    "Task",
    "Timer",
    "TooLarge",
]
