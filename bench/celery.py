"""Celery's tasks on Mesolite beside Celery's own workers: rates, one task alone, memory, a greedy neighbour, and a failover.

The same application, Redis and client for all: `celery worker` with prefork and with threads, and `mesolite celery` with two
warm workers, each with queues and results of its own, on one Redis that is the cluster's too. Those that are compared take turns,
so that they see the same machine. Beside a greedy task and a dead Redis primary, only prefork and ours are looked at.

What cannot be measured is named with the reason; a goal without figures is a missed one.
"""

import math
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress
from tests.integration.sentinel_rig import SentinelRig

from .celery_failover import DEADLINE_S, kill_primary
from .celery_greedy import MACHINE_MIB, ORDINARY, ORDINARY_S, Neighbours, among_neighbours, small_machine
from .celery_rates import SINGLES, Rates, client_alone, measure_once, say
from .celery_site import Site
from .celery_workers import Worker, WorkerSpec, dispatcher, plain, running
from .clusters import cluster
from .figures import RUNS, Figure, Outcome, main
from .peers.environment import PeerMissing
from .processes import memory_mib

TASKS: Final = 10_000
#: Threads are not compared with, and of a quick look nothing is quoted.
FEWER_TASKS: Final = 2_000
#: A kill and a greedy task take ten seconds each, for each worker.
MOST_RUNS: Final = 3
#: Room for two warm workers of 0.9 CPUs with what their containers take besides, and none for a third.
RESOURCES: Final = "cpus:2.2;mem:1024"

RATE_GOAL: Final = 1.5
SINGLE_GOAL_MS: Final = 1.0
#: As much as the peer's.
SAME: Final = 1.0
LOST_GOAL: Final = 0.0


@dataclass(slots=True)
class Lost:
    """Neighbours of greedy tasks, by run, of one worker."""

    name: str
    seen: list[Neighbours] = field(default_factory=list[Neighbours])
    note: str = ""


@dataclass(slots=True)
class Failovers:
    """Seconds from kills, by run."""

    written: list[float] = field(default_factory=list[float])
    #: What hung counts as the deadline.
    prefork: list[float] = field(default_factory=list[float])
    ours: list[float] = field(default_factory=list[float])
    note: str = ""


@contextmanager
def running_cluster(folder: Path, url: str | None = None) -> Generator[ClusterAddress]:
    """Run a cluster of one agent, on its own Redis where none is given."""
    folder.chmod(0o755)
    config = UpConfig(agents=1, agent_resources=RESOURCES, containerizer="process", redis=url, flower=False)
    with cluster(config) as address:
        yield address


def measure_rates(runs: int, folder: Path, url: str, address: ClusterAddress) -> tuple[list[Rates], list[float]]:
    """Measure all workers in turn, all of them running, and what the client of all of them can do in each run."""
    specs = [plain("prefork"), plain("threads"), dispatcher(address)]
    all_rates = [Rates(spec.name) for spec in specs]
    client: list[float] = []
    with ExitStack() as cleanup:
        workers = [
            (rates, worker)
            for number, (spec, rates) in enumerate(zip(specs, all_rates, strict=True))
            if (worker := _started(spec, rates, cleanup, Site(folder / f"site-{number}", url, number)))
        ]
        for _ in range(runs):
            client.extend(client_alone(worker) for _, worker in workers[:1])
            for rates, worker in workers:
                if not rates.missing:
                    fewer = runs < RUNS or worker.name.endswith("threads")
                    measure_once(rates, worker, FEWER_TASKS if fewer else TASKS)
    return all_rates, client


def _started(spec: WorkerSpec, rates: Rates, cleanup: ExitStack, site: Site) -> Worker | None:
    cleanup.enter_context(closing(site))
    rates.note = spec.setting
    try:
        return cleanup.enter_context(running(spec, site))
    except PeerMissing as missing:
        rates.miss(missing)
        return None


def measure_lost(runs: int, folder: Path, url: str, address: ClusterAddress) -> tuple[Lost, Lost]:
    """Run greedy tasks on prefork, in a machine as small as what the warm workers have, and on ours."""
    prefork, ours = Lost("Celery, prefork"), Lost("Mesolite")
    try:
        with (
            closing(Site(folder / "greedy-prefork", url, 3)) as site,
            small_machine() as enter,
            running(plain("prefork"), site, enter) as worker,
        ):
            _lose(prefork, worker, runs)
    except PeerMissing as missing:
        prefork.note = f"no figure: {missing}"
    try:
        with closing(Site(folder / "greedy-ours", url, 4)) as site, running(dispatcher(address), site) as worker:
            _lose(ours, worker, runs)
    except PeerMissing as missing:
        ours.note = f"no figure: {missing}"
    return prefork, ours


def _lose(lost: Lost, worker: Worker, runs: int) -> None:
    for _ in range(runs):
        lost.seen.append(among_neighbours(worker))
        say(f"{lost.name}: {lost.seen[-1]}")
    lost.note = f"the greedy task: {lost.seen[-1].greedy}"


def measure_failovers(runs: int, folder: Path) -> Failovers:
    """Kill the primary under both workers at once; they are started anew for each kill, since one may hang for good."""
    found = Failovers()
    with SentinelRig(folder / "redis") as rig, running_cluster(folder, rig.url) as address:
        for run in range(runs):
            with ExitStack() as cleanup:
                workers: list[Worker] = []
                for number, spec in enumerate((plain("prefork"), dispatcher(address))):
                    site = cleanup.enter_context(closing(Site(folder / f"{run}-{number}", rig.url, number)))
                    try:
                        workers.append(cleanup.enter_context(running(spec, site)))
                    except PeerMissing as missing:
                        found.note = f"{spec.name}: {missing}"
                if workers:
                    _add(found, rig, workers)
    return found


def _add(found: Failovers, rig: SentinelRig, workers: Sequence[Worker]) -> None:
    gaps = kill_primary(rig, workers)
    found.written.append(gaps.written_s)
    for worker, done_s in zip(workers, gaps.done_s, strict=True):
        to = found.ours if worker.name == "Mesolite" else found.prefork
        to.append(DEADLINE_S if done_s is None else done_s)


def measure(runs: int) -> Outcome:
    """Measure all."""
    fewer = min(runs, MOST_RUNS)
    with (
        # Not of this user alone: tasks run as another where agents run as root.
        tempfile.TemporaryDirectory(prefix="mesolite-bench-") as name,
        running_cluster(Path(name)) as address,
    ):
        folder, url = Path(name), address.redis_url
        rates, client = measure_rates(runs, folder, url, address)
        cluster_mib = memory_mib([each.pid for each in address.processes if each.name != "redis"])
        lost = measure_lost(fewer, folder, url, address)
    with tempfile.TemporaryDirectory(prefix="mesolite-bench-") as name:
        failovers = measure_failovers(fewer, Path(name))
    prefork, _, ours = rates
    return Outcome(
        figures=[
            *_rate_figures(prefork, ours),
            *_memory_figures(prefork, ours, cluster_mib),
            *_lost_figures(*lost),
            *_failover_figures(failovers),
            *(figure for each in rates for figure in _of_one(each)),
            Figure(name="the client alone: submitted and received", unit="tasks/s", values=client or [math.nan]),
        ],
        notes=[
            f"tasks that do nothing; {TASKS:,} for prefork and ours, {FEWER_TASKS:,} for threads; submitted: from the first "
            "`delay()` to the last result received by the same client; waiting: from a full queue to the last result stored",
            "the client alone: what one process submits, and receives of results stored already, while no worker works; with "
            "workers beside it, it has less of the two cores",
            f"single ones: medians of {SINGLES} in each run; one Redis for brokers, results and the cluster, by its "
            "port; of the cluster only, which is `mesolite up`'s, by its socket",
            "memory: proportional set sizes of all processes named, after tasks have run and while none does; workers are held "
            "here, which by default are given back after 10 s without a task",
            f"greedy: among {ORDINARY} tasks of {ORDINARY_S} s; prefork alone in a control group of {MACHINE_MIB} MiB",
            "failover: both at the same kill, 1 primary, 2 replicas, 3 Sentinels; until a task put after the kill has a result",
            *(f"{each.name}: {each.note}" for each in rates),
            *(f"greedy, {each.name}: {each.note}" for each in lost),
            *([f"failover: {failovers.note}"] if failovers.note else []),
        ],
    )


def _compared(
    name: str, ours: Sequence[float], theirs: Sequence[float], goal: float, better: Literal["lower", "higher"] = "lower"
) -> Figure:
    """Compare run by run: both saw the same machine then. What was not measured misses its goal."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=False)]
    return Figure(name=name, unit="ratio", values=ratios or [math.nan], goal=goal, better=better)


def _rate_figures(prefork: Rates, ours: Rates) -> list[Figure]:
    beyond = [one - other for one, other in zip(ours.singles_ms, prefork.singles_ms, strict=False)]
    return [
        _compared(
            "celery: tasks submitted and received, rate against prefork",
            ours.submitted,
            prefork.submitted,
            RATE_GOAL,
            "higher",
        ),
        _compared(
            "celery: tasks waiting in the queue, rate against prefork",
            ours.drained,
            prefork.drained,
            RATE_GOAL,
            "higher",
        ),
        Figure(
            name="celery: one task alone, beyond prefork's", unit="ms", values=beyond or [math.nan], goal=SINGLE_GOAL_MS
        ),
    ]


def _memory_figures(prefork: Rates, ours: Rates, cluster_mib: float) -> list[Figure]:
    held = "celery: memory while idle, dispatcher and two warm workers, against prefork with two children"
    given_back = "celery: memory while idle, workers given back, dispatcher against prefork with two children"
    with_cluster = "celery: memory while idle, workers given back, dispatcher, master and agent against the same"
    return [
        _compared(held, ours.idle_mib, prefork.idle_mib, SAME),
        _compared(given_back, ours.program_mib, prefork.idle_mib, SAME),
        _compared(with_cluster, [each + cluster_mib for each in ours.program_mib], prefork.idle_mib, SAME),
        Figure(name="  prefork with two children", unit="MiB", values=prefork.program_mib or [math.nan]),
        Figure(name="  the dispatcher alone", unit="MiB", values=ours.program_mib or [math.nan]),
        Figure(name="  two warm workers with their executors", unit="MiB", values=ours.elsewhere_mib or [math.nan]),
        Figure(name="  master and agent, whatever the frameworks", unit="MiB", values=[cluster_mib]),
    ]


def _lost_figures(prefork: Lost, ours: Lost) -> list[Figure]:
    def lost(what: Lost) -> list[float]:
        return [float(each.lost) for each in what.seen] or [math.nan]

    return [
        Figure(name="celery: neighbours lost to a greedy task", unit="tasks", values=lost(ours), goal=LOST_GOAL),
        Figure(name="  of prefork, on a machine of the same memory", unit="tasks", values=lost(prefork)),
        *(
            Figure(name=f"  {each.name}: time of all of them", unit="s", values=[one.seconds for one in each.seen])
            for each in (ours, prefork)
            if each.seen
        ),
    ]


def _failover_figures(found: Failovers) -> list[Figure]:
    return [
        _compared(
            "celery: Redis primary killed, time to the next task done, against prefork's",
            found.ours,
            found.prefork,
            SAME,
        ),
        Figure(name="  Mesolite", unit="s", values=found.ours or [math.nan]),
        Figure(name="  Celery, prefork", unit="s", values=found.prefork or [math.nan]),
        Figure(name="  bare redis-py Sentinel client, first write", unit="s", values=found.written or [math.nan]),
    ]


def _of_one(rates: Rates) -> list[Figure]:
    if rates.missing and not rates.singles_ms:
        return []
    return [
        Figure(name=f"{rates.name}: submitted and received", unit="tasks/s", values=rates.submitted, better="higher"),
        Figure(name=f"{rates.name}: waiting in the queue", unit="tasks/s", values=rates.drained, better="higher"),
        Figure(name=f"{rates.name}: one task alone", unit="ms", values=rates.singles_ms),
    ]


if __name__ == "__main__":
    main("celery", measure)
