"""The `mesolite` command: one module per group of commands, imported when one of them is called."""

from .root import main

__all__ = ["main"]
