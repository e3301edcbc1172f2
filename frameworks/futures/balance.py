"""Which workers go so that calls of another kind get one: no kind may keep what all of them are to share.

A kind *waits* while it has more calls than workers. Where nothing came of that for a while, others make room for one worker of
its shape, on one agent:

    waits --PATIENCE_MS--> plan: end some workers of an agent --over--> wait for the offer --> it grew: done
                             ^                                               |
                             '------ end twice as many in all <--PATIENCE_MS-'--nothing is left to end--> give up, and rest

- Who has none gets one, and leaves everybody else at least one. Who has some gets another as long as that leaves him no better
  off than whom it is taken from, by *dominant share*: the largest part of any one thing that a kind holds of what all kinds hold.
- Where two kinds do not fit beside each other they take turns: the last worker of a kind goes, too, once it ran for TURN_MS.
- Workers end after their calls. What is free on an agent nobody here knows, so first as few end as might do.
- While a plan lasts, who lost by it, or has more than the one it is for, gets no more: the room is not his to take again.

No move can be followed by its opposite: whoever has lost holds no less than whoever has won (or it is his turn to wait).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from mesolite.ids import AgentId, TaskId

from .coarse_parts import Load, Slot
from .executors import ExecutorBook
from .options import Kind
from .programs import ExecutorShare, shape_with_executor

#: How long a kind waits before others make room, and a plan before it takes more: offers come several times a second, and who
#: ends by himself most often does within this.
PATIENCE_MS: Final = 2_000
#: How long a kind that others wait for keeps its last worker, from when it runs: many times what it takes to start one, or the
#: cluster would do little else.
TURN_MS: Final = 30_000
#: A plan waits so long for calls of those that it ends. After that the room that it has is for anybody.
DRAIN_PATIENCE_MS: Final = 600_000
#: A kind for which room was made in vain is not helped for so long; twice as long each time.
REST_MS: Final = 10_000
MAX_REST_MS: Final = 600_000
#: Kinds that are helped at a time, those that wait longest: a small cluster is not emptied for a hundred kinds at once.
MAX_PLANS: Final = 4

#: The name of a worker's place among `max_workers`, among the names of resources.
_PLACE: Final = "worker"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a kind of calls needs."""

    calls: int = 0
    #: Workers that it needs for them, or is to have without any.
    target: int = 0
    #: Workers that it has not needed for a while.
    spare: int = 0


def wish_of(load: Load, target: int, held: int, now_ms: int) -> Wish:
    """What a kind needs that has so many workers."""
    is_idle = load.surplus_since_ms is not None and load.surplus_since_ms + PATIENCE_MS <= now_ms
    return Wish(load.calls, target, max(0, held - max(target, load.peak)) if is_idle else 0)


@dataclass(slots=True, eq=False)
class _Plan:
    """Room is being made for one worker."""

    kind: Kind
    agent_id: AgentId
    #: What its workers hold that were asked to end so far, and how many they are.
    freed: "Counter[str]" = field(default_factory=Counter[str])
    count: int = 0
    #: Those of them that are not over, and when the newest were asked.
    ending: set[TaskId] = field(default_factory=set[TaskId])
    stepped_ms: int = 0
    #: Since when all are over.
    freed_ms: int | None = None
    losers: set[Kind] = field(default_factory=set[Kind])
    #: What the kind will hold, at the last look.
    share: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class _Scene:
    """How things are, and whose workers are where: of each agent and kind those with the fewest calls last."""

    now_ms: int
    wishes: Mapping[Kind, Wish]
    held: "Counter[Kind]"
    workers: dict[AgentId, dict[Kind, list[TaskId]]]
    #: Workers of each agent that were asked to end.
    leaving: "Counter[AgentId]"

    def waits(self, kind: Kind) -> bool:
        """Whether a kind has calls for another worker."""
        wish = self.wishes.get(kind, Wish())
        return wish.calls > 0 and self.held[kind] < wish.target


class Balance:
    """Of the workers of one framework. Decides; whoever asks ends the workers, and tells what grew.

    Args:
        max_workers: Of all kinds.
        share: Of executors.
    """

    def __init__(self, max_workers: int, share: ExecutorShare) -> None:
        self._max_workers: Final = max_workers
        self._share: Final = share
        self._units: Final[dict[Kind, Counter[str]]] = {}
        #: The most that was held of each thing since two kinds had calls: as measures must not move with what they measure.
        self._totals: Counter[str] = Counter()
        #: Since when kinds wait and did not grow, and since when one of their workers has run.
        self._waiting: dict[Kind, int] = {}
        self._served: dict[Kind, int] = {}
        self._plans: dict[Kind, _Plan] = {}
        #: Where plans in a row came to nothing, and until when there is no other.
        self._failed: dict[Kind, Counter[AgentId]] = {}
        self._rest_until: dict[Kind, int] = {}

    # What is asked

    def look(
        self,
        now_ms: int,
        wishes: Mapping[Kind, Wish],
        slots: Mapping[TaskId, Slot],
        executors: ExecutorBook[Kind],
    ) -> list[TaskId]:
        """Return which workers are to end, after their calls, now."""
        held = Counter(slot.kind for slot in slots.values() if slot.counts)
        if sum(wish.calls > 0 or held[kind] > 0 for kind, wish in wishes.items()) < 2:
            self._forget()
            return []
        self._note(now_ms, wishes, slots, held)
        if not self._waiting:
            self._plans.clear()
            return []
        scene = _scene(now_ms, wishes, held, slots, executors)
        for plan in list(self._plans.values()):
            if taken := self._go_on(plan, scene, slots):
                return taken
        return self._begin(scene)

    def grew(self, kind: Kind) -> None:
        """A worker of this kind was launched."""
        self._plans.pop(kind, None)
        self._waiting.pop(kind, None)
        self._failed.pop(kind, None)
        self._rest_until.pop(kind, None)

    def in_order(self, kinds: Iterable[Kind]) -> list[Kind]:
        """Return kinds with those first for which room was made, and then those of which no worker runs."""
        return sorted(kinds, key=lambda kind: (kind not in self._plans, kind in self._served))

    def most_more(self, kind: Kind, held: int) -> int:
        """Return how many workers a kind that has so many may get now."""
        most = self._max_workers
        for plan in self._plans.values():
            if plan.kind == kind:
                continue
            if kind in plan.losers or (held and self._share_of(kind, held + 1) > plan.share):
                return 0
            if not held:
                most = 1 if kind in self._plans or self._waits_longer(kind, plan.kind) else 0
            if not most:
                return 0
        return most

    # Plans

    def _begin(self, scene: _Scene) -> list[TaskId]:
        """Begin a plan for the kind that has waited longest of those for which anything can be done."""
        if len(self._plans) >= MAX_PLANS:
            return []
        for kind, since_ms in sorted(self._waiting.items(), key=lambda each: each[1]):
            rests = scene.now_ms < max(since_ms + PATIENCE_MS, self._rest_until.get(kind, 0))
            if rests or kind in self._plans:
                continue
            if (found := self._choose(scene, kind)) is not None:
                plan = self._plans[kind] = _Plan(kind, found[0])
                return self._take(plan, scene, found[1], self._first_step(scene, kind, found[1]))
        return []

    def _go_on(self, plan: _Plan, scene: _Scene, slots: Mapping[TaskId, Slot]) -> list[TaskId]:
        if not scene.waits(plan.kind):
            del self._plans[plan.kind]
            return []
        plan.share = self._share_of(plan.kind, scene.held[plan.kind] + 1)
        plan.ending.intersection_update(slots)
        if plan.ending:
            if scene.now_ms >= plan.stepped_ms + DRAIN_PATIENCE_MS:
                self._give_up(plan, scene.now_ms)
            return []
        if plan.freed_ms is None:
            plan.freed_ms = scene.now_ms
        if scene.now_ms < plan.freed_ms + PATIENCE_MS:
            return []
        found = self._found(scene, plan.kind, plan.agent_id, plan.freed)[0]
        if not found and not self._comes_to_a_turn(plan, scene):
            self._give_up(plan, scene.now_ms)
        return self._take(plan, scene, found, max(1, plan.count))

    def _comes_to_a_turn(self, plan: _Plan, scene: _Scene) -> bool:
        """Whether there is more to take once somebody's turn has ended."""
        later = replace(scene, now_ms=scene.now_ms + TURN_MS)
        return bool(self._found(later, plan.kind, plan.agent_id, plan.freed)[0])

    def _take(self, plan: _Plan, scene: _Scene, found: list[tuple[TaskId, Kind]], most: int) -> list[TaskId]:
        taken = found[:most]
        if taken:
            plan.stepped_ms, plan.freed_ms = scene.now_ms, None
            plan.share = self._share_of(plan.kind, scene.held[plan.kind] + 1)
            plan.count += len(taken)
            plan.ending.update(task_id for task_id, _ in taken)
            for _, kind in taken:
                plan.losers.add(kind)
                plan.freed.update(self._unit(kind))
        return [task_id for task_id, _ in taken]

    def _give_up(self, plan: _Plan, now_ms: int) -> None:
        del self._plans[plan.kind]
        failed = self._failed.setdefault(plan.kind, Counter())
        self._rest_until[plan.kind] = now_ms + min(MAX_REST_MS, REST_MS << min(failed.total(), 10))
        failed[plan.agent_id] += 1

    def _first_step(self, scene: _Scene, kind: Kind, found: list[tuple[TaskId, Kind]]) -> int:
        """How many may do: what they hold is enough of one thing, and of the others enough may be free."""
        if scene.held.total() >= self._max_workers:
            return 1
        freed: Counter[str] = Counter()
        for count, (_, loser) in enumerate(found, 1):
            freed.update(self._unit(loser))
            if any(freed[name] >= amount for name, amount in self._unit(kind).items() if name != _PLACE):
                return count
        return len(found)

    # Who loses

    def _choose(self, scene: _Scene, kind: Kind) -> tuple[AgentId, list[tuple[TaskId, Kind]]] | None:
        """The agent where it costs least that one of a kind surely fits; where that is nowhere, the one with most to take.

        Where plans came to nothing, others hold more than is known here: elsewhere first.
        """
        failed = self._failed.get(kind, Counter())
        best: tuple[tuple[int, bool, bool, int, int, AgentId], list[tuple[TaskId, Kind]]] | None = None
        for agent_id in scene.workers:
            found, sure, fits = self._found(scene, kind, agent_id, Counter())
            cost = len(found) if fits else -len(found)
            key = (failed[agent_id], not fits, sure < len(found), scene.leaving[agent_id], cost, agent_id)
            if found and (best is None or key < best[0]):
                best = (key, found)
        return None if best is None else (best[0][-1], best[1])

    def _found(
        self, scene: _Scene, kind: Kind, agent_id: AgentId, freed: "Counter[str]"
    ) -> tuple[list[tuple[TaskId, Kind]], int, bool]:
        """Whose workers on an agent may go for one of a kind, in this order, until it surely fits.

        Returns:
            Them; how many of them are nobody's last; whether it fits then.
        """
        unit, freed = self._unit(kind), Counter(freed)
        left = Counter(scene.held)
        here = {loser: list(workers) for loser, workers in scene.workers.get(agent_id, {}).items() if loser != kind}
        found: list[tuple[TaskId, Kind]] = []
        sure = 0
        for last in (False, True):
            while not freed >= unit:
                losers = [
                    each for each, workers in here.items() if workers and self._loses(scene, each, kind, left, last)
                ]
                if not losers:
                    break
                loser = max(losers, key=lambda each: self._burden(scene, each, left))
                found.append((here[loser].pop(), loser))
                freed.update(self._unit(loser))
                left[loser] -= 1
            sure = sure if last else len(found)
        return found, sure, freed >= unit

    def _loses(self, scene: _Scene, loser: Kind, winner: Kind, left: "Counter[Kind]", last: bool) -> bool:
        """Whether a worker of one may go for another."""
        if self._has_spare(scene, loser, left):
            return True
        has_none = not scene.held[winner]
        if left[loser] > 1:
            after = self._share_of(loser, left[loser] - 1)
            return has_none or after >= self._share_of(winner, scene.held[winner] + 1)
        served_ms = self._served.get(loser)
        return last and has_none and served_ms is not None and scene.now_ms >= served_ms + TURN_MS

    def _burden(self, scene: _Scene, kind: Kind, left: "Counter[Kind]") -> tuple[bool, Fraction]:
        return self._has_spare(scene, kind, left), self._share_of(kind, left[kind])

    def _has_spare(self, scene: _Scene, kind: Kind, left: "Counter[Kind]") -> bool:
        return left[kind] > scene.held[kind] - scene.wishes.get(kind, Wish()).spare

    # Measuring

    def _note(
        self, now_ms: int, wishes: Mapping[Kind, Wish], slots: Mapping[TaskId, Slot], held: "Counter[Kind]"
    ) -> None:
        amounts: Counter[str] = Counter({_PLACE: self._max_workers})
        for slot in slots.values():
            for name, amount in self._unit(slot.kind).items():
                amounts[name] += amount if name != _PLACE else 0
        self._totals |= amounts
        waiting = [kind for kind, wish in wishes.items() if wish.calls and held[kind] < wish.target]
        self._waiting = {kind: self._waiting.get(kind, now_ms) for kind in waiting}
        running = dict.fromkeys(slot.kind for slot in slots.values() if slot.counts and slot.running)
        self._served = {kind: self._served.get(kind, now_ms) for kind in running}

    def _share_of(self, kind: Kind, workers: int) -> Fraction:
        unit = self._unit(kind)
        return max(Fraction(workers * amount, max(1, self._totals[name])) for name, amount in unit.items())

    def _unit(self, kind: Kind) -> "Counter[str]":
        """What a worker of a kind holds, in thousandths, and the place that it takes."""
        unit = self._units.get(kind)
        if unit is None:
            unit = self._units[kind] = Counter({_PLACE: 1})
            for resource in shape_with_executor(kind, self._share):
                unit[resource.name] += resource.scalar or 0
        return unit

    def _waits_longer(self, kind: Kind, than: Kind) -> bool:
        return kind in self._waiting and self._waiting[kind] < self._waiting.get(than, 0)

    def _forget(self) -> None:
        """There is nobody to share with."""
        for book in (self._totals, self._waiting, self._served, self._plans, self._failed, self._rest_until):
            book.clear()


def _scene(
    now_ms: int,
    wishes: Mapping[Kind, Wish],
    held: "Counter[Kind]",
    slots: Mapping[TaskId, Slot],
    executors: ExecutorBook[Kind],
) -> _Scene:
    workers: dict[AgentId, dict[Kind, list[TaskId]]] = {}
    leaving: Counter[AgentId] = Counter()
    for executor in sorted(executors, key=lambda each: -each.calls):
        for task_id in executor.tasks:
            slot = slots[task_id]
            if slot.counts:
                workers.setdefault(executor.agent_id, {}).setdefault(slot.kind, []).append(task_id)
            else:
                leaving[executor.agent_id] += 1
    return _Scene(now_ms, wishes, held, workers, leaving)
