"""What an idle cluster costs: CPU and memory of one master and two agents, Redis and Flower apart."""

import time
from pathlib import Path

from mesolite.config import UpConfig
from mesolite.discovery import ProcessRecord

from .clusters import cluster
from .figures import Figure, Outcome, main

#: Long enough to hold several of every periodic thing (heartbeats are 5 s apart).
WINDOW_S = 12.0
SETTLE_S = 5.0
TICKS_PER_S = 100


def measure(runs: int) -> Outcome:
    """Measure one cluster over several windows."""
    cpu_percent: list[float] = []
    memory_mib: list[float] = []
    config = UpConfig(agents=2, agent_resources="cpus:1;mem:512", flower=True)
    with cluster(config) as address:
        ours = [record for record in address.processes if record.name == "master" or record.name.startswith("agent")]
        time.sleep(SETTLE_S)
        for _ in range(runs):
            before, began_s = _cpu_s(ours), time.perf_counter()
            time.sleep(WINDOW_S)
            cpu_percent.append(100 * (_cpu_s(ours) - before) / (time.perf_counter() - began_s))
            memory_mib.append(sum(map(_memory_mib, ours)))
    return Outcome(
        figures=[
            Figure(name="idle: CPU of master and two agents", unit="% of one core", values=cpu_percent, goal=2),
            Figure(name="idle: memory of master and two agents", unit="MiB", values=memory_mib, goal=250),
        ],
        notes=["memory is the proportional set size (PSS) of the three processes with their children, Flower running"],
    )


def _cpu_s(records: list[ProcessRecord]) -> float:
    ticks = 0
    for record in records:
        fields = Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def _memory_mib(record: ProcessRecord) -> float:
    lines = Path(f"/proc/{record.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main("idle", measure)
