"""Whose turn it is: stages with tasks that could run, by age of their jobs, or fairly between pools.

FIFO: the older job first; within a job the stage that is furthest from the result. FAIR: the pool that runs least, and within
a pool as before. (Spark's FIFOSchedulingAlgorithm and FairSchedulingAlgorithm; weights are 1, minShare is 0.)
"""

from bisect import bisect_left, insort

#: Job, how far from the result negated, stage.
Key = tuple[int, int, int]


class Order:
    """Stages that have something to run."""

    def __init__(self) -> None:
        #: By pool, in order of keys.
        self._stages: dict[str, list[Key]] = {}
        #: By stage: its pool and key.
        self._places: dict[int, tuple[str, Key]] = {}
        #: By pool: tasks that run.
        self._running: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def put(self, pool: str, key: Key) -> None:
        """Enter a stage, or move it."""
        stage_id = key[2]
        if self._places.get(stage_id) == (pool, key):
            return
        self.remove(stage_id)
        insort(self._stages.setdefault(pool, []), key)
        self._places[stage_id] = (pool, key)

    def remove(self, stage_id: int) -> None:
        """Strike a stage out."""
        place = self._places.pop(stage_id, None)
        if place is not None:
            pool, key = place
            stages = self._stages[pool]
            del stages[bisect_left(stages, key)]
            if not stages:
                del self._stages[pool]

    def count(self, pool: str, change: int) -> None:
        """So many tasks more, or fewer, run in a pool."""
        running = self._running.get(pool, 0) + change
        if running:
            self._running[pool] = running
        else:
            self._running.pop(pool, None)

    def in_turn(self) -> list[int]:
        """Return the stages, the next first; what is launched may change the order."""
        if len(self._stages) == 1:
            [stages] = self._stages.values()
            return [stage_id for _, _, stage_id in stages]
        pools = sorted(self._stages, key=lambda pool: (self._running.get(pool, 0), pool))
        return [stage_id for pool in pools for _, _, stage_id in self._stages[pool]]
