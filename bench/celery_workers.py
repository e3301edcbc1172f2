"""The workers that bench/celery.py compares, each a program over a site: Celery's own with two pools, and the dispatcher."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import celery

from mesolite.discovery import ClusterAddress
from mesolite.executors.celery.protocol import APP_VARIABLE

from .celery_site import Site, failure_of, let_go
from .peers.environment import PeerMissing
from .processes import Program, with_in_environment

#: Both kinds of Celery's own have two processes or threads, ours two warm workers of a CPU each.
CONCURRENCY: Final = 2
CPUS: Final = 0.9
#: Of a warm worker. What it takes is measured; this is its limit.
MEM_MIB: Final = 256
#: Held for as long as the others are measured.
IDLE_S: Final = 3600
#: From the start until it has run tasks.
START_TIMEOUT_S: Final = 60.0
#: So that both workers have started and have imported the application.
WARM_UP_TASKS: Final = 100
#: Which hold both workers for a moment.
WARM_UP_TASK_S: Final = 0.01
_LOOK_EVERY_S: Final = 0.5
#: What a benchmark does not need: talk among workers, and lines for each task.
_QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")


@dataclass(slots=True)
class Worker:
    """One that runs."""

    name: str
    #: How it is set up.
    setting: str
    site: Site
    program: Program
    #: Its processes elsewhere.
    others: Callable[[], list[int]] = list

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return [*self.program.pids, *self.others()]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One that can be started."""

    name: str
    setting: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    #: Text in the environment of those processes that it has elsewhere; empty: none.
    elsewhere: str = ""


def plain(pool: str) -> WorkerSpec:
    """Celery's own worker."""
    return WorkerSpec(
        name=f"Celery, {pool}",
        setting=f"Celery {celery.__version__}, {pool}, concurrency {CONCURRENCY}, default prefetch",
        arguments=("-m", "celery", "-A", Site.APP, "worker", "-P", pool, "-c", str(CONCURRENCY), *_QUIET),
    )


def dispatcher(address: ClusterAddress, *more: str) -> WorkerSpec:
    """`mesolite celery` on a cluster.

    Args:
        address: Of the cluster.
        more: Options; those that stand twice count as they stand last.
    """
    ours = ["celery", "-A", Site.APP, "--cpus", str(CPUS), "--mem", str(MEM_MIB), "--idle", str(IDLE_S), *more]
    return WorkerSpec(
        name="Mesolite",
        setting=f"mesolite celery, {CONCURRENCY} warm workers of {CPUS} CPUs and {MEM_MIB} MiB, each a container",
        arguments=("-m", "mesolite.cli", *ours, *_QUIET),
        environment={
            "MESOLITE_MASTER_URL": address.master_url,
            "MESOLITE_REDIS_URL": address.nearest_redis_url,
            "MESOLITE_CLUSTER": address.cluster,
        },
        elsewhere=f"{APP_VARIABLE}={Site.APP}",
    )


@contextmanager
def running(spec: WorkerSpec, site: Site, enter: Callable[[int], None] | None = None) -> Generator[Worker]:
    """Start a worker, wait until it is warm, and end it afterwards.

    Args:
        spec: Which.
        site: Where.
        enter: Given its process id as soon as it has one.

    Raises:
        PeerMissing: It does not run tasks.
    """
    program = Program(spec.arguments, site.folder, spec.environment)
    if enter is not None:
        enter(program.process.pid)
    worker = Worker(spec.name, spec.setting, site, program)
    if spec.elsewhere:
        worker.others = lambda: with_in_environment(spec.elsewhere)
    try:
        _warm_up(worker)
        yield worker
    finally:
        program.stop()


def _warm_up(worker: Worker) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    ordinary: Any = worker.site.task("ordinary")
    results = [ordinary.delay(WARM_UP_TASK_S, 1) for _ in range(WARM_UP_TASKS)]
    try:
        for result in results:
            while not _has_come(result):
                if worker.program.process.poll() is not None:
                    raise PeerMissing(f"it ended: {worker.program.last_words()}")
                if time.monotonic() > deadline_s:
                    raise PeerMissing(f"no results within {START_TIMEOUT_S:g} s: {worker.program.last_words()}")
    finally:
        let_go(results)


def _has_come(result: Any) -> bool:
    try:
        failure = failure_of(result, _LOOK_EVERY_S)
    except TimeoutError:
        return False
    if failure is not None:
        raise PeerMissing(f"tasks fail: {failure}")
    return True
