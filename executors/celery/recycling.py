"""When a worker process ends after a task: a pure decision."""

import json
from typing import Any, Final, cast

from .protocol import RecycleRules

_MEBIBYTE: Final = 1024 * 1024


def rules_from(text: str) -> RecycleRules:
    """Read what the environment says; what is not known here is left alone, and what is missing never ends a worker.

    Raises:
        ValueError: It is no JSON of numbers.
    """
    found: object = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise ValueError("the rules of when workers end are a JSON object")
    values = cast("dict[str, Any]", found)
    known = {name: values[name] for name in RecycleRules._fields if name in values}
    for name, value in known.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} is a number from 0, not {value!r}")
    return RecycleRules(**known)


def why_end(rules: RecycleRules, *, tasks: int, age_s: float, resident_bytes: int) -> str:
    """Say why a worker is to end; "" where it stays.

    Args:
        rules: What is allowed.
        tasks: How many it has run.
        age_s: How old it is.
        resident_bytes: What it holds.
    """
    if rules.max_tasks and tasks >= rules.max_tasks:
        return f"it has run {tasks:,} tasks, as many as one worker may"
    if rules.max_age_s and age_s >= rules.max_age_s:
        return f"it is {age_s:,.0f} s old; a worker may be {rules.max_age_s:,} s"
    if rules.max_mem_mib and resident_bytes > rules.max_mem_mib * _MEBIBYTE:
        return f"it holds {resident_bytes / _MEBIBYTE:,.0f} MiB; a worker may keep {rules.max_mem_mib:,} MiB"
    return ""
