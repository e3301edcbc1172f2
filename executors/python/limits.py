"""What a worker is told once, by way of the zygote."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Limits(NamedTuple):
    """What a worker's results are bounded by."""

    max_result_bytes: int
    #: The greatest result that may travel without a block store.
    max_inline_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What makes one worker different from others."""

    number: int
    sandbox: Path
    limits: Limits
