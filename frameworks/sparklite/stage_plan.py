"""One stage of the plan: from an RDD back to shuffles and to other leaves, and what it ends in."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.shuffle_data import ShuffleSpec
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode

from ..futures.settings import MAX_POOL_FUNCTION_BYTES
from .backend import PickledCode
from .dag.events import StageSpec
from .errors import ClosureError
from .lineage import Lineage, Shuffle
from .stage_function import pickled

#: Where a persisted partition is, by RDD and partition.
Kept = dict[tuple[int, int], StoredBlock]
#: A function of a stage at the end.
ResultFunction = Callable[[Task, Iterator[Any]], Any]


class Reads(NamedTuple):
    """What one task reads: as far as something kept, a shuffle or another leaf."""

    shuffles: tuple[int, ...]
    #: Each with its partition; those that read a shuffle among them.
    leaves: tuple[tuple[Lineage, int], ...]
    kept: Kept


class StagePlan:
    """A stage.

    Args:
        stage_id: Unique in the application.
        name: For people.
        lineage: The last RDD.
        spec: How it writes its partitions, where it ends in a shuffle.
        result: Its function, where it ends in results.
    """

    def __init__(
        self,
        stage_id: int,
        name: str,
        lineage: Lineage,
        *,
        spec: ShuffleSpec | None = None,
        result: ResultFunction | None = None,
    ) -> None:
        self.stage_id: Final = stage_id
        self.name: Final = name
        self.lineage: Final = lineage
        self._spec: Final = spec
        self._result: Final = result
        #: All RDDs of the stage, by number, the last one first.
        self.lineages: Final = _lineages_of(lineage)
        #: Which shuffles it reads where nothing is kept, in order of its RDDs.
        self.shuffles: Final[tuple[Shuffle, ...]] = tuple(
            each.shuffle for each in self.lineages.values() if each.shuffle is not None
        )
        self._code: PickledCode | None = None
        #: What was persisted how, and what was read from a checkpoint, when the code was pickled.
        self._kinds: list[tuple[StorageLevel | None, bool]] = []

    @property
    def shuffle_id(self) -> int | None:
        """The shuffle whose map side it is."""
        return None if self._spec is None else self._spec.shuffle_id

    @property
    def barrier(self) -> bool:
        """Whether its tasks run together."""
        return any(each.barrier for each in self.lineages.values())

    def as_spec(self) -> StageSpec:
        """The stage as the DAG scheduler knows it."""
        return StageSpec(
            stage_id=self.stage_id,
            name=self.name,
            partitions=self.lineage.node.partitions,
            shuffle_id=self.shuffle_id,
            barrier=self.barrier,
        )

    def code(self) -> PickledCode:
        """What its tasks run; pickled again only where something is persisted or saved now that was not, or the other way round.

        Raises:
            ClosureError: It cannot be pickled, or is too large.
        """
        kinds = [(each.node.level, each.checkpointed) for each in self.lineages.values()]
        if self._code is None or kinds != self._kinds:
            code = StageCode(self.lineage.node, shuffle=self._spec, result=self._result)
            data = pickled(code)
            if len(data) > MAX_POOL_FUNCTION_BYTES:
                raise ClosureError(
                    f"{self.name}: the functions of its stage have {len(data):,} bytes with all that they hold, of which "
                    f"{MAX_POOL_FUNCTION_BYTES:,} travel; broadcast large values (sc.broadcast), and use `.value` in the function"
                )
            self._kinds = kinds
            self._code = PickledCode(stage_id=self.stage_id, pickled=data)
        return self._code

    def reads(self, partition: int, kept: Kept) -> Reads:
        """Follow one of its tasks to what it reads.

        Args:
            partition: Of the last RDD.
            kept: All that is kept anywhere.
        """
        shuffles: dict[int, None] = {}
        leaves: list[tuple[Lineage, int]] = []
        found: Kept = {}
        seen: set[tuple[int, int]] = set()
        waiting = [(self.lineage, partition)]
        while waiting:
            lineage, its = waiting.pop()
            node = lineage.node
            key = (node.rdd_id, its)
            if key in seen:
                continue
            seen.add(key)
            block = None if node.level is None else kept.get(key)
            if block is not None:
                found[key] = block
            elif lineage.shuffle is not None:
                shuffles[lineage.shuffle.spec.shuffle_id] = None
                leaves.append((lineage, its))
            elif not node.parents:
                leaves.append((lineage, its))
            else:
                waiting += [(self.lineages[each.rdd_id], number) for each, number in node.needs(its)]
        return Reads(tuple(shuffles), tuple(leaves), found)


def _lineages_of(last: Lineage) -> dict[int, Lineage]:
    found: dict[int, Lineage] = {}
    waiting = [last]
    while waiting:
        lineage = waiting.pop()
        if lineage.node.rdd_id not in found:
            found[lineage.node.rdd_id] = lineage
            waiting += reversed(lineage.parents)
    return found
