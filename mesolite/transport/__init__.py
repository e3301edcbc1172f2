"""Streams, the fenced commit and the command queues: how the parts of a cluster reach each other."""

from .address import shown
from .contract import BEGINNING, Append, CommandBus, Commit, Entry, Lease, LeaseState, Store
from .memory import MemoryBus, MemoryStore
from .memory_broker import MemoryBroker
from .opening import open_bus, open_store

__all__ = [
    # What a transport gives
    "Store",
    "CommandBus",
    "Entry",
    "Append",
    "Commit",
    "Lease",
    "LeaseState",
    "BEGINNING",
    # From an address
    "open_store",
    "open_bus",
    "shown",
    # In one process
    "MemoryBroker",
    "MemoryStore",
    "MemoryBus",
]
