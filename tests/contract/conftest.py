"""The stores that contracts are held against: in memory, and a real Redis."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mesolite.transport import MemoryBroker, MemoryStore, Store, open_store

from .stores import OpenStore


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def another(request: pytest.FixtureRequest, cluster: str) -> Iterator[OpenStore]:
    """Opens one more handle onto the same store: a master, a framework, another thread."""
    broker = MemoryBroker()
    with ExitStack() as opened:

        def open_one() -> Store:
            store: Store
            if request.param == "memory":
                store = MemoryStore(broker)
            else:
                store = open_store(request.getfixturevalue("redis_url"), cluster)
            opened.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(another: OpenStore) -> Store:
    return another()
