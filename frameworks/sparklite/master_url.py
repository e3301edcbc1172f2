"""What the `master` of a context names: the cluster of `mesolite up`, one elsewhere, or this process."""

import os
import re
from dataclasses import dataclass
from typing import Final

from mesolite.discovery import public_redis_url
from mesolite.errors import ConfigError

#: local, local[2], local[*], local[2,4]: workers, and how often a task may fail.
_LOCAL: Final = re.compile(r"local(?:\[\s*([0-9]+|\*)\s*(?:,\s*([0-9]+)\s*)?\])?")
#: local-cluster[2,1,1024]: executors, workers of each, and a size that has no meaning here.
_LOCAL_CLUSTER: Final = re.compile(r"local-cluster\[\s*([0-9]+)\s*,\s*([0-9]+)\s*,\s*[0-9]+\s*\]")
_PREFIX: Final = "mesolite://"
#: Addresses of a Redis as `mesolite` takes them everywhere.
_REDIS: Final = ("redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "sentinel://")
#: More threads than that are no help to anybody.
_MAX_LOCAL: Final = 1024


@dataclass(frozen=True, slots=True)
class LocalMaster:
    """Workers in this process."""

    workers: int
    agents: int = 1
    #: None: as Spark has it there, a task that fails once fails its job.
    max_failures: int | None = None


@dataclass(frozen=True, slots=True)
class ClusterMaster:
    """A cluster."""

    #: None: found as `mesolite` finds it.
    redis_url: str | None = None
    #: Its masters, with commas between them, where these are named instead.
    master_url: str | None = None


def master_of(text: str | None) -> LocalMaster | ClusterMaster:
    """Read it.

    Raises:
        ConfigError: It names something that sparklite does not run on.
    """
    if text is None or text in ("mesolite", _PREFIX):
        return ClusterMaster()
    if (local := _LOCAL.fullmatch(text)) is not None:
        workers = (os.cpu_count() or 1) if local[1] == "*" else int(local[1] or 1)
        return LocalMaster(_checked(text, workers), max_failures=int(local[2]) if local[2] else None)
    if (many := _LOCAL_CLUSTER.fullmatch(text)) is not None:
        return LocalMaster(_checked(text, int(many[2])), _checked(text, int(many[1])))
    if text.startswith(_REDIS):
        return ClusterMaster(redis_url=text)
    if text.startswith(("http://", "https://")):
        return ClusterMaster(master_url=text)
    if text.startswith(_PREFIX):
        rest = text.removeprefix(_PREFIX)
        return master_of(rest if "://" in rest else f"redis://{rest}")
    raise ConfigError(
        f'master is {text!r}; sparklite runs on a Mesolite cluster or in this process: leave it out, or "mesolite", for the '
        'cluster of `mesolite up`, "mesolite://HOST:PORT" for that of a Redis elsewhere, "http://HOST:5050" for that of a '
        'master, "local[4]" for threads of this process'
    )


def shown_master(text: str | None) -> str:
    """A master as everybody may see it: without passwords."""
    shown = text or "mesolite"
    return public_redis_url(shown) if "://" in shown else shown


def _checked(text: str, count: int) -> int:
    if not 1 <= count <= _MAX_LOCAL:
        raise ConfigError(f"master is {text!r}; 1 to {_MAX_LOCAL} workers")
    return count
