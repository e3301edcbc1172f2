"""Programs on RDDs: sparklite beside every other engine that runs them, all with two worker processes.

Word count is small, and everybody's; what is compared is what an engine takes more than the same steps in plain Python. The large
ones, a sort of a gibibyte, a join and PageRank, are PySpark's and ours, in time and in the memory of all processes together: ours
with the whole cluster, master, agent and Redis included. Everybody's first run is not counted. Answers are compared.
"""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesolite.config import UpConfig

from .clusters import cluster, wait_until_idle
from .figures import Figure, Outcome, main
from .memory import PeakMemory, with_in_command
from .peers.catalog import PeerSpec
from .peers.environment import PeerMissing
from .peers.process import PeerProcess, marked
from .peers.rdd_programs import is_sorted
from .rdd_inputs import SORT_BYTES, write_edges, write_lines, write_texts

OURS: Final = PeerSpec(name="sparklite", module="sparklite_peer")
PLAIN: Final = PeerSpec(name="multiprocessing.Pool(2)", module="plain_rdd_peer")
PYSPARK: Final = PeerSpec(name="PySpark local[2]", module="pyspark_peer", requirements=("pyspark", "setuptools"))
SMALL_PEERS: Final = (
    PeerSpec(name="Dask bag", module="dask_bag_peer", requirements=("dask", "cloudpickle")),
    PeerSpec(name="dpark", module="dpark_peer", requirements=("dpark", "setuptools")),
    PeerSpec(name="pysparkling", module="pysparkling_peer", requirements=("pysparkling", "cloudpickle")),
)
RESOURCES: Final = "cpus:2;mem:8192"
#: A sort of PySpark takes a minute or two.
PROGRAM_TIMEOUT_S: Final = 900.0
IDLE_TIMEOUT_S: Final = 15.0
MIB: Final = 2**20

WORD_COUNT_GOAL: Final = 1.3
START_GOAL_S: Final = 1.0


@dataclass(slots=True)
class Measured:
    """What was seen of one engine, a value for each run, by program."""

    spec: PeerSpec
    description: str = ""
    missing: str = ""
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    peaks_mib: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    answers: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def note(self) -> str:
        """For readers of the figures."""
        return f"{self.spec.name}: {f'no figure: {self.missing}' if self.missing else self.description}"


class Bench:
    """All engines over the same inputs.

    Args:
        folder: For what programs read and write; everybody can read it.
        home: Text in the command lines of the cluster's processes.
        environment: What our peer must know.
    """

    def __init__(self, folder: Path, home: str, environment: Mapping[str, str]) -> None:
        self._folder: Final = folder
        self._home: Final = home
        self._environment: Final = environment
        self._outputs = 0

    def in_turn(self, measured: list[Measured], programs: Mapping[str, str], runs: int) -> None:
        """Run each program on each engine, warm, and turn by turn."""
        with ExitStack() as running:
            peers = list(self._started(measured, running))
            for run in range(runs + 1):
                for each, peer in peers:
                    for program, place in programs.items():
                        if not each.missing:
                            self._one(each, peer, program, place, counts=run > 0)

    def _started(self, measured: list[Measured], running: ExitStack) -> Iterator[tuple[Measured, PeerProcess]]:
        for each in measured:
            try:
                peer = running.enter_context(PeerProcess(each.spec, self._environment))
            except PeerMissing as missing:
                each.missing = str(missing)
                _say(f"  {each.note}")
            else:
                each.description = peer.description
                yield each, peer

    def _one(self, each: Measured, peer: PeerProcess, program: str, place: str, *, counts: bool) -> None:
        self._outputs += 1
        target = self._folder / f"out-{self._outputs}"
        if program == "sort_lines":
            place = f"{place}|{target}"
        try:
            with PeakMemory(lambda: self._processes(each, peer)) as memory:
                answer = peer.ask(PROGRAM_TIMEOUT_S, do=program, place=place)
        except PeerMissing as missing:
            each.missing = str(missing)
            _say(f"  {each.note}")
            return
        if program == "sort_lines":
            answer["answer"] = is_sorted(target, SORT_BYTES // 100 * 100)
            shutil.rmtree(target, ignore_errors=True)
        each.answers[program] = answer["answer"]
        if counts:
            each.seconds.setdefault(program, []).append(answer["seconds"][0])
            each.peaks_mib.setdefault(program, []).append(memory.peak_bytes / MIB)
        _say(f"  {each.spec.name}, {program}: {answer['seconds'][0]:.2f} s, {memory.peak_bytes / MIB:,.0f} MiB")

    def _processes(self, each: Measured, peer: PeerProcess) -> list[int]:
        found = set(marked(peer.mark))
        if each.spec is OURS:
            found |= set(with_in_command(self._home))
        return sorted(found)


def measure(runs: int) -> Outcome:
    """Measure all."""
    ours, plain, spark = Measured(OURS), Measured(PLAIN), Measured(PYSPARK)
    others = [Measured(spec) for spec in SMALL_PEERS]
    with tempfile.TemporaryDirectory(prefix="mesolite-bench-input-") as name:
        folder = Path(name)
        # Tasks do not run as root, and sorts write here.
        folder.chmod(0o777)
        texts, lines, edges = write_texts(folder), write_lines(folder), write_edges(folder)
        config = UpConfig(agents=1, agent_resources=RESOURCES, containerizer="process", flower=False)
        with cluster(config) as address:
            home = os.path.commonpath([record.log for record in address.processes])
            bench = Bench(folder, home, {"BENCH_MASTER": address.redis_url})
            bench.in_turn([ours, plain], {"word_count": str(texts)}, runs)
            bench.in_turn([spark], {"word_count": str(texts)}, runs)
            for other in others:
                bench.in_turn([other], {"word_count": str(texts)}, runs)
            large = {"page_rank": str(edges), "join_tables": "", "sort_lines": str(lines), "start": ""}
            for program, place in large.items():
                bench.in_turn([ours, spark], {program: place}, runs)
            wait_until_idle(address.master_url, within_s=IDLE_TIMEOUT_S)
    everybody = [ours, plain, spark, *others]
    _must_agree(everybody)
    notes = [
        "memory: the most that all processes had together (Pss); sparklite's with its cluster, whose page cache is not in it",
        "start: PySpark's later contexts of one program, with its JVM up already",
    ]
    return Outcome(figures=_figures(ours, plain, spark, others), notes=[*notes, *(each.note for each in everybody)])


def _must_agree(everybody: list[Measured]) -> None:
    for each in everybody:
        for program, answer in each.answers.items():
            known = everybody[0].answers[program]
            if answer != known or answer is False:
                raise SystemExit(f"{program}: {each.spec.name} answers {answer}, and {everybody[0].spec.name} {known}")


def _figures(ours: Measured, plain: Measured, spark: Measured, others: list[Measured]) -> list[Figure]:
    figures = [
        Figure(
            name="sparklite: word count, time against the same steps in multiprocessing.Pool(2)",
            unit="ratio",
            values=_ratios(ours.seconds["word_count"], plain.seconds["word_count"]),
            goal=WORD_COUNT_GOAL,
        ),
        Figure(
            name="sparklite: from SparkContext() to the first count()",
            unit="s",
            values=ours.seconds["start"],
            goal=START_GOAL_S,
        ),
    ]
    if not spark.missing:
        for program, shown in (("sort_lines", "sort of 1 GiB"), ("join_tables", "join"), ("page_rank", "PageRank")):
            figures.append(
                Figure(
                    name=f"sparklite: {shown}, time against PySpark local[2]",
                    unit="ratio",
                    values=_ratios(ours.seconds[program], spark.seconds[program]),
                    goal=1.0,
                )
            )
            figures.append(
                Figure(
                    name=f"sparklite: {shown}, peak memory against PySpark local[2]",
                    unit="ratio",
                    values=_ratios(ours.peaks_mib[program], spark.peaks_mib[program]),
                    goal=1.0 if program != "page_rank" else None,
                )
            )
    for each in [ours, plain, spark, *others]:
        figures += [
            Figure(name=f"{program}, {each.spec.name}", unit="s", values=values)
            for program, values in each.seconds.items()
        ]
        figures += [
            Figure(name=f"{program}, {each.spec.name}, memory", unit="MiB", values=values)
            for program, values in each.peaks_mib.items()
            if program != "start"
        ]
    return figures


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Compare run by run: both saw the same machine then."""
    if len(ours) != len(theirs):
        return [statistics.median(ours) / statistics.median(theirs)]
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main("sparklite", measure)
