"""The master: who is offered what, and the books of who holds what (README.md)."""

from .core import MasterCore
from .settings import MasterSettings
from .shell import MasterShell

__all__ = ["MasterCore", "MasterSettings", "MasterShell"]
