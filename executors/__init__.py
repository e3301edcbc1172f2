"""Executors: who starts a framework's tasks on an agent.

What is named here is for authors of executors of their own, and needs the standard library only. The command executor, whose
decisions the agent carries out, is in `command`; the Python executor, a program of its own, in `python`.
"""

from .driver import (
    ENDS,
    Executor,
    ExecutorDriver,
    ExecutorError,
    Loop,
    NoAgent,
    Reason,
    State,
    Subscribed,
    Task,
    Timer,
    TooLarge,
)

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
