"""How fast a worker's tasks are: many at once, many that wait in the queue, one alone; and what it takes while there is none."""

import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from .celery_site import Drain, failure_of, let_go
from .celery_workers import Worker
from .peers.environment import PeerMissing
from .processes import memory_mib

#: In each run.
SINGLES: Final = 100
#: Tasks of which the client measures its own part.
CLIENT_TASKS: Final = 2_000
#: Nobody takes from it.
_NOBODYS: Final = "nobodys"
#: The slowest does 500 tasks a second; on a busy machine half of that.
LONGEST_S: Final = 90.0


@dataclass(slots=True)
class Rates:
    """What was seen of one worker, a value for each run."""

    name: str
    #: How it is set up, or why there is nothing.
    note: str = ""
    missing: bool = False
    #: Tasks a second, from the first submission to the last result received.
    submitted: list[float] = field(default_factory=list[float])
    #: Tasks a second, from a full queue to the last result stored.
    drained: list[float] = field(default_factory=list[float])
    #: Median milliseconds of single tasks.
    singles_ms: list[float] = field(default_factory=list[float])
    #: Of its own processes, and of those that it has elsewhere, while idle.
    program_mib: list[float] = field(default_factory=list[float])
    elsewhere_mib: list[float] = field(default_factory=list[float])

    @property
    def idle_mib(self) -> list[float]:
        """All its processes."""
        return [sum(both) for both in zip(self.program_mib, self.elsewhere_mib, strict=True)]

    def miss(self, why: object) -> None:
        """It cannot be measured any further."""
        self.missing = True
        self.note = f"no figure: {why}"
        say(f"{self.name}: {self.note}")


def measure_once(rates: Rates, worker: Worker, tasks: int) -> None:
    """Add one run."""
    drain = Drain(worker.site)
    try:
        rates.program_mib.append(memory_mib(worker.program.pids))
        rates.elsewhere_mib.append(memory_mib(worker.others()))
        drain.forget_results()
        rates.submitted.append(tasks / _submit(worker, tasks))
        rates.drained.append(tasks / drain.seconds(tasks, within_s=LONGEST_S))
        drain.forget_results()
        rates.singles_ms.append(statistics.median(_singles_s(worker)) * 1000)
    except (PeerMissing, TimeoutError, RedisError) as missing:
        rates.miss(missing)
    else:
        say(
            f"{rates.name}: {rates.submitted[-1]:,.0f} tasks/s submitted, {rates.drained[-1]:,.0f} drained, "
            f"one {rates.singles_ms[-1]:.2f} ms, {rates.idle_mib[-1]:.0f} MiB"
        )
    finally:
        drain.close()


def client_alone(worker: Worker, tasks: int = CLIENT_TASKS) -> float:
    """Return how many tasks a second the client submits and receives by itself, while no worker works: more none can show it."""
    nothing: Any = worker.site.task("nothing")
    began_s = time.perf_counter()
    results = [nothing.apply_async((number,), queue=_NOBODYS) for number in range(tasks)]
    spent_s = time.perf_counter() - began_s
    try:
        with warnings.catch_warnings():
            # Celery stores by a call that redis-py would have written otherwise.
            warnings.simplefilter("ignore", DeprecationWarning)
            for result in results:
                worker.site.app.backend.mark_as_done(result.id, None)
        began_s = time.perf_counter()
        for result in results:
            _received(result)
        return tasks / (spent_s + time.perf_counter() - began_s)
    finally:
        let_go(results)
        worker.site.purge(_NOBODYS)


def _submit(worker: Worker, tasks: int) -> float:
    nothing: Any = worker.site.task("nothing")
    began_s = time.perf_counter()
    results = [nothing.delay(number) for number in range(tasks)]
    try:
        for result in results:
            _received(result)
        return time.perf_counter() - began_s
    finally:
        let_go(results)


def _singles_s(worker: Worker) -> Sequence[float]:
    nothing: Any = worker.site.task("nothing")
    seconds: list[float] = []
    for number in range(SINGLES):
        began_s = time.perf_counter()
        result = nothing.delay(number)
        try:
            _received(result)
        finally:
            let_go([result])
        seconds.append(time.perf_counter() - began_s)
    return seconds


def _received(result: Any) -> None:
    failure = failure_of(result, LONGEST_S)
    if failure is not None:
        raise PeerMissing(f"a task that does nothing fails: {failure}")


def say(text: str) -> None:
    """What is going on, for whoever waits."""
    print(f"  {text}", file=sys.stderr, flush=True)
