"""What a machine has to offer, where its operator does not say (mesos `src/slave/containerizer/containerizer.cpp`).

Something is left for the system and the agent itself: 1 GiB of memory and 5 GiB of disk, or half where there is little.
Where the operator says, that is all there is: nothing is added to what was written.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from mesolite.errors import ConfigError, ResourceError
from mesolite.protocol import Attribute
from mesolite.resources import Resource, Resources

#: Left for the system, as in Mesos.
SYSTEM_MEM_MIB: Final = 1024
SYSTEM_DISK_MIB: Final = 5 * 1024
#: Ports above the kernel's usual ephemeral range's lower neighbours; Mesos's default (reference 1.21).
DEFAULT_PORTS: Final = "[31000-32000]"
#: More attributes than this no master admits.
MAX_ATTRIBUTES: Final = 1000

_MIB: Final = 1024 * 1024


def resources_of(text: str | None, work_dir: Path) -> tuple[Resource, ...]:
    """Return what the agent offers.

    Args:
        text: The operator's word, like `cpus:4;mem:8192;cpus(web):2`; None to detect.
        work_dir: On the disk that sandboxes are on.

    Raises:
        ConfigError: The text is not understood, or offers nothing.
    """
    expression = text if text is not None else offered(*_machine(work_dir))
    try:
        resources = Resources.parse(expression)
    except ResourceError as error:
        raise ConfigError(f"resources {expression!r}: {error}") from error
    if not resources:
        raise ConfigError(f"resources {expression!r} offer nothing; write them like cpus:4;mem:8192")
    return tuple(resources)


def attributes_of(text: str | None) -> tuple[Attribute, ...]:
    """Read attributes like `rack:a1;gpu:no`.

    Raises:
        ConfigError: One has no name or no value, or there are more than MAX_ATTRIBUTES.
    """
    attributes: list[Attribute] = []
    for entry in filter(None, map(str.strip, (text or "").split(";"))):
        name, colon, value = (part.strip() for part in entry.partition(":"))
        if not name or not colon or not value:
            raise ConfigError(f"the attribute {entry!r} is not like rack:a1")
        attributes.append(Attribute(name=name, text=value))
    if len(attributes) > MAX_ATTRIBUTES:
        raise ConfigError(f"{len(attributes)} attributes; at most {MAX_ATTRIBUTES} are allowed")
    return tuple(attributes)


def offered(cpus: int, mem_mib: int, disk_mib: int) -> str:
    """Return what a machine of this size offers, in the resource language.

    Args:
        cpus: Processors the agent may use.
        mem_mib: All memory.
        disk_mib: All of the disk.
    """
    mem = _without(mem_mib, SYSTEM_MEM_MIB)
    disk = _without(disk_mib, SYSTEM_DISK_MIB)
    return f"cpus:{cpus};mem:{mem};disk:{disk};ports:{DEFAULT_PORTS}"


def _without(total: int, reserved: int) -> int:
    return total - reserved if total > 2 * reserved else total // 2


def _machine(work_dir: Path) -> tuple[int, int, int]:
    mem_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    return len(os.sched_getaffinity(0)), mem_mib, shutil.disk_usage(work_dir).total // _MIB
