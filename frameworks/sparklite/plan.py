"""The driver's books between RDDs and the DAG scheduler: which stages there are, what is kept where, what a task is sent.

Stages before shuffles are shared by all jobs that read the shuffle, and live as long as it does. Nobody says when an RDD is
not needed any more: it is collected. Then its shuffle's outputs, and what was kept of it, are of no use, and are dropped from
the stores that have them. What says so may run in any thread at any time, so it does nothing but put a word into a queue.

Planning is done by the threads that submit jobs, everything else by the scheduler's.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.shuffle_data import MapOutput, Segment

from .lineage import Lineage, Shuffle
from .stage_plan import Kept, Reads, ResultFunction, StagePlan

#: What was read of the outputs of a shuffle: `DagCore.outputs`.
Outputs = Callable[[int], Sequence[MapOutput | None]]


class JobPlan(NamedTuple):
    """The stages of a job. Whoever holds it keeps their shuffles."""

    result: StagePlan
    #: Each after those that it reads.
    maps: tuple[StagePlan, ...]


class Gone(NamedTuple):
    """What nobody needs any more."""

    shuffle_ids: tuple[int, ...]
    rdd_ids: tuple[int, ...]


class Plan:
    """All stages of a context; what the DAG scheduler asks (`PlanView`).

    Args:
        collected: Called when `take_gone` has something: from any thread, in the middle of anything.
    """

    def __init__(self, collected: Callable[[], None]) -> None:
        self._collected: Final = collected
        #: Guards the registry of stages.
        self._lock: Final = threading.Lock()
        self._stage_ids: Final = count()
        self._of_shuffle: Final[weakref.WeakKeyDictionary[Shuffle, StagePlan]] = weakref.WeakKeyDictionary()
        self._stages: Final[weakref.WeakValueDictionary[int, StagePlan]] = weakref.WeakValueDictionary()
        #: Persisted partitions that are in a store; the scheduler's thread alone changes it.
        self._kept: Final[Kept] = {}
        #: RDDs of which something is or was kept.
        self._watched: Final[set[int]] = set()
        #: Words of the collector: ("shuffle" or "rdd", number).
        self._gone: Final[SimpleQueue[tuple[str, int]]] = SimpleQueue()

    # Planning

    def job(self, lineage: Lineage, function: ResultFunction, name: str) -> JobPlan:
        """Plan a job, and pickle what its stages run.

        Raises:
            ClosureError: A function cannot be sent.
        """
        with self._lock:
            maps = self._map_stages(lineage)
            result = StagePlan(next(self._stage_ids), name, lineage, result=function)
            self._stages[result.stage_id] = result
        plan = JobPlan(result, maps)
        for stage in (*maps, result):
            stage.code()
        return plan

    def _map_stages(self, last: Lineage) -> tuple[StagePlan, ...]:
        """Every stage that the RDD may need, those it reads first; without recursion, because chains are long."""
        done: dict[Shuffle, StagePlan] = {}
        waiting = [(shuffle, False) for shuffle in reversed(_shuffles_of(last))]
        while waiting:
            shuffle, is_open = waiting.pop()
            if shuffle in done:
                continue
            if is_open:
                done[shuffle] = self._map_stage(shuffle)
            else:
                known = self._of_shuffle.get(shuffle)
                before = known.shuffles if known is not None else _shuffles_of(shuffle.parent)
                waiting.append((shuffle, True))
                waiting += [(each, False) for each in reversed(before) if each not in done]
        return tuple(done.values())

    def _map_stage(self, shuffle: Shuffle) -> StagePlan:
        stage = self._of_shuffle.get(shuffle)
        if stage is None:
            stage = StagePlan(next(self._stage_ids), shuffle.parent.name, shuffle.parent, spec=shuffle.spec)
            self._of_shuffle[shuffle] = stage
            self._stages[stage.stage_id] = stage
            weakref.finalize(shuffle, self._say_gone, "shuffle", shuffle.spec.shuffle_id).atexit = False
        return stage

    # What the DAG scheduler asks

    def shuffles_needed(self, stage_id: int, partition: int) -> tuple[int, ...]:
        """See `PlanView`."""
        return self._reads(stage_id, partition).shuffles

    def preferred_agents(self, stage_id: int, partition: int) -> tuple[str, ...]:
        """See `PlanView`."""
        reads = self._reads(stage_id, partition)
        places = dict.fromkeys(block.agent_id for block in reads.kept.values())
        for lineage, its in reads.leaves:
            if lineage.preferred_of is not None:
                places.update(dict.fromkeys(lineage.preferred_of(its)))
        return tuple(places)

    # What tasks are sent

    def stage(self, stage_id: int) -> StagePlan | None:
        """The stage of a number, while a job or an RDD needs it."""
        return self._stages.get(stage_id)

    def inputs(self, stage: StagePlan, partition: int, outputs: Outputs) -> tuple[dict[tuple[int, int], Any], Kept]:
        """What a task's leaves read, and where what it needs is kept."""
        reads = stage.reads(partition, self._kept)
        inputs: dict[tuple[int, int], Any] = {}
        for lineage, its in reads.leaves:
            key = (lineage.node.rdd_id, its)
            if lineage.shuffle is not None:
                inputs[key] = tuple(_segments(lineage.shuffle.spec.shuffle_id, its, outputs))
            elif lineage.input_of is not None:
                inputs[key] = lineage.input_of(its)
        return inputs, reads.kept

    # What is kept

    def keep(self, stage: StagePlan, blocks: Kept) -> list[StoredBlock]:
        """A task kept these; return the blocks that are of no use: others are there already, or nobody wants them now."""
        unwanted: list[StoredBlock] = []
        for key, block in blocks.items():
            lineage = stage.lineages.get(key[0])
            known = self._kept.get(key)
            if lineage is None or lineage.node.level is None or (known is not None and known != block):
                unwanted.append(block)
                continue
            self._kept[key] = block
            if key[0] not in self._watched:
                self._watched.add(key[0])
                weakref.finalize(lineage, self._say_gone, "rdd", key[0]).atexit = False
        return unwanted

    def lost(self, key: tuple[int, int]) -> None:
        """Something kept cannot be had any more."""
        self._kept.pop(key, None)

    def lost_block(self, block_id: str) -> bool:
        """Something kept cannot be had any more; return whether it was something kept."""
        keys = [key for key, block in self._kept.items() if block.block_id == block_id]
        for key in keys:
            del self._kept[key]
        return bool(keys)

    def lost_agent(self, agent_id: str) -> None:
        """An agent is gone with what it kept."""
        for key in [key for key, block in self._kept.items() if block.agent_id == agent_id]:
            del self._kept[key]

    def unpersist(self, rdd_id: int) -> list[StoredBlock]:
        """Forget what is kept of an RDD; return its blocks."""
        keys = [key for key in self._kept if key[0] == rdd_id]
        return [self._kept.pop(key) for key in keys]

    def take_gone(self) -> Gone:
        """Return the shuffles and RDDs that were collected since the last time."""
        words = list(_drained(self._gone))
        self._watched.difference_update(number for kind, number in words if kind == "rdd")
        return Gone(
            tuple(sorted(number for kind, number in words if kind == "shuffle")),
            tuple(sorted(number for kind, number in words if kind == "rdd")),
        )

    def parents_of(self, stage: StagePlan) -> tuple[int, ...]:
        """The stages whose shuffles a stage reads."""
        with self._lock:
            found = [self._of_shuffle.get(shuffle) for shuffle in stage.shuffles]
        return tuple(each.stage_id for each in found if each is not None)

    def _say_gone(self, kind: str, number: int) -> None:
        self._gone.put((kind, number))
        self._collected()

    def _reads(self, stage_id: int, partition: int) -> Reads:
        stage = self._stages.get(stage_id)
        assert stage is not None, f"stage {stage_id} is asked for, and no job that is known needs it"
        return stage.reads(partition, self._kept)


def _shuffles_of(lineage: Lineage) -> tuple[Shuffle, ...]:
    """The shuffles that a stage reads which ends in this RDD."""
    found: dict[Shuffle, None] = {}
    seen: set[int] = set()
    waiting = [lineage]
    while waiting:
        each = waiting.pop()
        if each.node.rdd_id in seen:
            continue
        seen.add(each.node.rdd_id)
        if each.shuffle is not None:
            found[each.shuffle] = None
        waiting += reversed(each.parents)
    return tuple(found)


def _segments(shuffle_id: int, partition: int, outputs: Outputs) -> Iterator[Segment]:
    """A reduce partition's part of each map output; empty parts are left out."""
    for map_partition, output in enumerate(outputs(shuffle_id)):
        assert output is not None, "a task is launched when all outputs that it reads are there"
        begin, end = output.offsets[partition], output.offsets[partition + 1]
        if end > begin:
            yield Segment(shuffle_id, map_partition, output.block, begin, end - begin, output.counts[partition])


def _drained(queue: SimpleQueue[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
