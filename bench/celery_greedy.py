"""What a task that takes all memory costs its neighbours: 100 ordinary tasks, and among them one that takes memory until it dies.

Celery's worker has no limit for a task, so it gets the memory of a small machine: a control group with as much as the
dispatcher's warm workers have together. The kernel kills in it as it would on a machine that is full.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from mesolite.agent.containerizer.cgroups import Limits, find_tree
from tests.waiting import eventually

from .celery_site import failure_of, let_go
from .celery_workers import Worker
from .peers.environment import PeerMissing

ORDINARY: Final = 100
ORDINARY_S: Final = 0.2
ORDINARY_MIB: Final = 8
#: The greedy one stands behind so many.
BEFORE: Final = 10
#: Two workers need ten seconds. What has not ended after so long is lost.
DEADLINE_S: Final = 45.0
#: Of the small machine: two warm workers of 256 MiB.
MACHINE_MIB: Final = 512
#: As many as a machine has that size.
_PIDS: Final = 512
_CPUS_MILLI: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What became of them."""

    lost: int
    #: What became of the greedy task: an exception, or that nothing was heard.
    greedy: str
    #: Until all had ended that did.
    seconds: float


def among_neighbours(worker: Worker) -> Neighbours:
    """Run the greedy task among ordinary ones."""
    ordinary: Any = worker.site.task("ordinary")
    began_s = monotonic()
    results = [ordinary.delay(ORDINARY_S, ORDINARY_MIB) for _ in range(BEFORE)]
    greedy = worker.site.task("greedy").delay()
    results += [ordinary.delay(ORDINARY_S, ORDINARY_MIB) for _ in range(ORDINARY - BEFORE)]
    try:
        lost = sum(_ended(result, began_s + DEADLINE_S) is not None for result in results)
        seconds = monotonic() - began_s
        return Neighbours(lost=lost, greedy=_ended(greedy, began_s + DEADLINE_S) or "it returned", seconds=seconds)
    finally:
        let_go([*results, greedy])


def _ended(result: Any, deadline_s: float) -> str | None:
    """How it failed; None for one that returned."""
    try:
        return failure_of(result, max(0.05, deadline_s - monotonic()))
    except TimeoutError:
        return "nothing is heard of it"


@contextmanager
def small_machine() -> Generator[Callable[[int], None]]:
    """Make a control group of a machine's memory, and give what moves a process into it.

    Raises:
        PeerMissing: This process may not make one.
    """
    tree = find_tree(f"bench-{os.getpid()}")
    if tree is None:
        raise PeerMissing("control groups cannot be made here; run the benchmark as root")
    group = tree.group("machine")
    group.create(Limits(cpus_milli=_CPUS_MILLI, mem_mib=MACHINE_MIB, pids=_PIDS))
    try:
        yield group.enter
    finally:
        eventually(group.remove)
        tree.remove()
