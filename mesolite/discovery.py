"""Where the running cluster is: said by whoever asks, or written by `mesolite up` into a small file that everything else reads.

Looked for, in this order: what is given (the URLs of masters, or a folder), `$MESOLITE_MASTER_URL`, `$MESOLITE_HOME`,
`.mesolite/` in the current directory, `mesolite/` in the user's state directory (XDG_STATE_HOME). The file is readable
by its owner only: a Redis URL may hold a password.

Of a cluster that is known by its masters they are asked for the rest; what stands in the environment (`MESOLITE_REDIS_URL`,
`MESOLITE_CLUSTER`, `MESOLITE_PRINCIPAL`) comes before their word, for passwords they do not tell.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from mesolite.errors import ConfigError, MasterUnavailable, NotFound
from mesolite.masters import PATIENCE_S
from mesolite.operator import OperatorClient

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

    #: Empty where the masters were not asked for it yet: `completed`.
    redis_url: str
    #: The operator API: "http://127.0.0.1:5050"; several masters with commas between them.
    master_url: str
    cluster: str = "default"
    principal: str = "default"
    flower_url: str | None = None
    #: The same Redis by its unix socket, which is a shorter way for its user's programs on its machine; empty where it has none.
    near_redis_url: str = ""
    #: What `mesolite down` stops; empty where the cluster was not started by `mesolite up`.
    processes: tuple[ProcessRecord, ...] = ()

    @property
    def nearest_redis_url(self) -> str:
        """The address of its Redis for this process alone: no other user, machine or container need be able to use it."""
        path = unquote(urlsplit(self.near_redis_url).path)
        return self.near_redis_url if path and os.access(path, os.R_OK | os.W_OK) else self.redis_url


def state_home(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of a cluster that is to be started."""
    environment = os.environ if environment is None else environment
    if given := environment.get("MESOLITE_HOME"):
        return Path(given).absolute()
    local = Path(LOCAL_HOME)
    return local.absolute() if local.is_dir() else _user_home(environment)


def find_cluster(where: str | Path | None = None, environment: Mapping[str, str] | None = None) -> ClusterAddress:
    """Return the running cluster's address.

    Args:
        where: Look here only: a folder, or the URLs of masters with commas between them.
        environment: The variables to obey; the process's own where absent.

    Raises:
        MasterUnavailable: No cluster was started here, or its masters do not answer; the message says where was looked.
        ConfigError: The file is there but is not what `mesolite up` writes.
    """
    return completed(find_masters(where, environment), environment)


def find_masters(where: str | Path | None = None, environment: Mapping[str, str] | None = None) -> ClusterAddress:
    """Return the running cluster's address as far as it is known without asking anybody.

    Arguments as in `find_cluster`.

    Raises:
        MasterUnavailable: No cluster was started here.
        ConfigError: The file is there but is not what `mesolite up` writes.
    """
    environment = os.environ if environment is None else environment
    if where is None:
        where = environment.get("MESOLITE_MASTER_URL") or None
    if isinstance(where, str) and "://" in where:
        return ClusterAddress(master_url=where.rstrip("/"), redis_url="", cluster="", principal="")
    looked = [Path(where).absolute()] if where is not None else _candidates(environment)
    for folder in looked:
        if (address := read_cluster(folder)) is not None:
            return address
    places = ", ".join(str(folder) for folder in looked)
    raise MasterUnavailable(
        f"no cluster runs here (looked in {places}); start one with `mesolite up`, or name one that runs elsewhere: "
        "mesolite --cluster http://HOST:5050"
    )


def completed(address: ClusterAddress, environment: Mapping[str, str] | None = None) -> ClusterAddress:
    """Return an address with all that was missing in it, asking its masters if need be.

    Raises:
        MasterUnavailable: No master answers.
        ConfigError: They do not tell.
    """
    if address.redis_url:
        return address
    environment = os.environ if environment is None else environment
    redis_url, name = environment.get("MESOLITE_REDIS_URL"), environment.get("MESOLITE_CLUSTER")
    principal = environment.get("MESOLITE_PRINCIPAL")
    if redis_url:
        given = {"redis_url": redis_url, "cluster": name or "default", "principal": principal or "default"}
        return msgspec.structs.replace(address, **given)
    try:
        told = OperatorClient(address.master_url, patience_s=PATIENCE_S).cluster()
    except NotFound:
        raise ConfigError(
            f"the master at {address.master_url} does not tell where its Redis is; set MESOLITE_REDIS_URL"
        ) from None
    return msgspec.structs.replace(
        address,
        redis_url=told.redis_url,
        cluster=name or told.name,
        principal=principal or told.principal,
        flower_url=told.flower_url,
    )


def public_redis_url(url: str) -> str:
    """Return an address of a Redis for everybody to see: with all that it takes to connect but user and passwords."""
    scheme, _, rest = url.partition("://")
    before_query, has_query, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    options = [(name, value) for name, value in parse_qsl(query) if not name.endswith(("password", "user", "username"))]
    public = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return f"{public}?{urlencode(options)}" if has_query and options else public


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
