"""What a group of elastic workers is: how many, how large, for which queues, and when it changes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesolite.errors import ConfigError
from mesolite.protocol import Network, Volume
from mesolite.resources import scalars

from ..driver.placement import Shape
from .settings import MAX_WORKERS, NAME_PATTERN

#: Tasks in hand and waiting for each process of a worker, unless said otherwise: as many as Celery's workers take ahead by
#: default (`worker_prefetch_multiplier`).
MESSAGES_PER_PROCESS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerShape:
    """What one worker is given, and what it runs as.

    Raises:
        ConfigError: A number is out of range.
    """

    concurrency: int = 2
    cpus: float = 1
    mem_mib: float = 512
    pool: str = "prefork"
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    volumes: tuple[Volume, ...] = ()
    network: Network = Network.BRIDGE
    role: str = "*"
    user: str | None = None
    #: Folders with the application's modules, for `PYTHONPATH`: a task begins in its sandbox, not where the image would.
    path: tuple[str, ...] = ()
    #: The interpreter that has Celery; `python3` where absent.
    python: str | None = None
    #: More arguments of `celery worker`.
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= MAX_WORKERS:
            raise ConfigError(f"concurrency is {self.concurrency}; from 1 to {MAX_WORKERS}")
        if self.cpus <= 0 or self.mem_mib <= 0:
            raise ConfigError("a worker needs CPUs and memory")

    @property
    def resources(self) -> Shape:
        """What one worker takes of an agent."""
        return scalars(cpus=self.cpus, mem_mib=self.mem_mib).to_wire()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group.

    Raises:
        ConfigError: Something makes no sense.
    """

    name: str
    #: What `celery -A` takes.
    app: str
    worker: WorkerShape = field(default_factory=WorkerShape)
    #: Empty: those that a worker of the application takes by itself.
    queues: tuple[str, ...] = ()
    least: int = 0
    most: int = 10
    #: Messages, in hand and waiting, that one worker is wanted for. None: MESSAGES_PER_PROCESS for each of its processes.
    messages_per_worker: int | None = None
    #: Where messages wait for longer, there are more workers, whatever their number.
    max_wait_ms: int = 30_000
    #: So long it must have wanted fewer before one goes.
    quiet_ms: int = 60_000
    #: What a worker that is let go may take to finish its tasks.
    drain_grace_ms: int = 600_000

    def __post_init__(self) -> None:
        if re.fullmatch(NAME_PATTERN, self.name) is None:
            raise ConfigError(f"{self.name!r} is no name for a group; letters, digits and _.- (40 at most) are")
        if not self.app:
            raise ConfigError("which application? Say it as to Celery: -A proj")
        if not 0 <= self.least <= self.most <= MAX_WORKERS or self.most == 0:
            raise ConfigError(
                f"from {self.least} to {self.most} workers: 0 <= min <= max <= {MAX_WORKERS}, and max over 0"
            )
        if self.messages_per_worker is not None and self.messages_per_worker < 1:
            raise ConfigError(f"{self.messages_per_worker} messages for each worker; at least 1")
        for name, value in (
            ("max_wait", self.max_wait_ms),
            ("quiet", self.quiet_ms),
            ("drain_grace", self.drain_grace_ms),
        ):
            if value < 0:
                raise ConfigError(f"{name} is {value} ms; not below 0")

    @property
    def per_worker(self) -> int:
        """Messages that one worker is wanted for."""
        return self.messages_per_worker or MESSAGES_PER_PROCESS * self.worker.concurrency
