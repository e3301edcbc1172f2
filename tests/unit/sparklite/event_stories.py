"""Streams of events as a context tells them, made up: for tests of what shows them."""

import random
import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Protocol

from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.frameworks.sparklite.listener import (
    ExecutorSeen,
    JobBegan,
    JobFinished,
    SparkEvent,
    StageBegan,
    StageFinished,
    StageWasSkipped,
    TaskFinished,
    TaskStarted,
)

MIB = 1024 * 1024
#: Some moment of 2026.
T0 = 1_780_000_000_000


class Hears(Protocol):
    """Takes events in."""

    def heard(self, event: SparkEvent) -> None:
        """Something happened."""
        ...


def now_ms() -> int:
    """The driver's clock."""
    return time.time_ns() // 1_000_000


def tell(listener: Hears, events: Iterable[SparkEvent]) -> None:
    """Tell a whole story."""
    for event in events:
        listener.heard(event)


def job_began(
    job_id: int = 0, *stages: int, name: str = "collect at app.py:12", at_ms: int = T0, group: str | None = None
) -> JobBegan:
    """A job with these stages."""
    return JobBegan(at_ms=at_ms, job_id=job_id, name=name, group=group, description=None, stage_ids=stages or (0,))


def stage_began(
    stage_id: int = 0,
    tasks: int = 2,
    *,
    job_id: int = 0,
    attempt: int = 0,
    at_ms: int = T0,
    name: str = "map at app.py:7",
) -> StageBegan:
    """A stage."""
    return StageBegan(at_ms=at_ms, job_id=job_id, stage_id=stage_id, attempt=attempt, name=name, tasks=tasks)


def task_started(
    task_id: int,
    stage_id: int = 0,
    *,
    at_ms: int = T0,
    attempt: int = 0,
    partition: int | None = None,
    stage_attempt: int = 0,
    executor_id: str = "e-1",
    agent_id: str = "a-1",
    host: str = "host-a",
) -> TaskStarted:
    """A task was sent."""
    return TaskStarted(
        at_ms=at_ms,
        stage_id=stage_id,
        stage_attempt=stage_attempt,
        task_id=task_id,
        partition=task_id if partition is None else partition,
        attempt=attempt,
        executor_id=executor_id,
        agent_id=agent_id,
        host=host,
        speculative=False,
        local=True,
    )


def task_finished(
    task_id: int,
    stage_id: int = 0,
    *,
    at_ms: int = T0 + 1000,
    outcome: str = "done",
    reason: str = "",
    metrics: TaskMetrics | None = None,
) -> TaskFinished:
    """A task ended."""
    return TaskFinished(
        at_ms=at_ms,
        stage_id=stage_id,
        task_id=task_id,
        partition=task_id,
        outcome=outcome,
        reason=reason,
        metrics=metrics or TaskMetrics(),
    )


def whole_job(
    job_id: int = 0, stage_id: int = 0, tasks: int = 4, metrics: TaskMetrics | None = None
) -> Iterator[SparkEvent]:
    """A job of one stage whose tasks all go well, each taking 100 ms more than the one before."""
    yield job_began(job_id, stage_id)
    yield stage_began(stage_id, tasks, job_id=job_id)
    for place in range(tasks):
        yield task_started(stage_id * 1_000_000 + place, stage_id, partition=place)
    for place in range(tasks):
        told = (metrics or TaskMetrics())._replace(run_ms=100.0 * (place + 1))
        yield task_finished(stage_id * 1_000_000 + place, stage_id, at_ms=T0 + 100 * (place + 1), metrics=told)
    yield StageFinished(at_ms=T0 + 100 * tasks, stage_id=stage_id, attempt=0, reason="")
    yield JobFinished(at_ms=T0 + 100 * tasks, job_id=job_id, error="")


class Program:
    """A made-up program on two executors of two workers: several jobs, skew, spilling, a failing job, a task that fails once.

    Args:
        tasks: Of each stage.
        seed: Makes the times.
    """

    def __init__(self, tasks: int = 24, seed: int = 1) -> None:
        self.tasks = tasks
        self._random = random.Random(seed)
        self._ids = count()
        self._now = T0

    def events(self) -> list[SparkEvent]:
        """All that happens, in order."""
        told: list[SparkEvent] = [
            ExecutorSeen(
                at_ms=T0,
                executor_id=f"sparklite-{number}",
                agent_id=f"agent-{number}",
                host=f"host-{number}",
                workers=2,
            )
            for number in (1, 2)
        ]
        told += self._job(
            0,
            "count at logs.py:31",
            [(0, "map at logs.py:12", ()), (1, "reduceByKey at logs.py:20", (0,)), (2, "count at logs.py:31", (1,))],
        )
        told += self._job(
            1,
            "collect at logs.py:52 <b>&amp;",
            [
                (4, "keyBy at logs.py:40", ()),
                (5, "mapValues at logs.py:41", ()),
                (6, "join at logs.py:44", (1, 4)),
                (7, "groupByKey at logs.py:45", (5,)),
                (8, "collect at logs.py:52", (6, 7)),
            ],
            skipped={1: "reduceByKey at logs.py:20", 0: "map at logs.py:12"},
        )
        told += self._job(2, "take at logs.py:60", [(9, "take at logs.py:60", ())], fails=True)
        return told

    def _job(
        self,
        job_id: int,
        name: str,
        stages: list[tuple[int, str, tuple[int, ...]]],
        skipped: dict[int, str] | None = None,
        fails: bool = False,
    ) -> Iterator[SparkEvent]:
        skipped = skipped or {}
        ids = (*sorted(skipped), *(stage_id for stage_id, _, _ in stages))
        yield JobBegan(at_ms=self._now, job_id=job_id, name=name, group="logs", description=None, stage_ids=ids)
        for stage_id, skipped_name in skipped.items():
            yield StageWasSkipped(at_ms=self._now, job_id=job_id, stage_id=stage_id, name=skipped_name)
        for stage_id, stage_name, parents in stages:
            yield from self._stage(job_id, stage_id, stage_name, parents, fails)
        self._now += 5
        error = (
            "stage 9, partition 3 failed 4 times on host-2\nValueError: </script><script>alert(1)</script>"
            if fails
            else ""
        )
        yield JobFinished(at_ms=self._now, job_id=job_id, error=error)

    def _stage(
        self, job_id: int, stage_id: int, name: str, parents: tuple[int, ...], fails: bool
    ) -> Iterator[SparkEvent]:
        rdds = tuple(f"{number}: {name} [24 partitions]" for number in range(3))
        tasks = 4 if fails else self.tasks
        yield StageBegan(
            at_ms=self._now,
            job_id=job_id,
            stage_id=stage_id,
            attempt=0,
            name=name,
            tasks=tasks,
            rdds=rdds,
            parents=parents,
        )
        free = [float(self._now)] * 4
        ended: list[tuple[float, SparkEvent]] = []
        for partition in range(tasks):
            worker = min(range(4), key=free.__getitem__)
            task_id, begins = next(self._ids), free[worker]
            run_ms = self._random.lognormvariate(6.0, 0.35) * (7 if partition == 5 and stage_id == 6 else 1)
            free[worker] += run_ms + 3
            outcome = "failed" if fails or (partition == 9 and stage_id == 4) else "done"
            reads = bool(parents)
            metrics = TaskMetrics(
                host=f"host-{worker // 2 + 1}",
                agent_id=f"agent-{worker // 2 + 1}",
                run_ms=run_ms,
                fetch_wait_ms=run_ms * self._random.random() * 0.3 if reads else 0.0,
                items_in=int(run_ms * 31),
                shuffle_read_bytes=int(run_ms * 9000) if reads else 0,
                shuffle_read_remote_bytes=int(run_ms * 4000) if reads else 0,
                shuffle_write_bytes=int(run_ms * 5000) if stage_id not in (2, 8, 9) else 0,
                spilled_bytes=20 * MIB if stage_id == 7 else 0,
                peak_memory_bytes=int(30 * MIB + run_ms * 9000 * (1 + stage_id % 3)),
                memory_limit_bytes=96 * MIB,
            )
            started = task_started(
                task_id,
                stage_id,
                at_ms=int(begins),
                partition=partition,
                executor_id=f"sparklite-{worker // 2 + 1}",
                agent_id=f"agent-{worker // 2 + 1}",
                host=f"host-{worker // 2 + 1}",
            )
            reason = 'Traceback (most recent call last):\n  File "logs.py", line 60\nValueError: <img src=x onerror=alert(2)>'
            yield started
            ended.append(
                (
                    free[worker],
                    task_finished(
                        task_id,
                        stage_id,
                        at_ms=int(free[worker]),
                        outcome=outcome,
                        reason=reason * (outcome == "failed"),
                        metrics=metrics,
                    ),
                )
            )
        yield from (event for _, event in sorted(ended, key=lambda pair: pair[0]))
        self._now = int(max(free)) + 20
        yield StageFinished(
            at_ms=self._now, stage_id=stage_id, attempt=0, reason="a task failed 4 times" if fails else ""
        )
