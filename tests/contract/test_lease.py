"""What a `Store` promises about the lease, on the memory store and on a real Redis."""

from mesolite.transport import Lease, LeaseState, Store
from tests.waiting import eventually

from .stores import LONG_MS, OpenStore


def claim(store: Store, holder: str, *, ttl_ms: int = LONG_MS, at_least: int = 1) -> LeaseState:
    return store.claim_lease(holder=holder, address=f"http://{holder}:5050", ttl_ms=ttl_ms, at_least=at_least)


def test_nobody_leads_a_new_cluster(store: Store) -> None:
    assert store.lease() == LeaseState(lease=None, left_ms=0)


def test_whoever_claims_first_leads_in_a_new_epoch(another: OpenStore) -> None:
    one, other = another(), another()
    lease = Lease(holder="one", address="http://one:5050", epoch=7)

    assert claim(one, "one", at_least=7) == LeaseState(lease=lease, left_ms=LONG_MS)

    refused = claim(other, "other", at_least=100)
    assert refused.lease == lease
    assert 0 < refused.left_ms <= LONG_MS
    assert other.epoch() == 7
    assert other.lease().lease == lease


def test_the_holder_gets_a_new_epoch_where_it_claims_again(store: Store) -> None:
    claim(store, "one", at_least=7)
    assert claim(store, "one") == LeaseState(
        lease=Lease(holder="one", address="http://one:5050", epoch=8), left_ms=LONG_MS
    )
    assert store.epoch() == 8


def test_a_lease_that_is_not_renewed_ends(another: OpenStore) -> None:
    one, other = another(), another()
    claim(one, "one", ttl_ms=20)

    def claimed() -> LeaseState | None:
        state = claim(other, "other")
        return state if state.lease is not None and state.lease.holder == "other" else None

    state = eventually(claimed)
    assert state is not None
    assert state.lease is not None
    assert state.lease.epoch == 2


def test_a_renewal_prolongs_and_changes_nothing_else(store: Store) -> None:
    lease = claim(store, "one", ttl_ms=LONG_MS // 2).lease
    assert lease is not None
    assert store.renew_lease(lease, ttl_ms=LONG_MS) == LeaseState(lease=lease, left_ms=LONG_MS)
    assert store.lease().left_ms > LONG_MS // 2
    assert store.epoch() == lease.epoch


def test_a_lease_that_ran_out_is_renewed_if_nobody_led_since(store: Store) -> None:
    lease = claim(store, "one", ttl_ms=1).lease
    assert lease is not None
    eventually(lambda: store.lease().lease is None)
    assert store.renew_lease(lease, ttl_ms=LONG_MS).lease == lease


def test_a_lease_is_not_renewed_once_another_took_over(another: OpenStore) -> None:
    one, other = another(), another()
    lease = claim(one, "one").lease
    assert lease is not None
    one.release_lease(lease)
    successor = claim(other, "other").lease
    assert one.renew_lease(lease, ttl_ms=LONG_MS).lease == successor
    assert successor is not None
    other.release_lease(successor)
    assert one.renew_lease(lease, ttl_ms=LONG_MS) == LeaseState(lease=None, left_ms=0), "its epoch is over"
    assert one.lease().lease is None


def test_a_lease_is_given_up_only_by_its_holder(another: OpenStore) -> None:
    one, other = another(), another()
    lease = claim(one, "one").lease
    assert lease is not None
    other.release_lease(Lease(holder="other", address=lease.address, epoch=lease.epoch))
    assert other.lease().lease == lease
    one.release_lease(lease)
    assert other.lease().lease is None
    one.release_lease(lease)


def test_epochs_of_milliseconds_keep_every_digit(store: Store) -> None:
    """Lua counts in floating point, and prints large numbers its own way."""
    epoch = 9_007_199_254_740_990
    state = claim(store, "one", at_least=epoch)
    assert state.lease is not None
    assert state.lease.epoch == store.epoch() == epoch
    assert store.renew_lease(state.lease, ttl_ms=LONG_MS).lease == state.lease
