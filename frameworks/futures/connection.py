"""A pool's connection to its cluster: found, reached, and a thread for its driver."""

import random
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from mesolite.discovery import find_cluster
from mesolite.executors.python.settings import PythonSettings
from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.protocol import FrameworkInfo
from mesolite.transport.contract import Store
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL
from mesolite.transport.opening import open_store as open_store_at

from ..driver.driver import Action, SchedulerDriver
from ..driver.scheduler import Scheduler
from ..driver.settings import DriverSettings
from ..driver.shell import DriverShell
from .settings import ACKNOWLEDGEMENT_DELAY_MS, FAILOVER_TIMEOUT_MS

#: What this program pickles with: workers must be able to read it.
OWN_PYTHON_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a cluster is."""

    redis_url: str
    cluster: str
    principal: str

    def open_store(self) -> Store:
        """Open a store of one's own."""
        return open_store_at(self.redis_url, self.cluster)


def find(redis_url: str | None, cluster: str | None, principal: str | None) -> ClusterPlace:
    """Find the cluster that was named, or that of `mesolite up`, and see that its Redis answers.

    Raises:
        MasterUnavailable: No cluster was found.
        RedisUnavailable: Redis does not answer.
        ConfigError: The address or the name cannot be used.
    """
    if redis_url is not None:
        place = ClusterPlace(redis_url, cluster or DEFAULT_CLUSTER, principal or DEFAULT_PRINCIPAL)
    else:
        found = find_cluster()
        place = ClusterPlace(found.nearest_redis_url, cluster or found.cluster, principal or found.principal)
    with closing(place.open_store()) as store:
        store.epoch()
    return place


def framework(name: str, roles: tuple[str, ...]) -> FrameworkInfo:
    """Who a new pool is."""
    return FrameworkInfo(
        framework_id=FrameworkId(f"{name}-{uuid4().hex[:12]}"),
        name=name,
        roles=roles,
        failover_timeout_ms=FAILOVER_TIMEOUT_MS,
    )


def python_settings(max_result_bytes: int, pool: dict[str, object] | None) -> PythonSettings:
    """What executors are told."""
    return PythonSettings(
        python=OWN_PYTHON_VERSION, pool=pool, max_result_mib=max(1, -(-max_result_bytes // _MEBIBYTE))
    )


class Connection:
    """A driver in a thread of its own.

    Args:
        place: The cluster.
        framework_info: Who the pool is.
        scheduler: Whose callbacks to call.
        ended: Told, on that thread, when it ended though nobody closed it.
        known_tasks: What an earlier life of the framework launched, and has not heard the end of.
        implicit_acknowledgements: See `DriverSettings`.
    """

    def __init__(
        self,
        place: ClusterPlace,
        framework_info: FrameworkInfo,
        scheduler: Scheduler,
        ended: Callable[[str], None],
        known_tasks: Iterable[tuple[TaskId, AgentId | None]] = (),
        *,
        implicit_acknowledgements: bool = True,
    ) -> None:
        self._ended = ended
        self._closed = False
        self._driver = SchedulerDriver(
            scheduler,
            framework_info,
            session=SessionId(uuid4().hex),
            rng=random.Random(),
            settings=DriverSettings(
                implicit_acknowledgements=implicit_acknowledgements,
                acknowledgement_delay_ms=ACKNOWLEDGEMENT_DELAY_MS,
            ),
            known_tasks=known_tasks,
        )
        self._shell = DriverShell(self._driver, place.open_store, principal=place.principal)
        self._thread = threading.Thread(target=self._run, name=f"driver {framework_info.framework_id}", daemon=True)

    def start(self, first: Action) -> None:
        """Begin."""
        self._shell.post(first)
        self._thread.start()

    def post(self, action: Action) -> None:
        """See `DriverShell.post`."""
        self._shell.post(action)

    def close(self) -> None:
        """End the framework, and everything that it runs."""
        if not self._closed:
            self._closed = True
            self._shell.post(_tear_down)

    def leave(self) -> None:
        """Let go of the framework without ending it: what it runs goes on until its failover timeout, or its next life."""
        self._closed = True
        self._shell.stop()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the cluster has confirmed the end, or nobody has for too long."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._shell.run()
        except BaseException as error:
            self._ended(f"the connection to the cluster failed: {type(error).__name__}: {error}")
            raise
        if not self._closed:
            self._ended("the framework has ended")


def _tear_down(driver: SchedulerDriver) -> None:
    if not driver.ended:
        driver.teardown()
