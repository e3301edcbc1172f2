"""How a batch program gets its cluster: found, reached, and with a journal gone on with."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import msgspec

from mesolite.clock import Clock
from mesolite.discovery import find_cluster
from mesolite.errors import FrameworkError, RedisUnavailable
from mesolite.ids import FrameworkId
from mesolite.protocol import FrameworkInfo
from mesolite.retries import Retries
from mesolite.transport.address import SENTINEL_SCHEME, scheme_of
from mesolite.transport.contract import Store
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL
from mesolite.transport.opening import open_store as open_store_at

from ..driver.settings import REMOVED
from .cluster import Cluster
from .journal import SqliteJournal
from .records import Journal, Kept
from .settings import CONNECT_TIMEOUT_MS, FAILOVER_TIMEOUT_MS


def connect(
    redis_url: str | None = None,
    cluster: str | None = None,
    *,
    name: str = "batch",
    roles: Sequence[str] = ("*",),
    principal: str | None = None,
    failover_timeout_ms: int = FAILOVER_TIMEOUT_MS,
    timeout_ms: int = CONNECT_TIMEOUT_MS,
    journal: str | Path | Journal | None = None,
    open_store: Callable[[], Store] | None = None,
    clock: Clock | None = None,
) -> Cluster:
    """Connect to a cluster as a framework of one's own; use it in a `with` block.

    Args:
        redis_url: The cluster's Redis; where absent, the cluster of `mesolite up` is found (`mesolite.discovery`).
        cluster: Its name; "default" where only a Redis was given.
        name: Of the framework, for people and at the beginning of its id.
        roles: Whose share of the cluster it may use.
        principal: See DESIGN 6; "default" where Redis has no access control lists.
        failover_timeout_ms: How long its tasks outlive this program, if it goes without a word.
        timeout_ms: How long to wait for a master.
        journal: A file in which it remembers what to go on with after its death; made where there is none.
        open_store: Opens the store instead; for everything in one process.
        clock: The time; the machine's where absent.

    Raises:
        MasterUnavailable: No cluster was found, or no master answered in time.
        RedisUnavailable: Redis does not answer.
        ConfigError: The address, a name or the journal cannot be used.
        Unavailable: The journal's disk takes nothing.
    """
    patience_ms = 0
    if open_store is None:
        open_store, url, found_principal = _found_store(redis_url, cluster)
        principal = principal or found_principal
        # One Redis that does not answer is a wrong address, or not started; Sentinels may be at changing the primary.
        patience_ms = timeout_ms if scheme_of(url) == SENTINEL_SCHEME else 0
    with closing(open_store()) as check:
        _wait_for_redis(check, patience_ms)
    framework_info = FrameworkInfo(
        framework_id=FrameworkId(f"{name}-{uuid4().hex[:12]}"),
        name=name,
        roles=tuple(roles),
        failover_timeout_ms=failover_timeout_ms,
    )
    principal = principal or DEFAULT_PRINCIPAL
    if journal is None:
        connection = Cluster(framework_info, open_store, principal=principal, clock=clock)
        connection.start(timeout_ms)
        return connection
    opened = SqliteJournal(Path(journal)) if isinstance(journal, str | Path) else journal
    with ExitStack() as on_failure:
        on_failure.callback(opened.close)
        connection = _resumed(
            opened,
            framework_info,
            lambda info, kept: Cluster(info, open_store, principal=principal, clock=clock, journal=opened, kept=kept),
            timeout_ms,
        )
        on_failure.pop_all()
    return connection


def _resumed(
    journal: Journal, framework_info: FrameworkInfo, make: Callable[[FrameworkInfo, Kept], Cluster], timeout_ms: int
) -> Cluster:
    """Go on as the framework of the journal; where it was removed meanwhile, as a new one with the same jobs."""
    kept = journal.load()
    if kept.framework_id is not None:
        connection = make(msgspec.structs.replace(framework_info, framework_id=kept.framework_id), kept)
        try:
            connection.start(timeout_ms)
        except FrameworkError as error:
            if not str(error).startswith(REMOVED):
                raise
            journal.end()
        else:
            return connection
    journal.begin(framework_info.framework_id)
    connection = make(framework_info, replace(kept, framework_id=None))
    connection.start(timeout_ms)
    return connection


def _wait_for_redis(store: Store, patience_ms: int) -> None:
    deadline_s = time.monotonic() + patience_ms / 1000
    retries = Retries()
    while True:
        try:
            store.epoch()
        except RedisUnavailable:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(retries.take_ms() / 1000)
        else:
            return


def _found_store(redis_url: str | None, cluster: str | None) -> tuple[Callable[[], Store], str, str]:
    if redis_url is not None:
        url, name, principal = redis_url, cluster or DEFAULT_CLUSTER, DEFAULT_PRINCIPAL
    else:
        address = find_cluster()
        url, name, principal = address.nearest_redis_url, cluster or address.cluster, address.principal
    return lambda: open_store_at(url, name), url, principal
