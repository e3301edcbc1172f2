"""New limits for a container in a Docker Engine, and which ones it has."""

from pathlib import Path
from typing import Final

from mesolite.errors import MesoliteError

from .cgroups import docker_groups, kept_bytes
from .docker_config import MIN_MEM_MIB, limits
from .docker_engine import DockerEngine
from .resizing import NewLimits

_MEBIBYTE: Final = 1024 * 1024


def set_limits(engine: DockerEngine, engine_id: str, wanted: NewLimits) -> str:
    """Hold a container to other limits; returns why that was not possible, empty where it was."""
    # Version 1 of control groups refuses a limit below what is in use, version 2 kills for it.
    for pattern in docker_groups():
        kept_mib = kept_bytes(Path(pattern.format(id=engine_id))) // _MEBIBYTE
        if kept_mib > wanted.mem_mib:
            return f"memory cannot be limited to {wanted.mem_mib} MiB: {kept_mib} MiB are in use"
    try:
        engine.update(engine_id, limits(wanted.cpus_milli, wanted.mem_mib))
    except MesoliteError as error:
        return f"memory cannot be limited to {wanted.mem_mib} MiB, more may be in use: {error}"
    return ""


def limit_mib(engine: DockerEngine, engine_id: str, labelled: str) -> int | None:
    """A container's memory limit of this moment; None where neither the engine nor its label says it.

    Args:
        engine: Where it is.
        engine_id: Its id there.
        labelled: What it was made with. Below MIN_MEM_MIB the engine was told more than the task was promised.
    """
    made_mib = int(labelled) if labelled.isdigit() else None
    try:
        known_mib = engine.state(engine_id).memory_bytes // _MEBIBYTE
    except MesoliteError:
        return made_mib
    if not known_mib or (made_mib is not None and known_mib == max(made_mib, MIN_MEM_MIB)):
        return made_mib
    return known_mib
