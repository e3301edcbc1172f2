"""From a container's specification to the body of the Engine's `POST /containers/create`: pure, no engine in sight."""

from pathlib import Path
from typing import Any, Final

from mesolite.ids import AgentId, ContainerId
from mesolite.protocol import Network

from .contract import ContainerSpec
from .policy import (
    BUNDLE_MOUNT,
    SANDBOX_MOUNT,
    SOCKETS_MOUNT,
    ContainerPolicy,
    User,
    allowed_volume,
    executor_environment,
)

AGENT_LABEL: Final = "mesolite.agent"
CLUSTER_LABEL: Final = "mesolite.cluster"
WORK_DIR_LABEL: Final = "mesolite.work_dir"
CONTAINER_LABEL: Final = "mesolite.container"
SANDBOX_LABEL: Final = "mesolite.sandbox"
USER_LABEL: Final = "mesolite.user"
MEMORY_LABEL: Final = "mesolite.mem_mib"

_PERIOD_US: Final = 100_000
_MEBIBYTE: Final = 1024 * 1024
#: The engine refuses less (moby `daemon/daemon_unix.go`, linuxMinMemory: 6 MiB since 20.10).
MIN_MEM_MIB: Final = 6
#: The engine's own copy of the output, from which a restarted agent goes on: two files of this size at most.
_LOG_OPTIONS: Final = {"max-size": "10m", "max-file": "2"}
_NETWORK_MODES: Final = {Network.HOST: "host", Network.NONE: "none"}


def container_name(container_id: ContainerId) -> str:
    """The container's name in the engine, for people; found again by label."""
    return f"mesolite-{container_id}"


def owner_labels(agent_id: AgentId, cluster: str, work_dir: Path) -> dict[str, str]:
    """What tells one agent's containers from all others on the host."""
    return {AGENT_LABEL: agent_id, CLUSTER_LABEL: cluster, WORK_DIR_LABEL: str(work_dir)}


def container_body(spec: ContainerSpec, policy: ContainerPolicy, user: User, owner: dict[str, str]) -> dict[str, Any]:
    """Everything the engine is told about a container.

    Raises:
        LaunchError: A volume is not allowed.
    """
    environment = {"HOME": SANDBOX_MOUNT, **spec.environment}
    environment["MESOS_SANDBOX"] = SANDBOX_MOUNT
    environment["MESOS_DIRECTORY"] = str(spec.sandbox)
    environment["MESOS_CONTAINER_NAME"] = container_name(spec.container_id)
    environment |= executor_environment(spec, sockets=SOCKETS_MOUNT, bundle=BUNDLE_MOUNT)
    identity = {
        CONTAINER_LABEL: spec.container_id,
        SANDBOX_LABEL: str(spec.sandbox),
        USER_LABEL: str(user),
        MEMORY_LABEL: str(spec.mem_mib),
    }
    return {
        "Image": spec.image or policy.default_image,
        # As the entry point, so that an image's own does not come before it.
        "Entrypoint": [spec.argv[0]],
        "Cmd": list(spec.argv[1:]),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": str(user),
        "WorkingDir": SANDBOX_MOUNT,
        "Labels": {**spec.labels, **identity, **owner},
        # An image's own health check would run, and cost, without anybody reading it.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec, policy),
    }


def limits(cpus_milli: int, mem_mib: int) -> dict[str, int]:
    """A container's limits, as its making and `POST /containers/ID/update` take them."""
    memory_bytes = max(mem_mib, MIN_MEM_MIB) * _MEBIBYTE
    return {
        "CpuPeriod": _PERIOD_US,
        "CpuQuota": cpus_milli * _PERIOD_US // 1000,
        "Memory": memory_bytes,
        # Equal to the memory limit: no swap.
        "MemorySwap": memory_bytes,
    }


def _host_config(spec: ContainerSpec, policy: ContainerPolicy) -> dict[str, Any]:
    mounts = [_mount(str(spec.sandbox), SANDBOX_MOUNT, read_only=False)]
    # A directory that is mounted read-only keeps its files from being made or removed; its sockets can be connected to.
    if spec.socket_dir is not None:
        mounts.append(_mount(str(spec.socket_dir), SOCKETS_MOUNT, read_only=True))
    if spec.bundle_dir is not None:
        mounts.append(_mount(str(spec.bundle_dir), BUNDLE_MOUNT, read_only=True))
    for volume in spec.volumes:
        host_path, container_path = allowed_volume(volume, spec, policy)
        mounts.append(_mount(str(host_path), container_path, read_only=volume.read_only))
    config: dict[str, Any] = {
        **limits(spec.cpus_milli, spec.mem_mib),
        "PidsLimit": policy.pids_limit,
        "NetworkMode": _NETWORK_MODES.get(spec.network, policy.bridge_network),
        "Mounts": mounts,
        "ReadonlyRootfs": spec.read_only_root,
        "LogConfig": {"Type": "json-file", "Config": _LOG_OPTIONS},
    }
    if spec.privileged:
        config["Privileged"] = True
    else:
        config["CapDrop"] = ["ALL"]
        config["SecurityOpt"] = ["no-new-privileges"]
    return config


def _mount(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
