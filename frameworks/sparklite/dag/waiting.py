"""Tasks of one stage that wait for the same shuffles, and then for a worker: queues by where they would best run.

A task without a place goes to any worker. One whose input is kept somewhere waits for a worker there, a bounded time. One whose
input is what a shuffle left goes there if a worker is idle, and else anywhere at once: reading a segment over the network takes
less time than the wait for a place near it would (Spark waits here too).
"""

from collections import deque
from collections.abc import Container


class Waiting:
    """Tasks ("slots" of the stage) that read the same shuffles.

    Queues may hold slots that have left meanwhile; `slots` is the truth, and whoever takes skips these. So each operation costs
    the same however many wait.
    """

    def __init__(self, needs: tuple[int, ...]) -> None:
        #: The shuffles they read: all must be complete.
        self.needs = needs
        self.slots: set[int] = set()
        #: Whether the shuffles were complete when last looked at, and the slots are in queues.
        self.is_open = False
        #: Of slots that have a place: which agents, the best first.
        self._places: dict[int, tuple[str, ...]] = {}
        self._at: dict[str, deque[int]] = {}
        self._anywhere: deque[int] = deque()
        self._rather: deque[int] = deque()
        self._patient: deque[int] = deque()

    def close(self) -> None:
        """A shuffle is incomplete: nothing can be taken."""
        self.is_open = False
        self._places.clear()
        self._at.clear()
        for queue in (self._anywhere, self._rather, self._patient):
            queue.clear()

    def queue(self, slot: int, agents: tuple[str, ...], *, patient: bool, live: Container[str], first: bool) -> None:
        """Put a slot where it can be taken from.

        Args:
            slot: One of `slots`.
            agents: Where it would best run; empty: no matter.
            patient: It waits for a worker there.
            live: Agents with executors: where none is of `agents`, there is nothing to wait for.
            first: Before all others: it was tried already, and if it cannot be done that should come out soon.
        """
        self._places.pop(slot, None)
        if agents:
            self._places[slot] = agents
        for agent_id in agents:
            self._add(self._at.setdefault(agent_id, deque()), slot, first)
        if not any(agent_id in live for agent_id in agents):
            self._add(self._anywhere, slot, first)
        else:
            self._add(self._patient if patient else self._rather, slot, first)

    def is_local(self, slot: int, agent_id: str) -> bool:
        """Whether the slot has no place, or that agent is one."""
        places = self._places.get(slot)
        return places is None or agent_id in places

    @property
    def has_places(self) -> bool:
        """Whether looking for a local slot can find one."""
        return bool(self._at)

    @property
    def has_patient(self) -> bool:
        """Whether a slot waits for a worker of its place."""
        return self._first(self._patient) is not None

    def take_at(self, agent_id: str) -> int | None:
        """Take a slot whose place is that agent."""
        queue = self._at.get(agent_id)
        if queue is None:
            return None
        slot = self._take(queue)
        if slot is None:
            del self._at[agent_id]
        return slot

    def take_anywhere(self) -> int | None:
        """Take a slot that may run anywhere: without a place first."""
        slot = self._take(self._anywhere)
        return self._take(self._rather) if slot is None else slot

    def take_patient(self) -> int | None:
        """Take a slot away from its place: it has waited long enough."""
        return self._take(self._patient)

    def agent_left(self, agent_id: str, live: Container[str]) -> None:
        """An agent has no executor any more: what waited for it alone may run anywhere."""
        for slot in self._at.get(agent_id, ()):
            if slot in self.slots and not any(place in live for place in self._places.get(slot, ())):
                self._anywhere.append(slot)

    def _take(self, queue: deque[int]) -> int | None:
        slot = self._first(queue)
        if slot is not None:
            queue.popleft()
            self.slots.discard(slot)
        return slot

    def _first(self, queue: deque[int]) -> int | None:
        while queue and queue[0] not in self.slots:
            queue.popleft()
        return queue[0] if queue else None

    @staticmethod
    def _add(queue: deque[int], slot: int, first: bool) -> None:
        if first:
            queue.appendleft(slot)
        else:
            queue.append(slot)
