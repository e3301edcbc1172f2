"""What comes into the core of elastic workers."""

from dataclasses import dataclass
from typing import TypeAlias

from ..driver.scheduling import Offered, Ticked, TooLarge, Updated
from .looks import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Queues and workers were looked at."""

    now_ms: int
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFailed:
    """The broker did not answer."""

    now_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainAsked:
    """All workers shall go, and none come."""

    now_ms: int


WorkersEvent: TypeAlias = Looked | LookFailed | Offered | Updated | TooLarge | DrainAsked | Ticked
