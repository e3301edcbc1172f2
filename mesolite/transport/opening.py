"""From an address to a transport."""

import threading
from typing import Final

from .address import MEMORY_SCHEME, scheme_of
from .contract import CommandBus, Store
from .keys import DEFAULT_CLUSTER, key_prefix
from .memory import MemoryBus, MemoryStore
from .memory_broker import MemoryBroker

#: The brokers of this process, one per cluster: what `memory://` means.
_brokers: Final[dict[str, MemoryBroker]] = {}
_brokers_lock: Final = threading.Lock()


def open_store(url: str, cluster: str = DEFAULT_CLUSTER) -> Store:
    """Return a store for the cluster at an address. Nothing is connected yet.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `sentinel://`, or `memory://` for what all of this process shares.
        cluster: The cluster's name.

    Raises:
        ConfigError: The address or the name cannot be used.
    """
    if scheme_of(url) == MEMORY_SCHEME:
        return MemoryStore(shared_broker(cluster))
    # Not at the top: programs that stay in one process need not load redis-py.
    from .redis_store import RedisStore

    return RedisStore(url, cluster)


def open_bus(url: str, cluster: str = DEFAULT_CLUSTER) -> CommandBus:
    """Return a command bus for the cluster at an address. Nothing is connected yet.

    Args:
        url: As in `open_store`.
        cluster: The cluster's name. Queues carry it in their own names (`keys.agent_queue`); only `memory://` looks at it.

    Raises:
        ConfigError: The address or the name cannot be used.
    """
    if scheme_of(url) == MEMORY_SCHEME:
        return MemoryBus(shared_broker(cluster))
    key_prefix(cluster)
    from .kombu_bus import KombuBus

    return KombuBus(url)


def shared_broker(cluster: str) -> MemoryBroker:
    """Return this process's memory broker of a cluster, made when first asked for.

    Raises:
        ConfigError: The name cannot be used.
    """
    key_prefix(cluster)
    with _brokers_lock:
        return _brokers.setdefault(cluster, MemoryBroker())
