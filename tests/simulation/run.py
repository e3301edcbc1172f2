"""One run of one seed, and what to tell where it fails."""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mesolite.errors import MesoliteError

from .checkers import Checker, Violation, all_checkers
from .cluster import Cluster
from .plan import Plan, draw, suffering
from .trace import Trace

#: Virtual time within which everything must have come to rest after the faults. The longest pauses in the system decide: an
#: agent's between two sendings of an update grows up to 10 minutes, a driver's between two rounds of reconciliation is 10. Of
#: 5,000 seeds the slowest needed 11 minutes.
SETTLE_MS: Final = 20 * 60_000
#: How often rest is looked for.
_LOOK_MS: Final = 1000


class SimulationFailed(AssertionError):
    """A run broke a rule. The message has all that is needed to see it again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went."""

    seed: int
    #: Hash of its whole story.
    digest: str
    lines: int
    #: From the end of the faults to rest.
    settled_ms: int
    tasks: int
    repeats: int


def run(
    seed: int,
    *,
    trace: Trace | None = None,
    checkers: Sequence[Checker] | None = None,
    faults: Sequence[str] = (),
) -> Outcome:
    """Run a seed to its end.

    Args:
        seed: Which.
        trace: Where its story goes.
        checkers: What to check, by default everything.
        faults: Kinds of faults that are to be heavy, whatever the seed says of them.

    Raises:
        SimulationFailed: A checker objected, an invariant of a core does not hold, or the world did not come to rest.
    """
    trace = trace if trace is not None else Trace()
    with _silence():
        try:
            return _run(suffering(draw(seed), *faults), trace, all_checkers() if checkers is None else checkers)
        except (
            AssertionError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            MesoliteError,
        ) as failure:
            kind = "" if isinstance(failure, Violation) else f"{type(failure).__name__}: "
            raise SimulationFailed(
                f"seed {seed}: {kind}{failure}\n\n{trace.tail()}\n\n"
                f"Replay with: python -m tests.simulation --seed {seed}{' --heavy ' if faults else ''}{','.join(faults)} --trace"
            ) from failure


def _run(plan: Plan, trace: Trace, checkers: Sequence[Checker]) -> Outcome:
    cluster = Cluster(plan, trace)
    try:
        return _live(cluster, trace, checkers)
    finally:
        cluster.close()


def _live(cluster: Cluster, trace: Trace, checkers: Sequence[Checker]) -> Outcome:
    world = cluster.world
    end_ms = world.now_ms + world.plan.trouble_ms
    while world.step(end_ms):
        _check(cluster, checkers)
    cluster.heal()
    healed_ms = world.now_ms
    unrest: str | None = "it has just begun"
    while unrest is not None:
        if world.now_ms >= healed_ms + SETTLE_MS:
            raise Violation(f"no rest {SETTLE_MS // 60_000} minutes after the last fault: {unrest}")
        look_ms = world.now_ms + _LOOK_MS
        while world.step(look_ms):
            _check(cluster, checkers)
        unrest = cluster.unrest()
    for checker in checkers:
        checker.settled(cluster)
    return Outcome(
        seed=world.plan.seed,
        digest=trace.digest(),
        lines=trace.count,
        settled_ms=world.now_ms - healed_ms,
        tasks=len(world.journal.tasks),
        repeats=world.journal.repeats,
    )


def _check(cluster: Cluster, checkers: Sequence[Checker]) -> None:
    for checker in checkers:
        checker.check(cluster)
    cluster.world.journal.touched.clear()


@contextmanager
def _silence() -> Generator[None]:
    """Keep the logs of all these processes quiet: the trace says more."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
