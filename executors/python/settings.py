"""`ExecutorInfo.data` of the Python executor: what the framework wants of it, as JSON. Both ends use this module.

{"python": "3.11", "pool": {...} | null, "mem_mib_per_worker": 512, ...}
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from .assignment import CHUNK_US

#: As `Executor` of the futures takes it; an answer that cannot be held in memory twice helps nobody.
DEFAULT_MAX_RESULT_MIB: Final = 512
#: How the bundle ends under a Python that cannot even read the executor's code, and so cannot say it to the agent.
EXIT_OLD_PYTHON: Final = 79
_MEBIBYTE: Final = 1024 * 1024


class BadSettings(ValueError):
    """The executor's data is not what the Python executor reads. Framework and executor must run the same version of Mesolite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSettings:
    """What a framework wants of its Python executors."""

    #: Major and minor version that functions were pickled with: "3.11". Empty: what is sent here any version reads.
    python: str
    #: How to reach the calls of a pool (pool.py reads it); None where all calls are tasks.
    pool: dict[str, Any] | None = None
    #: Resident memory that one worker may use; 0: an equal share of what the container has.
    mem_mib_per_worker: int = 0
    #: Larger results are refused: `End.TOO_LARGE`.
    max_result_mib: int = DEFAULT_MAX_RESULT_MIB
    #: Work that may wait in a worker behind what it runs, in microseconds: their answers come together (assignment.py).
    chunk_us: int = CHUNK_US

    @property
    def mem_bytes_per_worker(self) -> int:
        """`mem_mib_per_worker` in bytes."""
        return self.mem_mib_per_worker * _MEBIBYTE

    @property
    def max_result_bytes(self) -> int:
        """`max_result_mib` in bytes."""
        return self.max_result_mib * _MEBIBYTE

    def to_data(self) -> bytes:
        """`ExecutorInfo.data`."""
        return json.dumps(asdict(self)).encode()


def settings_from(data: bytes) -> PythonSettings:
    """Read `ExecutorInfo.data`; what is not known here is left alone.

    Raises:
        BadSettings: It says nothing that can be followed.
    """
    try:
        found: object = json.loads(data)
    except ValueError as error:
        raise BadSettings(f"ExecutorInfo.data of a Python executor is JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadSettings("ExecutorInfo.data of a Python executor is a JSON object")
    values = cast("dict[str, object]", found)
    python = values.get("python")
    if not isinstance(python, str):
        raise BadSettings('ExecutorInfo.data names no version of Python: "python": "3.11"')
    pool = values.get("pool")
    if pool is not None and not isinstance(pool, dict):
        raise BadSettings('"pool" of ExecutorInfo.data is an object or null')
    return PythonSettings(
        python=python,
        pool=cast("dict[str, Any] | None", pool),
        mem_mib_per_worker=_natural(values, "mem_mib_per_worker", 0),
        max_result_mib=_natural(values, "max_result_mib", DEFAULT_MAX_RESULT_MIB),
        chunk_us=_natural(values, "chunk_us", CHUNK_US),
    )


def _natural(values: dict[str, object], name: str, default: int) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadSettings(f'"{name}" of ExecutorInfo.data is a whole number from 0, not {value!r}')
    return value
