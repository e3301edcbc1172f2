"""Where the outputs of map tasks are: for each shuffle one place for each map partition, and what lies with each agent."""

from collections.abc import Sequence

from mesolite.executors.sparklite.shuffle_data import MapOutput

#: Above so many map or reduce partitions, where a reduce task's input lies is not worked out: it costs maps times reduces, and
#: with so many pieces each agent has its even share anyhow (Spark: SHUFFLE_PREF_MAP_THRESHOLD, SHUFFLE_PREF_REDUCE_THRESHOLD).
MAX_WEIGHED_PARTITIONS = 1_000


class MapOutputs:
    """The books of all shuffles. Unknown shuffles and partitions change nothing."""

    def __init__(self) -> None:
        #: By shuffle: the output of each map partition, None where there is none.
        self._outputs: dict[int, list[MapOutput | None]] = {}
        #: By shuffle: how many are None.
        self._missing: dict[int, int] = {}
        #: By agent: shuffle and map partition of each output in its store.
        self._at: dict[str, set[tuple[int, int]]] = {}

    def know(self, shuffle_id: int, partitions: int) -> None:
        """Open the books of a shuffle; what is there stays."""
        if shuffle_id not in self._outputs:
            self._outputs[shuffle_id] = [None] * partitions
            self._missing[shuffle_id] = partitions

    def forget(self, shuffle_id: int) -> None:
        """Close the books of a shuffle."""
        for partition, output in enumerate(self._outputs.pop(shuffle_id, ())):
            if output is not None:
                self._leave(output.block.agent_id, shuffle_id, partition)
        self._missing.pop(shuffle_id, None)

    def of(self, shuffle_id: int) -> Sequence[MapOutput | None]:
        """Return the outputs in order of map partitions; empty for an unknown shuffle."""
        return self._outputs.get(shuffle_id, ())

    def is_complete(self, shuffle_id: int) -> bool:
        """Whether every output is there."""
        return self._missing.get(shuffle_id) == 0

    def missing(self, shuffle_id: int) -> list[int]:
        """Return the map partitions without an output."""
        return [partition for partition, output in enumerate(self.of(shuffle_id)) if output is None]

    def at(self, agent_id: str) -> list[tuple[int, int]]:
        """Return what an agent has: shuffles and map partitions."""
        return sorted(self._at.get(agent_id, ()))

    def put(self, shuffle_id: int, partition: int, output: MapOutput) -> None:
        """Enter an output where there is none."""
        outputs = self._outputs[shuffle_id]
        assert outputs[partition] is None, f"shuffle {shuffle_id} has an output of map partition {partition} already"
        outputs[partition] = output
        self._missing[shuffle_id] -= 1
        self._at.setdefault(output.block.agent_id, set()).add((shuffle_id, partition))

    def get(self, shuffle_id: int, partition: int) -> MapOutput | None:
        """Return an output, if there is one."""
        outputs = self.of(shuffle_id)
        return outputs[partition] if 0 <= partition < len(outputs) else None

    def remove(self, shuffle_id: int, partition: int) -> bool:
        """Strike out an output; say whether there was one."""
        output = self.get(shuffle_id, partition)
        if output is None:
            return False
        self._outputs[shuffle_id][partition] = None
        self._missing[shuffle_id] += 1
        self._leave(output.block.agent_id, shuffle_id, partition)
        return True

    def bytes_by_agent(self, shuffle_id: int, partition: int, partitions: int) -> dict[str, int]:
        """Return how much of reduce partition `partition` of `partitions` each agent has.

        Empty where that is not known: too many pieces, or a shuffle of another number of partitions (a union's).
        """
        outputs = self.of(shuffle_id)
        sums: dict[str, int] = {}
        if max(len(outputs), partitions) > MAX_WEIGHED_PARTITIONS:
            return sums
        for output in outputs:
            if output is None or len(output.offsets) != partitions + 1:
                return {}
            length = output.offsets[partition + 1] - output.offsets[partition]
            if length:
                sums[output.block.agent_id] = sums.get(output.block.agent_id, 0) + length
        return sums

    def check(self) -> None:
        """Assert that the indexes say what the lists say."""
        at: dict[str, set[tuple[int, int]]] = {}
        for shuffle_id, outputs in self._outputs.items():
            assert self._missing[shuffle_id] == outputs.count(None), f"shuffle {shuffle_id}: miscounted"
            for partition, output in enumerate(outputs):
                if output is not None:
                    at.setdefault(output.block.agent_id, set()).add((shuffle_id, partition))
        assert self._at == at, "what agents have is not what the shuffles say"

    def _leave(self, agent_id: str, shuffle_id: int, partition: int) -> None:
        kept = self._at[agent_id]
        kept.remove((shuffle_id, partition))
        if not kept:
            del self._at[agent_id]
