"""How often is too often: counts of failures, losses and misses of a run, and what is told where one is at its limit."""

from ..errors import JobFailed, TaskError
from .records import Launched, Run
from .settings import DagSettings

#: What a failure and a loss weigh, against `max_failures` failures. A task lost with its executor may have killed it (memory),
#: and so it counts; but machines are taken away for reasons of their own, several in a row on a bad day, and that alone may not
#: fail a job before twice as many.
FAILURE_WEIGHT = 2
LOSS_WEIGHT = 1

#: A task that was tried again so often for no fault of its own fails its jobs: lost before it began, or after a miss that was
#: known. Only a cluster that takes tasks and never begins them comes so far.
MAX_REFUSALS = 100

#: An executor on which the same slot failed so often gets no more of the stage.
MAX_FAILURES_AT = 2


def count_failure(run: Run, launched: Launched, weight: int) -> int:
    """Count against the slot and the executor; return the slot's weighted sum."""
    slot = launched.slot
    run.failures[slot] = run.failures.get(slot, 0) + weight
    count_at(run, launched)
    return run.failures[slot]


def count_at(run: Run, launched: Launched) -> None:
    """Count against the executor alone."""
    place = (launched.slot, launched.executor_id)
    run.failures_at[place] = run.failures_at.get(place, 0) + 1
    if run.failures_at[place] >= MAX_FAILURES_AT:
        run.excluded.add(launched.executor_id)


def is_too_many(weighted: int, settings: DagSettings) -> bool:
    """Whether a slot's weighted failures are at the limit."""
    return weighted >= FAILURE_WEIGHT * settings.max_failures


def count_miss(run: Run, launched: Launched, made_by: int, next_task_id: int) -> None:
    """Count a round of misses, if it says that making outputs again does not help.

    Not so where the task was launched before the last round: it only repeats that. Nor where what it missed (made by task
    `made_by`) was there before the first round: stores that were emptied are found out one by one, and each miss takes
    something out of the books that is not entered again.
    """
    if launched.task_id < run.missed_before or (run.misses and made_by < run.missed_since):
        return
    if not run.misses:
        run.missed_since = next_task_id
    run.misses += 1
    run.missed_before = next_task_id


def task_failed(run: Run, launched: Launched, error: TaskError) -> JobFailed:
    """What to tell of a task that failed for good; its last error is the cause."""
    attempts = run.stage.launches.get(launched.slot, 1)
    host = error.host or launched.agent_id
    times = "once" if attempts == 1 else f"{attempts} times, the last time"
    failed = JobFailed(
        f"{run.stage.spec.name} failed: partition {run.partition(launched.slot)} of stage {run.stage_id} was tried {times} on "
        f"{host}: {error}"
    )
    failed.__cause__ = error
    return failed


def lost(run: Run, launched: Launched, reason: str) -> TaskError:
    """The error of a task that did not end by itself."""
    return TaskError(
        reason,
        stage_id=run.stage_id,
        partition=run.partition(launched.slot),
        attempt=run.stage.launches.get(launched.slot, 1) - 1,
        host=launched.agent_id,
    )


def missed_too_often(run: Run, shuffle_id: int, reason: str) -> JobFailed:
    """What to tell of a stage that cannot read its input, however often that is made again."""
    return JobFailed(
        f"{run.stage.spec.name} (stage {run.stage_id}) could not read what shuffle {shuffle_id} left, {run.misses} times in a "
        f"row, though lost outputs were made again: {reason}"
    )


def too_small(run: Run, workers: int) -> JobFailed:
    """What to tell of a barrier stage that never had enough workers."""
    return JobFailed(
        f"{run.stage.spec.name} (stage {run.stage_id}) is a barrier stage: its {run.total} tasks must run at the same time, and "
        f"the cluster has {workers} workers for this application. Use fewer partitions (coalesce), or more workers"
    )
