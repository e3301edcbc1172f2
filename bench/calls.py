"""How fast functions are called on a cluster, beside every other way to call them in two worker processes.

All calls do nothing, so that what is timed is the way there and back: 10,000 submitted at once (fewer where that would take
long), and single ones, each awaited. Everybody is warm: workers are up and have run calls (`bench/peers`). Those that goals
compare with take turns with ours, so that both see the same machine; the rest comes after, one at a time. Then, what an
executor costs from its making to its first result, and what is left of two processes when calls take their time.

A peer that cannot be installed or does not start is named with the reason; ours has to.
"""

import os
import statistics
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Final

import docker
import docker.errors
from requests.exceptions import RequestException

from mesolite.config import AgentConfig, UpConfig

from .clusters import cluster, wait_until_idle
from .figures import Figure, Outcome, main
from .peers.catalog import CELERY, COARSE, FINE, FUTURES, LISTS, LISTS_IN_BATCHES, OTHERS, POOL, PeerSpec
from .peers.environment import PeerMissing
from .peers.process import PeerProcess

#: In each round.
SINGLES: Final = 100
#: For each run, where peers take turns: 25 in all five.
SINGLE_ROUNDS: Final = 5
#: Pi, whose calls take about a fifth of a second each.
PI_CALLS: Final = 8
PI_SAMPLES: Final = 1_000_000
#: Those that compute it.
COMPUTING: Final = (COARSE, POOL)
#: One agent: workers of one CPU are two, and calls of a hundredth are two hundred at a time, if memory suffices.
RESOURCES: Final = "cpus:2;mem:8192"

#: For executors to end.
IDLE_TIMEOUT_S: Final = 15.0

COARSE_GOAL: Final = 1.0
FINE_GOAL: Final = 5.0
COARSE_SINGLE_GOAL_MS: Final = 0.6
FINE_SINGLE_GOAL: Final = 1.5
PI_GOAL: Final = 1.1
COLD_GOAL_S: Final = {"process": 0.5, "docker": 1.5}


@dataclass(slots=True)
class Measured:
    """What was seen of one peer, a value for each run."""

    spec: PeerSpec
    description: str = ""
    #: Why there is nothing.
    missing: str = ""
    #: Calls a second.
    rates: list[float] = field(default_factory=list[float])
    #: Median milliseconds of single calls.
    singles_ms: list[float] = field(default_factory=list[float])
    #: Of those that compute.
    pi_s: list[float] = field(default_factory=list[float])

    @property
    def note(self) -> str:
        """For readers of the figures."""
        said = f"no figure: {self.missing}" if self.missing else f"{self.spec.calls:,} calls; {self.description}"
        return f"{self.spec.name}: {said}"


def measure_in_turn(
    specs: Sequence[PeerSpec], runs: int, environment: Mapping[str, str] | None = None
) -> list[Measured]:
    """Measure peers that are there all at the same time, each while the others are idle.

    Single calls in many short rounds: so those of two peers that are compared are less than a second apart. The time from one run
    to the next is enough for the machine under this one to be another.
    """
    all_measured = [Measured(spec) for spec in specs]
    with ExitStack() as running:
        peers = list(_started(all_measured, running, environment or {}))
        for _ in range(runs):
            for measured, peer in _there(peers):
                _measure(measured, peer)
        for _ in range(runs * (SINGLE_ROUNDS if len(peers) > 1 else 1)):
            for measured, peer in _there(peers):
                _measure_singles(measured, peer)
    for measured in all_measured:
        if measured.singles_ms:
            _say(f"  {measured.spec.name}: one {statistics.median(measured.singles_ms):.2f} ms")
    return all_measured


def _started(
    all_measured: Sequence[Measured], running: ExitStack, environment: Mapping[str, str]
) -> Iterator[tuple[Measured, PeerProcess]]:
    for measured in all_measured:
        try:
            peer = running.enter_context(PeerProcess(measured.spec, environment))
        except PeerMissing as missing:
            measured.missing = str(missing)
            _say(f"  {measured.note}")
        else:
            measured.description = peer.description
            yield measured, peer


def _there(peers: Sequence[tuple[Measured, PeerProcess]]) -> Iterator[tuple[Measured, PeerProcess]]:
    return ((measured, peer) for measured, peer in peers if not measured.missing)


def _measure(measured: Measured, peer: PeerProcess) -> None:
    with _missed(measured):
        measured.rates.append(peer.rate())
        if measured.spec in COMPUTING:
            measured.pi_s.append(peer.pi_s(PI_CALLS, PI_SAMPLES))
        _say(f"  {measured.spec.name}: {measured.rates[-1]:,.0f} calls/s")


def _measure_singles(measured: Measured, peer: PeerProcess) -> None:
    with _missed(measured):
        measured.singles_ms.append(statistics.median(peer.singles_s(SINGLES)) * 1000)


@contextmanager
def _missed(measured: Measured) -> Generator[None]:
    """Write down what a peer lacks, and go on without it."""
    try:
        yield
    except PeerMissing as missing:
        measured.missing = str(missing)
        _say(f"  {measured.note}")


def measure_cold(runs: int, containerizer: str, environment: Mapping[str, str]) -> list[float]:
    """Return the seconds from making an executor to its first result, on a cluster that runs."""
    with PeerProcess(COARSE, environment) as ours:
        values = ours.cold_s(runs)
    _say(f"  cold start, {containerizer}: {', '.join(f'{value:.3f}' for value in values)} s")
    return values


@contextmanager
def running(containerizer: str) -> Generator[dict[str, str]]:
    """Run a cluster of one agent, and give what our peer must know of it."""
    image = os.environ.get("MESOLITE_IMAGE", AgentConfig().image)
    config = UpConfig(agents=1, agent_resources=RESOURCES, containerizer=containerizer, image=image, flower=False)  # type: ignore[arg-type]
    with cluster(config) as address:
        try:
            yield {
                "BENCH_REDIS_URL": address.redis_url,
                "BENCH_NEAREST_REDIS_URL": address.nearest_redis_url,
                "BENCH_CLUSTER": address.cluster,
                "BENCH_MASTER_URL": address.master_url,
            }
        finally:
            # An executor outlives its agent: what was shut down has to be over before agents are.
            wait_until_idle(address.master_url, within_s=IDLE_TIMEOUT_S)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Compare run by run: both saw the same machine then."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def measure(runs: int) -> Outcome:
    """Measure all."""
    cold_s: dict[str, list[float]] = {}
    with running("process") as environment:
        pools = measure_in_turn([COARSE, FUTURES, POOL, LISTS, LISTS_IN_BATCHES], runs, environment)
        _must_be_there(*pools[:3])
        tasks = measure_in_turn([FINE, CELERY], runs, environment)
        _must_be_there(tasks[0])
        cold_s["process"] = measure_cold(runs, "process", environment)
    if _docker_answers():
        with running("docker") as environment:
            cold_s["docker"] = measure_cold(runs, "docker", environment)
    others = [measured for spec in OTHERS for measured in measure_in_turn([spec], runs)]
    coarse, futures, pool, *_ = pools
    fine, celery = tasks
    everybody = [*pools, *tasks, *others]
    there = [peer for peer in everybody if not peer.missing]
    return Outcome(
        figures=[
            *_coarse(coarse, futures, pool, [peer for peer in (celery, *others) if not peer.missing]),
            *([] if celery.missing else _fine(fine, celery)),
            *(
                Figure(name=f"calls: cold start, {kind} containerizer", unit="s", values=values, goal=COLD_GOAL_S[kind])
                for kind, values in cold_s.items()
            ),
            *(Figure(name=peer.spec.name, unit="calls/s", values=peer.rates, better="higher") for peer in there),
            *(Figure(name=f"one call, {peer.spec.name}", unit="ms", values=peer.singles_ms) for peer in there),
        ],
        notes=[
            f"calls that do nothing; all with 2 worker processes; single ones: medians of {SINGLES}, {SINGLE_ROUNDS} "
            "for each run where several are compared, one after the other",
            "ours reach the cluster's Redis by its socket, as programs of its user do, and its peers by its port",
            "stretch goals: coarse-grained twice ProcessPoolExecutor's rate, fine-grained ten times Celery's",
            *(peer.note for peer in everybody),
        ],
    )


def _must_be_there(*needed: Measured) -> None:
    """Without these there is nothing to report, and no use in going on."""
    for measured in needed:
        if measured.missing:
            raise PeerMissing(measured.note)


def _coarse(coarse: Measured, futures: Measured, pool: Measured, queues: Sequence[Measured]) -> list[Figure]:
    figures = [
        Figure(
            name="calls: coarse-grained, rate against ProcessPoolExecutor(2)",
            unit="ratio",
            values=ratios(coarse.rates, futures.rates),
            goal=COARSE_GOAL,
            better="higher",
        ),
        Figure(
            name="calls: coarse-grained, one call alone",
            unit="ms",
            values=coarse.singles_ms,
            goal=COARSE_SINGLE_GOAL_MS,
        ),
        Figure(
            name=f"calls: pi, {PI_CALLS} calls of {PI_SAMPLES:,} samples, time against multiprocessing.Pool(2)",
            unit="ratio",
            values=ratios(coarse.pi_s, pool.pi_s),
            goal=PI_GOAL,
        ),
    ]
    if queues:
        fastest = max(queues, key=lambda peer: statistics.median(peer.rates))
        figures.insert(
            1,
            Figure(
                name=f"calls: coarse-grained, rate against the fastest task queue or cluster ({fastest.spec.name})",
                unit="ratio",
                values=[rate / statistics.median(fastest.rates) for rate in coarse.rates],
                goal=COARSE_GOAL,
                better="higher",
            ),
        )
    return figures


def _fine(fine: Measured, celery: Measured) -> list[Figure]:
    return [
        Figure(
            name="calls: fine-grained, rate against Celery's with prefork",
            unit="ratio",
            values=ratios(fine.rates, celery.rates),
            goal=FINE_GOAL,
            better="higher",
        ),
        Figure(
            name="calls: fine-grained, one call alone, time against Celery's",
            unit="ratio",
            values=ratios(fine.singles_ms, celery.singles_ms),
            goal=FINE_SINGLE_GOAL,
        ),
    ]


def _docker_answers() -> bool:
    try:
        with closing(docker.APIClient(timeout=5)) as client:
            client.ping()
    except (docker.errors.DockerException, RequestException, OSError):
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main("calls", measure)
