"""How a context reaches its cluster, and how much it may count on there."""

import contextlib
from typing import Final

from mesolite.discovery import find_cluster, find_masters
from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
from mesolite.resources import MILLI

from ..futures.connection import ClusterPlace, find
from .cluster_backend import ClusterBackend
from .conf import SparkConf
from .conf_settings import cluster_settings, worker_options
from .master_url import ClusterMaster

_MEBIBYTE: Final = 1024 * 1024
#: How long a master may take to say how large the cluster is; without its word there are taken to be two workers.
_ASK_TIMEOUT_S: Final = 2.0


def open_cluster(place: ClusterMaster, conf: SparkConf, app_name: str) -> ClusterBackend:
    """Find a cluster; nothing is started there yet.

    Raises:
        MasterUnavailable: No cluster was found.
        RedisUnavailable: Its Redis does not answer.
        ConfigError: A setting makes no sense.
    """
    return ClusterBackend(_place_of(place), cluster_settings(conf, app_name, _workers_in(place, conf)))


def worker_memory_bytes(conf: SparkConf) -> int:
    """What each worker may hold."""
    return worker_options(conf).mem_mib * _MEBIBYTE


def _place_of(place: ClusterMaster) -> ClusterPlace:
    if place.master_url is not None:
        found = find_cluster(place.master_url)
        return find(found.redis_url, found.cluster, found.principal)
    return find(place.redis_url, None, None)


def _workers_in(place: ClusterMaster, conf: SparkConf) -> int:
    """How many workers the agents have room for in all; 0 where nobody says."""
    if place.redis_url is not None:
        return 0
    kind = worker_options(conf).kind
    with contextlib.suppress(MesoliteError):
        master_url = place.master_url or find_masters().master_url
        agents = OperatorClient(master_url, timeout_s=_ASK_TIMEOUT_S).agents()
        return sum(int(agent.total.get("cpus", 0) * MILLI) // kind.cpus_milli for agent in agents)
    return 0
