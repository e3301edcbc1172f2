"""The settings of each process: their names, meaning, limits and defaults, and how a wrong one is explained.

A setting can be given as a flag (`--http-port`), in the environment (`MESOLITE_MASTER_HTTP_PORT`), or in a TOML file, in
this order of precedence; the command line applies it (mesolite/cli/options.py). Here the result is checked once, as a
whole, into a frozen struct; behind it nothing checks a setting again. In the file, settings of every process stand at the
top and those of one process in its table:

    redis_url = "redis://10.0.0.5:6379/0"
    [agent]
    work_dir = "/var/lib/mesolite"
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, cast

import msgspec
import msgspec.inspect
from msgspec import Meta, Struct

from mesolite.errors import ConfigError

#: A configuration file is a page of text; more is some other file.
MAX_CONFIG_BYTES: Final = 1_000_000

#: An agent or framework is told lost by its silence; one lost packet must not do it (the master's QUIET_HEARTBEATS).
MIN_HEARTBEATS_TO_TIMEOUT: Final = 3

#: An executor that is waited for holds its resources and those of its tasks, and nobody learns what becomes of them.
MAX_EXECUTOR_PATIENCE_MS: Final = 3_600_000

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65535)]
BrokerUrl: TypeAlias = Annotated[str, Meta(pattern=r"^(redis|rediss|unix|sentinel)://.+")]
#: Becomes part of Redis keys, between colons.
Name: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every process of a cluster is told."""

    redis_url: Annotated[
        BrokerUrl,
        Meta(
            description="Redis of the cluster: redis://HOST:PORT/DB, rediss://…, unix:///PATH?db=DB, "
            "or sentinel://HOST:PORT,HOST:PORT/MASTER_NAME"
        ),
    ] = "redis://127.0.0.1:6379/0"
    cluster: Annotated[Name, Meta(description="Name of the cluster; several can share one Redis")] = "default"
    principal: Annotated[Name, Meta(description="Whose input streams are written; `default` without Redis ACLs")] = (
        "default"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least important log lines to write")
    ] = "info"


class MasterConfig(ClusterConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a master is told. Defaults and reasons: master/settings.py."""

    http_host: Annotated[
        str,
        Meta(min_length=1, description="Address of the operator API; it has no passwords, keep it off the internet"),
    ] = "127.0.0.1"
    http_port: Annotated[Port, Meta(description="Port of the operator API; 0 takes a free one")] = 5050
    http_advertise_host: Annotated[
        str | None,
        Meta(
            description="Name or address of the operator API that others are told; auto finds the machine's; as bound"
        ),
    ] = None
    flower_url: Annotated[
        str | None, Meta(description="Where people find Flower; told to those who ask the master")
    ] = None
    lease_ttl_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="How long the others wait for a leading master that says nothing")
    ] = 2000
    offer_timeout_ms: Annotated[int, Meta(ge=1000, description="Offers held for longer are taken back")] = 300_000
    heartbeat_interval_ms: Annotated[
        int, Meta(ge=100, le=60_000, description="Agents and frameworks speak at least this often")
    ] = 5000
    agent_timeout_ms: Annotated[int, Meta(ge=300, description="Silence after which an agent is unreachable")] = 75_000
    agent_reregister_timeout_ms: Annotated[
        int, Meta(ge=1000, description="How long agents may take to return after a change of master")
    ] = 600_000
    agent_removal_limit: Annotated[
        int, Meta(ge=1, description="So many agents at most become unreachable within agent_removal_interval_ms")
    ] = 100
    agent_removal_interval_ms: Annotated[
        int, Meta(ge=1, description="See agent_removal_limit; an agent that speaks while it waits stays")
    ] = 60_000
    recovery_agent_removal_limit_percent: Annotated[
        int,
        Meta(ge=1, le=100, description="While more agents are missing after a change of master, none is given up"),
    ] = 100
    weights: Annotated[
        dict[str, Annotated[int, Meta(ge=1)]], Meta(description="Weights of roles, like web=2,batch=1")
    ] = {}

    def __post_init__(self) -> None:
        least_ms = MIN_HEARTBEATS_TO_TIMEOUT * self.heartbeat_interval_ms
        if self.agent_timeout_ms < least_ms:
            raise ValueError(
                f"agent_timeout_ms is {self.agent_timeout_ms}, but must be at least {least_ms}: "
                f"{MIN_HEARTBEATS_TO_TIMEOUT} times heartbeat_interval_ms"
            )


class AgentConfig(ClusterConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is told."""

    agent_id: Annotated[str | None, Meta(description="Name of the agent; kept in its work_dir once chosen")] = None
    hostname: Annotated[str | None, Meta(description="Name that tasks and people reach this host by; detected")] = None
    http_host: Annotated[
        str, Meta(min_length=1, description="Address of the sandbox file server; it has no passwords")
    ] = "127.0.0.1"
    http_port: Annotated[Port, Meta(description="Port of the sandbox file server; 0 takes a free one")] = 5051
    http_advertise_host: Annotated[
        str | None,
        Meta(description="Name or address of the file server that others are told; auto finds the machine's; as bound"),
    ] = None
    work_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Where sandboxes and the agent's state are kept; {slot} in it becomes the first number that no "
            "other agent holds",
        ),
    ] = ".mesolite/agent"
    resources: Annotated[str | None, Meta(description="What to offer, like cpus:4;mem:8192; detected where absent")] = (
        None
    )
    attributes: Annotated[str | None, Meta(description="Facts to choose agents by, like rack:a1;gpu:no")] = None
    containerizer: Annotated[
        Literal["auto", "docker", "process"],
        Meta(description="How tasks run: auto takes Docker where an Engine answers, else plain processes"),
    ] = "auto"
    image: Annotated[str, Meta(min_length=1, description="Docker image of tasks that name none")] = "python:3.11-slim"
    allow_privileged: Annotated[bool, Meta(description="Let tasks ask for privileged containers")] = False
    allow_root: Annotated[bool, Meta(description="Let tasks ask to run as root")] = False
    allow_host_network: Annotated[bool, Meta(description="Let tasks ask for the host's network")] = False
    bridge_network: Annotated[
        str,
        Meta(
            pattern=r"^(?!host$|none$)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$",
            description="Docker network that tasks join which ask for no other: another lets them reach what is on it",
        ),
    ] = "bridge"
    allowed_host_paths: Annotated[
        tuple[str, ...], Meta(description="Directories that tasks may mount, with everything below; comma separated")
    ] = ()
    pids_limit: Annotated[
        int, Meta(ge=16, le=4_194_304, description="Processes and threads that one container may have")
    ] = 1024
    max_output_bytes: Annotated[
        int, Meta(ge=4096, description="Bytes of a task's stdout, and of its stderr, after which the file is rotated")
    ] = 10_485_760
    fetch_file_roots: Annotated[
        tuple[str, ...],
        Meta(description="Directories whose files any task may fetch with file: URIs; comma separated"),
    ] = ()
    executor_registration_timeout_ms: Annotated[
        int,
        Meta(
            ge=1000,
            le=MAX_EXECUTOR_PATIENCE_MS,
            description="How long an executor may take from its first process until it speaks to the agent",
        ),
    ] = 60_000
    executor_reregistration_timeout_ms: Annotated[
        int,
        Meta(
            ge=1000,
            le=MAX_EXECUTOR_PATIENCE_MS,
            description="How long an executor may take to come back after a restart of the agent",
        ),
    ] = 15_000
    executor_redis: Annotated[
        str,
        Meta(
            pattern=r"^(auto|off|(redis|rediss|unix|sentinel)://.+)$",
            description="Redis that executors are connected to: auto for the agent's own, off for none, or an address "
            "with a user who may do less",
        ),
    ] = "auto"
    blocks_max_mib: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="MiB of disk for large arguments and results of calls; a quarter of what is free where absent"
        ),
    ] = None
    blocks_port: Annotated[
        Port, Meta(description="Port by which other hosts read large results, on http_host; 0 takes a free one")
    ] = 0
    flower: Annotated[bool, Meta(description="Appear in Flower as a Celery worker")] = True
    flower_tasks_per_s: Annotated[
        float, Meta(gt=0, description="New tasks a second shown in Flower; others only fail")
    ] = 200.0

    def __post_init__(self) -> None:
        if self.agent_id is not None and "{slot}" in self.work_dir:
            raise ValueError(
                "agent_id names one agent, but work_dir with {slot} serves several; leave agent_id out: each slot keeps its own"
            )


class FlowerConfig(ClusterConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Flower is told."""

    http_host: Annotated[str, Meta(min_length=1, description="Address of its pages; they have no passwords")] = (
        "127.0.0.1"
    )
    http_port: Annotated[Port, Meta(description="Port of its pages")] = 5555


class UpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `mesolite up` is told."""

    agents: Annotated[int, Meta(ge=1, le=64, description="How many agents to start on this machine")] = 2
    agent_resources: Annotated[
        str | None, Meta(description="What each agent offers, like cpus:1;mem:512; an equal share of the machine")
    ] = None
    containerizer: Annotated[Literal["auto", "docker", "process"], Meta(description="How tasks run")] = "auto"
    image: Annotated[str | None, Meta(description="Docker image of tasks that name none")] = None
    redis: Annotated[BrokerUrl | None, Meta(description="A Redis to use instead of starting one")] = None
    cluster: Annotated[Name, Meta(description="Name of the cluster")] = "default"
    http_port: Annotated[Port, Meta(description="Port of the operator API; 0 takes a free one")] = 0
    flower_port: Annotated[Port, Meta(description="Port of Flower; 0 takes a free one")] = 0
    flower: Annotated[bool, Meta(description="Start Flower")] = True
    wait_s: Annotated[float, Meta(gt=0, le=600, description="How long to wait until everything answers")] = 60.0


#: The tables of a configuration file, and what each may hold.
CONFIG_TABLES: Final[Mapping[str, type[Struct]]] = {
    "master": MasterConfig,
    "agent": AgentConfig,
    "flower": FlowerConfig,
    "up": UpConfig,
}

#: Tables of tables, one for each group of something, which the command of that name reads for itself: [celery-workers.NAME].
GROUP_TABLES: Final = ("celery-workers",)

ConfigT = TypeVar("ConfigT", bound=Struct)


def check_config(kind: type[ConfigT], values: Mapping[str, object], source_of: Callable[[str], str]) -> ConfigT:
    """Check settings as a whole.

    Args:
        kind: The struct to fill.
        values: What was given, under the names of the struct's fields; text is converted. What is absent takes its default.
        source_of: Says where a setting came from, for the message: "--http-port".

    Raises:
        ConfigError: Names the setting, where it came from and what is allowed.
    """
    known = kind.__struct_fields__
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} (from {source_of(name)}){suggestion(name, known)}")
    try:
        return msgspec.convert({name: _parsed(kind, name, value) for name, value in values.items()}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(kind, str(error), values, source_of)) from None


def read_config_file(path: Path) -> dict[str, dict[str, object]]:
    """Read a TOML file into settings per process, those at its top given to each process that knows them.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has an unknown setting.
    """
    document = _document(path)
    shared = {name: value for name, value in document.items() if name not in (*CONFIG_TABLES, *GROUP_TABLES)}
    for name in shared:
        if name not in ClusterConfig.__struct_fields__:
            names = (*CONFIG_TABLES, *GROUP_TABLES, *ClusterConfig.__struct_fields__)
            raise ConfigError(f"unknown setting {name!r} in {path}{suggestion(name, names)}")
    return {table: _table(path, table, document.get(table, {}), shared) for table in CONFIG_TABLES}


def read_groups(path: Path, table: str) -> dict[str, dict[str, object]]:
    """Read the groups of a table of tables; what stands in each is unchecked.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or the table holds something else.
    """
    content = _document(path).get(table, {})
    groups = cast("dict[str, object]", content) if isinstance(content, dict) else {"": content}
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise ConfigError(f"{name!r} in [{table}] of {path} is no group; write [{table}.NAME] above its settings")
    return cast("dict[str, dict[str, object]]", groups)


def _document(path: Path) -> dict[str, object]:
    try:
        text = path.read_bytes()
        if len(text) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} has {len(text)} bytes; a configuration file has at most {MAX_CONFIG_BYTES}")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give another with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """Return "; did you mean ...?" where a known name is near, else the list of what is known."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(sorted(known))}"


def _table(path: Path, table: str, content: object, shared: Mapping[str, object]) -> dict[str, object]:
    known = CONFIG_TABLES[table].__struct_fields__
    if not isinstance(content, dict):
        raise ConfigError(f"{table!r} in {path} is not a table; write [{table}] above its settings")
    own = cast("dict[str, object]", content)
    for name in own:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} in [{table}] of {path}{suggestion(name, known)}")
    return {**{name: value for name, value in shared.items() if name in known}, **own}


def _parsed(kind: type[Struct], name: str, value: object) -> object:
    """Turn the text of a flag or variable into the list or table that the setting is; leave the rest to msgspec."""
    if not isinstance(value, str):
        return value
    declared = type(next(field.default for field in msgspec.structs.fields(kind) if field.name == name))
    items = [item.strip() for item in value.split(",") if item.strip()]
    if declared is tuple:
        return items
    if _is_mapping(kind, name):
        return {key.strip(): number.strip() for key, _, number in (item.partition("=") for item in items)}
    return value


def _is_mapping(kind: type[Struct], name: str) -> bool:
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    return field.default_factory is dict


def _explained(kind: type[Struct], error: str, values: Mapping[str, object], source_of: Callable[[str], str]) -> str:
    where = re.search(r" - at `\$\.(\w+)", error)
    said = error.split(" - at `", maxsplit=1)[0]
    if where is None:
        return said
    name = where.group(1)
    said = said[:1].lower() + said[1:]
    if "matching regex" in said:
        said = "it is not of the form that is allowed"
    elif "invalid enum value" in said and (allowed := _choices(kind, name)):
        said = f"choose one of {', '.join(allowed)}"
    return f"{name} is {values.get(name)!r} (from {source_of(name)}): {said}. {description(kind, name)}"


def _choices(kind: type[Struct], name: str) -> list[str]:
    """Return the allowed words of a setting that is one of a few, else nothing."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    shape = next(field.type for field in described.fields if field.name == name)
    while isinstance(shape, msgspec.inspect.Metadata):
        shape = shape.type
    return [str(word) for word in shape.values] if isinstance(shape, msgspec.inspect.LiteralType) else []


def description(kind: type[Struct], name: str) -> str:
    """Return what a setting means, in one sentence without its full stop."""
    hints: Any = next(field.type for field in msgspec.structs.fields(kind) if field.name == name)
    for meta in cast("tuple[object, ...]", getattr(hints, "__metadata__", ())):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return ""
