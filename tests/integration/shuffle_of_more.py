"""A program that shuffles more than its memory, and tells how much it took.

    python -m tests.integration.shuffle_of_more KIND MIB BUDGET_MIB

KIND is `sort`, `group` or `count`. Lines have 100 characters, half of them random. The answer is checked while it comes. A GiB
in 64 MiB, which is what sparklite promises, takes minutes.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.nodes import ShuffleRead
from mesolite.executors.sparklite.pair_steps import GROUP
from mesolite.executors.sparklite.shuffle_data import Aggregator, MapOutput, Segment, ShuffleSpec
from mesolite.executors.sparklite.shuffle_read import read_shuffle
from mesolite.executors.sparklite.shuffle_write import write_shuffle
from mesolite.executors.sparklite.steps import same
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskSpec

MIB: Final = 1024 * 1024
MAPS: Final = 4
REDUCES: Final = 3
LINE_BYTES: Final = 100


def peak_bytes() -> int:
    """The most resident memory that this process had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def lines_of(map_partition: int, count: int) -> Iterator[str]:
    """Lines of one map partition."""
    source = random.Random(map_partition)
    for _ in range(count):
        yield f"{source.getrandbits(200):050x}{'.' * 50}"


def third(key: str) -> int:
    """A range of keys for each reduce partition."""
    return int(key[0], 16) * REDUCES // 16


def added(left: int, right: int) -> int:
    """A sum."""
    return left + right


class Shuffling:
    """One shuffle over a directory."""

    def __init__(self, directory: Path, kind: str, lines: int, budget_bytes: int) -> None:
        self._blocks = DirectoryBlocks(directory)
        self._kind = kind
        self._lines = lines
        self._budget_bytes = budget_bytes
        aggregator = {"group": GROUP, "count": Aggregator(same, added, added), "sort": None}[kind]
        self._spec = ShuffleSpec(0, REDUCES, third if kind == "sort" else portable_hash, aggregator)
        self._node = ShuffleRead(1, self._spec, same if kind == "sort" else None)
        self.spilled_bytes = 0

    def run(self) -> int:
        """Do it; returns how many lines came out."""
        outputs = [self._map(number) for number in range(MAPS)]
        return sum(self._reduce(number, outputs) for number in range(REDUCES))

    def _task(self, number: int) -> Task:
        spec = TaskSpec("app", 0, 0, 0, number, number, {}, memory_bytes=self._budget_bytes)
        return Task(StageCode(self._node, shuffle=self._spec), spec, self._blocks, Storage())

    def _pairs(self, number: int) -> Iterator[Any]:
        for line in lines_of(number, self._lines):
            if self._kind == "sort":
                yield line, line
            elif self._kind == "group":
                yield line[:4], line
            else:
                yield line, 1

    def _map(self, number: int) -> MapOutput:
        task = self._task(number)
        output = write_shuffle(self._pairs(number), self._spec, task)
        self.spilled_bytes += task.counters.spilled_bytes
        return output

    def _reduce(self, partition: int, outputs: list[MapOutput]) -> int:
        segments: list[Segment] = []
        for number, each in enumerate(outputs):
            begin, end = each.offsets[partition : partition + 2]
            segments.append(Segment(0, number, each.block, begin, end - begin, each.counts[partition]))
        task = self._task(100 + partition)
        count, before = 0, ""
        for key, value in read_shuffle(self._node, tuple(segments), task):
            assert self._kind != "sort" or before <= key == value, "in order"
            count += len(value) if self._kind == "group" else 1
            before = key
        self.spilled_bytes += task.counters.spilled_bytes
        return count


def main(kind: str, mib: int, budget_mib: int) -> None:
    """Shuffle, and print what it took as JSON."""
    lines = mib * MIB // LINE_BYTES // MAPS
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as directory:
        shuffling = Shuffling(Path(directory), kind, lines, budget_mib * MIB)
        assert shuffling.run() == lines * MAPS, "all lines came out"
        spilled_mib = shuffling.spilled_bytes // MIB
    sys.stdout.write(json.dumps({"peak_mib": (peak_bytes() - before) // MIB, "spilled_mib": spilled_mib}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
