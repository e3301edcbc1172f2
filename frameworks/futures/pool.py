"""How an executor gets what runs its calls."""

import sys
from dataclasses import dataclass
from typing import Literal

from mesolite.errors import ConfigError
from mesolite.executors.python.blocks import MAX_BLOCK_BYTES

from .coarse_pool import CoarsePool
from .connection import find, framework, python_settings
from .fine_pool import FinePool
from .options import CallOptions
from .programs import Program
from .settings import MAX_POOL_FUNCTION_BYTES, MAX_TASK_FUNCTION_BYTES, MAX_WORKERS
from .work import Backend, BackendListener


@dataclass(frozen=True, slots=True)
class CallBounds:
    """How large a call may be, pickled."""

    #: With what it closes over.
    function_bytes: int
    argument_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """What a pool is, beside its calls.

    Raises:
        ConfigError: A value makes no sense; the message names it.
    """

    name: str
    mode: Literal["coarse", "fine"]
    roles: tuple[str, ...]
    min_workers: int
    max_workers: int | None
    idle_timeout_ms: int
    max_result_bytes: int
    max_argument_bytes: int

    def __post_init__(self) -> None:
        if self.mode not in ("coarse", "fine"):
            raise ConfigError(f'mode is {self.mode!r}; "coarse" or "fine"')
        if self.max_workers is not None and not 1 <= self.max_workers <= MAX_WORKERS:
            raise ConfigError(
                f"max_workers is {self.max_workers}; 1 to {MAX_WORKERS}, or None for what the cluster offers"
            )
        most = MAX_WORKERS if self.max_workers is None else self.max_workers
        if not 0 <= self.min_workers <= most:
            raise ConfigError(f"min_workers is {self.min_workers}; 0 to {most}")
        if self.idle_timeout_ms < 0:
            raise ConfigError(f"idle_timeout is {self.idle_timeout_ms / 1000}; seconds, not below 0")
        if self.max_result_bytes < 1:
            raise ConfigError(f"max_result_bytes is {self.max_result_bytes}; at least 1")
        if not 1 <= self.max_argument_bytes <= MAX_BLOCK_BYTES:
            raise ConfigError(f"max_argument_bytes is {self.max_argument_bytes}; 1 to {MAX_BLOCK_BYTES}")

    @property
    def bounds(self) -> CallBounds:
        """How large a call may be."""
        function = MAX_TASK_FUNCTION_BYTES if self.mode == "fine" else MAX_POOL_FUNCTION_BYTES
        return CallBounds(function, self.max_argument_bytes)


def open_pool(
    pool: PoolOptions,
    options: CallOptions,
    redis_url: str | None,
    cluster: str | None,
    principal: str | None,
    listener: BackendListener,
) -> Backend:
    """Connect to a cluster, and start what runs calls there.

    Raises:
        MesoliteError: See `Executor`.
    """
    place = find(redis_url, cluster, principal)
    info = framework(pool.name, pool.roles)
    settings = python_settings(pool.max_result_bytes, {} if pool.mode == "coarse" else None)
    program = Program(name=pool.name, settings=settings, own_python=sys.executable or "")
    if pool.mode == "fine":
        return FinePool(place, info, program, listener, max_calls=pool.max_workers)
    return CoarsePool(
        place,
        info,
        program,
        listener,
        kind=options.kind,
        min_workers=pool.min_workers,
        max_workers=pool.max_workers,
        idle_ms=pool.idle_timeout_ms,
    )
