"""The DAG scheduler: which task of which stage runs next, where, and what follows when it ends.

A core: no I/O, no clock, no threads.
"""

from .core import DagCore

__all__ = ["DagCore"]
