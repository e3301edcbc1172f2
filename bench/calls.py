"""How fast functions are called on a cluster, beside every other way to call them in two worker processes.

All calls do nothing, so that what is timed is the way there and back: 10,000 submitted at once (fewer where that would take
long), and single ones, each awaited. Peers are warm: workers are up and have run calls (`bench/peers`). Those that goals
compare with take turns with ours, so that both see the same machine; the rest comes after, one at a time.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from .figures import Figure, Outcome, main
from .peers.catalog import CELERY, FUTURES, LISTS, LISTS_IN_BATCHES, OTHERS, POOL, PeerSpec
from .peers.environment import PeerMissing
from .peers.process import PeerProcess

#: In each run: 500 in all five.
SINGLES: Final = 100


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

    @property
    def note(self) -> str:
        """For readers of the figures."""
        return f"{self.spec.name}: {f'no figure: {self.missing}' if self.missing else self.description}"


def measure_in_turn(specs: Sequence[PeerSpec], runs: int) -> list[Measured]:
    """Measure peers that run all at the same time, each when the others are idle."""
    all_measured = [Measured(spec) for spec in specs]
    with ExitStack() as running:
        peers = list(_started(all_measured, running))
        for _ in range(runs):
            for measured, peer in peers:
                _measure(measured, peer)
    return all_measured


def _started(all_measured: Sequence[Measured], running: ExitStack) -> Iterator[tuple[Measured, PeerProcess]]:
    for measured in all_measured:
        try:
            peer = running.enter_context(PeerProcess(measured.spec))
        except PeerMissing as missing:
            measured.missing = str(missing)
        else:
            measured.description = peer.description
            yield measured, peer


def _measure(measured: Measured, peer: PeerProcess) -> None:
    if measured.missing:
        return
    try:
        measured.rates.append(peer.rate())
        measured.singles_ms.append(statistics.median(peer.singles_s(SINGLES)) * 1000)
    except PeerMissing as missing:
        measured.missing = str(missing)
    print(
        f"  {measured.spec.name}: {measured.rates}, {measured.singles_ms} {measured.missing}",
        file=sys.stderr,
        flush=True,
    )


def measure(runs: int) -> Outcome:
    """Measure all."""
    peers = measure_in_turn([FUTURES, POOL, LISTS, LISTS_IN_BATCHES, CELERY], runs)
    for spec in OTHERS:
        peers += measure_in_turn([spec], runs)
    there = [peer for peer in peers if not peer.missing]
    return Outcome(
        figures=[
            *(Figure(name=f"  {peer.spec.name}", unit="calls/s", values=peer.rates, better="higher") for peer in there),
            *(Figure(name=f"  one call, {peer.spec.name}", unit="ms", values=peer.singles_ms) for peer in there),
        ],
        notes=[
            f"no-op calls, submit to last result: {', '.join(f'{peer.spec.calls:,} {peer.spec.name}' for peer in peers)}",
            *(peer.note for peer in peers),
        ],
    )


if __name__ == "__main__":
    main("calls", measure)
