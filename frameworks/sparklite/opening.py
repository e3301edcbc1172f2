"""How a context reaches its cluster, and how much it may count on there."""

import contextlib
from collections.abc import Sequence
from typing import Final

from mesolite.discovery import find_cluster, find_masters
from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
from mesolite.resources import MILLI
from mesolite.views import AgentRow

from ..futures.connection import ClusterPlace, find
from ..futures.options import MIN_MEM_MIB
from ..futures.settings import EXECUTOR_MEM_MIB
from .cluster_backend import ClusterBackend
from .conf import SparkConf
from .conf_settings import cluster_settings, worker_options
from .master_url import ClusterMaster

_MEBIBYTE: Final = 1024 * 1024
#: How long a master may take to say how large the cluster is; without its word there are taken to be two workers.
_ASK_TIMEOUT_S: Final = 2.0


def agents_of(place: ClusterMaster) -> list[AgentRow]:
    """Ask a master for the agents; none where nobody says."""
    if place.redis_url is not None:
        return []
    with contextlib.suppress(MesoliteError):
        master_url = place.master_url or find_masters().master_url
        return OperatorClient(master_url, timeout_s=_ASK_TIMEOUT_S).agents()
    return []


def fit_to(agents: Sequence[AgentRow], conf: SparkConf) -> None:
    """Set what workers have, where it is not set and no agent is as large as Spark's default: as much as the largest has."""
    if conf.contains("spark.executor.memory") or not agents:
        return
    largest_mib = int(max(_amount(agent, "mem") for agent in agents)) - EXECUTOR_MEM_MIB
    if MIN_MEM_MIB <= largest_mib < worker_options(conf).mem_mib:
        conf.set("spark.executor.memory", f"{largest_mib}m")


def open_cluster(place: ClusterMaster, conf: SparkConf, app_name: str, agents: Sequence[AgentRow]) -> ClusterBackend:
    """Find a cluster; nothing is started there yet.

    Args:
        place: Where to look.
        conf: The context's.
        app_name: The application's, for people.
        agents: Those of the cluster, as far as known.

    Raises:
        MasterUnavailable: No cluster was found.
        RedisUnavailable: Its Redis does not answer.
        ConfigError: A setting makes no sense.
    """
    return ClusterBackend(_place_of(place), cluster_settings(conf, app_name, _workers_in(agents, conf)))


def worker_memory_bytes(conf: SparkConf) -> int:
    """What each worker may hold."""
    return worker_options(conf).mem_mib * _MEBIBYTE


def _place_of(place: ClusterMaster) -> ClusterPlace:
    if place.master_url is not None:
        found = find_cluster(place.master_url)
        return find(found.nearest_redis_url, found.cluster, found.principal)
    return find(place.redis_url, None, None)


def _workers_in(agents: Sequence[AgentRow], conf: SparkConf) -> int:
    """How many workers the agents have room for in all; 0 where nobody says."""
    kind = worker_options(conf).kind
    return sum(int(_amount(agent, "cpus") * MILLI) // kind.cpus_milli for agent in agents)


def _amount(agent: AgentRow, name: str) -> float:
    amount = agent.total.get(name, 0.0)
    return 0.0 if isinstance(amount, str) else amount
