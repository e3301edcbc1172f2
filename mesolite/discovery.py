"""Where the running cluster is: a small file that `mesolite up` writes and everything else reads.

Looked for, in this order: the environment (`MESOLITE_MASTER_URL` with `MESOLITE_REDIS_URL`), `$MESOLITE_HOME`,
`.mesolite/` in the current directory, `mesolite/` in the user's state directory (XDG_STATE_HOME). The file is readable
by its owner only: a Redis URL may hold a password.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from mesolite.errors import ConfigError, MasterUnavailable

CLUSTER_FILE: Final = "cluster.json"

#: The folder that `up` uses where nothing else is said and it exists.
LOCAL_HOME: Final = ".mesolite"


class ProcessRecord(Struct, frozen=True, kw_only=True):
    """One detached process of a cluster."""

    #: "redis", "master", "agent-1", "flower".
    name: str
    pid: int
    #: When it started, in the kernel's clock ticks (proc(5), stat field 22): tells it from a later process with its pid.
    start_ticks: int
    #: Its output.
    log: str


class ClusterAddress(Struct, frozen=True, kw_only=True):
    """A cluster and how to reach it."""

    redis_url: str
    #: The operator API: "http://127.0.0.1:5050".
    master_url: str
    cluster: str = "default"
    principal: str = "default"
    flower_url: str | None = None
    #: What `mesolite down` stops; empty where the cluster was not started by `mesolite up`.
    processes: tuple[ProcessRecord, ...] = ()


def state_home(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of a cluster that is to be started."""
    environment = os.environ if environment is None else environment
    if given := environment.get("MESOLITE_HOME"):
        return Path(given).absolute()
    local = Path(LOCAL_HOME)
    return local.absolute() if local.is_dir() else _user_home(environment)


def find_cluster(home: Path | None = None, environment: Mapping[str, str] | None = None) -> ClusterAddress:
    """Return the running cluster's address.

    Args:
        home: Look here only.
        environment: The variables to obey; the process's own where absent.

    Raises:
        MasterUnavailable: No cluster was started here; the message says where was looked.
        ConfigError: The file is there but is not what `mesolite up` writes.
    """
    environment = os.environ if environment is None else environment
    if home is None and (master_url := environment.get("MESOLITE_MASTER_URL")):
        return ClusterAddress(
            master_url=master_url.rstrip("/"),
            redis_url=environment.get("MESOLITE_REDIS_URL", "redis://127.0.0.1:6379/0"),
            cluster=environment.get("MESOLITE_CLUSTER", "default"),
            principal=environment.get("MESOLITE_PRINCIPAL", "default"),
        )
    looked = [home] if home is not None else _candidates(environment)
    for folder in looked:
        if (address := read_cluster(folder)) is not None:
            return address
    places = ", ".join(str(folder) for folder in looked)
    raise MasterUnavailable(
        f"no cluster runs here (looked in {places}); start one with `mesolite up`, or set MESOLITE_MASTER_URL and "
        "MESOLITE_REDIS_URL to one that runs elsewhere"
    )


def read_cluster(home: Path) -> ClusterAddress | None:
    """Return what `up` wrote into a folder, or None where there is nothing.

    Raises:
        ConfigError: It cannot be read.
    """
    path = home / CLUSTER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClusterAddress)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; remove it and run `mesolite up`") from None


def write_cluster(home: Path, address: ClusterAddress) -> None:
    """Write the address for others to find: whole or not at all, for the owner only."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = home / f"{CLUSTER_FILE}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(address), indent=2))
    draft.replace(home / CLUSTER_FILE)


def forget_cluster(home: Path) -> None:
    """Remove the address; it need not exist."""
    (home / CLUSTER_FILE).unlink(missing_ok=True)


def _candidates(environment: Mapping[str, str]) -> list[Path]:
    if given := environment.get("MESOLITE_HOME"):
        return [Path(given).absolute()]
    return [Path(LOCAL_HOME).absolute(), _user_home(environment)]


def _user_home(environment: Mapping[str, str]) -> Path:
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "mesolite"
