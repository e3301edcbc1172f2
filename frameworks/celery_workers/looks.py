"""What was seen of queues and workers at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What one worker said of itself."""

    #: Tasks that run.
    active: int
    #: Tasks that it has taken and not begun.
    reserved: int
    #: Tasks that it keeps until their time (ETA, countdown).
    scheduled: int = 0
    #: Tasks that it has begun in its life.
    begun: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be kept waiting by its end."""
        return not (self.active or self.reserved or self.scheduled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look. Not made where the broker does not answer."""

    #: Messages in each queue.
    waiting: Mapping[str, int]
    #: By node name: workers that answered.
    workers: Mapping[str, WorkerView] = field(default_factory=dict[str, WorkerView])
