"""What stands out in a report, in sentences that say what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .figures import duration, size
from .summary import Report, StageSummary

#: From here on a stage's skew is marked: its slowest task ran so many times as long as the median one.
MARKED_SKEW: Final = 3.0
#: From here on a share of the memory limit is marked.
MARKED_MEMORY: Final = 0.9
#: Skew of stages whose slowest task is shorter does not matter.
_LONG_TASK_MS: Final = 1_000
#: A share of the tasks' time spent waiting for blocks that is worth a sentence, where the stage's tasks ran so long together.
_MARKED_WAIT: Final = 0.3
#: So many tasks, each shorter than that on the average: most of the time goes into sending them.
_MANY_TASKS: Final = 200
_SHORT_TASK_MS: Final = 10
_SKEWED_KEYS: Final = "A few keys may hold much of the data: use more partitions, or spread those keys."
_SKEWED_INPUT: Final = "Its partitions may differ in size: more of them would be more even (repartition)."
#: Sentences in one report.
MAX_FINDINGS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence, and the stage that it is about."""

    stage_id: int
    stage_attempt: int
    text: str


def findings(report: Report) -> list[Finding]:
    """Return what stands out; the stages that took longest come first."""
    stages = sorted(report.stages, key=lambda stage: -stage.duration_ms)
    found = [
        Finding(
            stage_id=stage.stage_id, stage_attempt=stage.attempt, text=f"Stage {stage.stage_id} ({stage.name}): {text}"
        )
        for stage in stages
        for text in _of_stage(stage)
    ]
    return found[:MAX_FINDINGS]


def _of_stage(stage: StageSummary) -> Iterator[str]:
    totals, spread = stage.totals, stage.spread
    if stage.skew >= MARKED_SKEW and spread.largest >= _LONG_TASK_MS:
        slow = next((task for task in stage.slowest if task.outcome == "done"), None)
        where = "" if slow is None else f" (partition {slow.partition} on {slow.host})"
        yield (
            f"its slowest task took {duration(spread.largest)}{where}, {stage.skew:.1f} times the median. "
            + (_SKEWED_KEYS if stage.totals.shuffle_read_bytes else _SKEWED_INPUT)
        )
    if totals.memory_limit_bytes and totals.peak_memory_bytes >= MARKED_MEMORY * totals.memory_limit_bytes:
        yield (
            f"a task held {size(totals.peak_memory_bytes)} of {size(totals.memory_limit_bytes)}. "
            "Use more partitions, or raise spark.executor.memory, before one runs out."
        )
    if totals.spilled_bytes:
        yield f"tasks spilled {size(totals.spilled_bytes)} to disk. More partitions or more memory would keep it there."
    if totals.run_ms >= _LONG_TASK_MS and totals.fetch_wait_ms >= _MARKED_WAIT * totals.run_ms:
        yield (
            f"{totals.fetch_wait_ms / totals.run_ms:.0%} of its tasks' time went into waiting for other agents' blocks. "
            "Combine before the shuffle (reduceByKey instead of groupByKey), or read fewer columns."
        )
    if stage.done >= _MANY_TASKS and totals.run_ms / stage.done < _SHORT_TASK_MS:
        yield f"{stage.done} tasks of {totals.run_ms / stage.done:.1f} ms each: fewer partitions (coalesce) would be faster."
    if stage.failed + stage.lost:
        after = "" if stage.reason else "; the work was done again"
        failed = f"{_times(stage.failed)} failed" if stage.failed else ""
        lost = f"{_times(stage.lost)} lost the executor or the input" if stage.lost else ""
        yield f"{' and '.join(filter(None, (failed, lost)))}{after}."


def _times(number: int) -> str:
    return f"{number} attempt{'s' * (number != 1)}"
