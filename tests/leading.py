"""A master's first step, for tests that need an epoch and no master."""

from mesolite.transport.contract import Store


def take_epoch(store: Store, *, at_least: int = 1) -> int:
    """Take the lease, from whoever took it by this function before, and return its epoch."""
    state = store.claim_lease(holder="test", address="http://127.0.0.1:1", ttl_ms=60_000, at_least=at_least)
    assert state.lease is not None
    assert state.lease.holder == "test", "another leads"
    return state.lease.epoch
