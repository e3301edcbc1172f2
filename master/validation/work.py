"""Bounds that tasks and executors share."""

from collections.abc import Mapping
from typing import Final

from mesolite.protocol import ContainerInfo

#: A description travels, is checkpointed and kept in memory for as long as what it describes.
MAX_TASK_TEXT_BYTES: Final = 256 * 1024
#: Below these a container cannot even start (Docker refuses less than 6 MiB; a quota under 1 ms per 100 ms).
MIN_CPUS_MILLI: Final = 10
MIN_MEM_MILLI: Final = 6000


MAX_VOLUMES: Final = 1000


def container_error(container: ContainerInfo) -> str | None:
    """T9: say what is wrong with the container of a task or an executor, or None."""
    if len(container.volumes) > MAX_VOLUMES:
        return f"{len(container.volumes)} volumes; at most {MAX_VOLUMES} are allowed"
    paths = sum(len(volume.host_path) + len(volume.container_path) for volume in container.volumes)
    if len(container.image or "") + paths > MAX_TASK_TEXT_BYTES:
        return f"the image's name and the volumes' paths are over {MAX_TASK_TEXT_BYTES} characters"
    return None


def labels_error(labels: Mapping[str, str]) -> str | None:
    """Say what is wrong with labels, or None."""
    if labels and sum(map(len, labels)) + sum(map(len, labels.values())) > MAX_TASK_TEXT_BYTES:
        return f"labels are over {MAX_TASK_TEXT_BYTES} characters; keep them elsewhere, and name the place"
    return None
