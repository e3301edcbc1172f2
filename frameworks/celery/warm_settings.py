"""What warm workers are, and how many of them are held."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..futures.options import Kind
from ..futures.programs import ExecutorShare
from ..futures.settings import IDLE_MS

#: Its main process and the process that workers are forked from. What these have of the application loaded, workers share.
EXECUTOR_MEM_MIB: Final = 48
#: A tenth of a CPU more than is booked is every container's (docs/executors.md): Python and an application start on two tenths,
#: if slowly. Smaller tasks give their executor so much.
SMALL_CPUS_MILLI: Final = 100
CPUS_FOR_SMALL: Final = 0.1
WARM_SHARE: Final = ExecutorShare(
    mem_mib=EXECUTOR_MEM_MIB, small_cpus_milli=SMALL_CPUS_MILLI, cpus_for_small=CPUS_FOR_SMALL
)
#: A report holds what a task returned as text, and where it raised, the exception: most are a kilobyte. It travels inline.
MAX_INLINE_REPORT_BYTES: Final = 4 * 1024 * 1024
DEFAULT_MAX_REPORT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmSettings:
    """For `WarmRunner`."""

    #: Of the framework, for people.
    name: str
    #: Of which `min_workers` are held.
    kind: Kind
    min_workers: int = 0
    #: Of all shapes; None: what the cluster offers.
    max_workers: int | None = None
    #: How long workers may be too many.
    idle_ms: int = IDLE_MS
    #: A container that is older is replaced; None: never for this reason.
    max_age_ms: int | None = None
    #: Workers that share a container and its limits: 1, or more for density.
    workers_per_executor: int = 1
    #: Of all executors (`executors.celery.protocol`); a kind's own goes before it.
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    #: The program's interpreter, for agents that run tasks as plain processes; see `Program`.
    own_python: str = ""
    executor_share: ExecutorShare = WARM_SHARE
    max_report_bytes: int = DEFAULT_MAX_REPORT_BYTES
