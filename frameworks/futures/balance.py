"""Which workers go so that calls of another kind get some: no kind may keep what all of them are to share.

A kind *waits* while it has more calls than workers. Where nothing came of that for a while, others make room for its workers, for
each on one agent:

    waits --PATIENCE_MS--> plan: end some workers of an agent --over--> wait for the offer --> it grew: done
                             ^                                               |
                             '------ end twice as many in all <--PATIENCE_MS-'--nothing is left to end--> give up, learn, and rest

- Who has none gets one, and leaves everybody else at least one. Who has some gets another as long as that leaves him no better
  off than whom it is taken from, by dominant share (`shares.py`).
- A plan is for one worker, and for one more with each that came of the plans before it: so twice as many each time. Where one is
  in vain, the next is for one again.
- Where two kinds do not fit beside each other they take turns: the last worker of a kind goes, too, once it ran for TURN_MS.
- Workers end after their calls. What is free on an agent nobody here knows, so first as few end as might do.
- While a plan lasts, who lost by it, or would have more than the one it is for, gets no more: the room is not his to take again.
  Where it is for one who has none, nobody does who has some.

Why it comes to rest while loads, agents and what others hold stay as they are, and all kinds have workers. List the shares of all
kinds from small to large. A worker that moves leaves whom it is taken from with no less than it brings its own kind to, so of the
shares that change the smallest grows; and whoever grows into free room makes none smaller. So lists only become greater, and
there are only so many. A plan in vain ends workers for nothing, and would be made again for ever; but twice it teaches what an
agent has no room for (`room.py`), and no plan asks for that again. Of such lessons there are only so many, too.
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
from .programs import ExecutorShare
from .room import Room
from .shares import Shares

#: How long a kind waits before others make room, and a plan before it takes more: offers come several times a second, and who
#: ends by himself most often does within this.
PATIENCE_MS: Final = 2_000
#: How long a kind that others wait for keeps its last worker, from when it runs: many times what it takes to start one, or the
#: cluster would do little else.
TURN_MS: Final = 30_000
#: A plan waits so long for calls of those that it ends. After that the room that it has is for anybody.
DRAIN_PATIENCE_MS: Final = 600_000
#: A kind for which room was made in vain is not helped for so long; twice as long each time on one agent.
REST_MS: Final = 10_000
MAX_REST_MS: Final = 600_000
#: Kinds that are helped at a time, those that wait longest: a small cluster is not emptied for a hundred kinds at once.
MAX_PLANS: Final = 4
#: Workers that one plan is for: as many start on a few agents within seconds.
MAX_PACE: Final = 64


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
class _Spot:
    """Room is being made for one worker."""

    agent_id: AgentId
    #: What its workers hold that were asked to end so far, and how many they are.
    freed: "Counter[str]" = field(default_factory=Counter[str])
    count: int = 0
    #: Those of them that are not over, and when the newest were asked.
    ending: set[TaskId] = field(default_factory=set[TaskId])
    stepped_ms: int = 0
    #: Since when all are over.
    freed_ms: int | None = None


@dataclass(slots=True, eq=False)
class _Plan:
    """Room is being made for workers of a kind."""

    kind: Kind
    spots: list[_Spot] = field(default_factory=list[_Spot])
    losers: set[Kind] = field(default_factory=set[Kind])
    #: What the kind will hold, at the last look; nothing while it has none, so that nobody who has some comes before it.
    share: Fraction = Fraction(0)
    #: When it last might have no more, whatever was offered.
    barred_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """How things are, and whose workers are where: of each agent and kind those with the fewest calls last."""

    now_ms: int
    wishes: Mapping[Kind, Wish]
    held: "Counter[Kind]"
    workers: dict[AgentId, dict[Kind, list[TaskId]]]
    #: Kinds of an agent's workers that were asked to end, or that others take the place of.
    leaving: dict[AgentId, list[Kind]]

    def waits(self, kind: Kind) -> bool:
        """Whether a kind has calls for another worker."""
        return self.lack(kind) > 0

    def lack(self, kind: Kind) -> int:
        """For how many more workers a kind has calls."""
        wish = self.wishes.get(kind, Wish())
        return max(0, wish.target - self.held[kind]) if wish.calls else 0

    def ends(self, agent_id: AgentId, task_id: TaskId, kind: Kind) -> None:
        """A worker was asked to end just now."""
        self.workers[agent_id][kind].remove(task_id)
        self.leaving.setdefault(agent_id, []).append(kind)
        self.held[kind] -= 1


@dataclass(frozen=True, slots=True)
class _Found:
    """Whose workers of an agent may go for one of a kind."""

    agent_id: AgentId
    #: In this order.
    workers: list[tuple[TaskId, Kind]]
    #: How many of them are nobody's last.
    sure: int
    #: Whether one surely fits then.
    fits: bool


class Balance:
    """Of the workers of one framework. Decides; whoever asks ends the workers, and tells what grew.

    Args:
        max_workers: Of all kinds.
        share: Of executors.
    """

    def __init__(self, max_workers: int, share: ExecutorShare) -> None:
        self._max_workers: Final = max_workers
        self._shares: Final = Shares(max_workers, share)
        #: Kept when there is nobody to share with, too: it is about others.
        self._room: Final = Room()
        #: Since when kinds wait and did not grow, and since when one of their workers has run.
        self._waiting: dict[Kind, int] = {}
        self._served: dict[Kind, int] = {}
        self._plans: dict[Kind, _Plan] = {}
        #: How many more workers than one the next plan of a kind that waits is for.
        self._pace: Counter[Kind] = Counter()
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
        scene = _scene(now_ms, wishes, held, slots, executors)
        self._note(scene, slots)
        if not self._waiting:
            self._plans.clear()
            return []
        for plan in list(self._plans.values()):
            if taken := self._go_on(plan, scene, slots):
                return taken
        return self._begin(scene)

    def grew(self, kind: Kind, agent_id: AgentId) -> None:
        """A worker of this kind was launched."""
        plan = self._plans.get(kind)
        if plan is not None:
            self._pace[kind] += 1
            plan.spots.remove(next((spot for spot in plan.spots if spot.agent_id == agent_id), plan.spots[0]))
            if not plan.spots:
                del self._plans[kind]
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
            if kind in plan.losers or (held and self._shares.of(kind, held + 1) > plan.share):
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
            plan, taken = _Plan(kind), list[TaskId]()
            while len(plan.spots) < min(1 + self._pace[kind], MAX_PACE, scene.lack(kind)):
                found = self._choose(scene, kind, scene.held[kind] + len(plan.spots) + 1)
                if found is None:
                    break
                plan.spots.append(_Spot(found.agent_id))
                taken += self._take(plan, plan.spots[-1], scene, found, self._first_step(scene, kind, found))
            if taken:
                self._plans[kind] = plan
                return taken
        return []

    def _go_on(self, plan: _Plan, scene: _Scene, slots: Mapping[TaskId, Slot]) -> list[TaskId]:
        del plan.spots[scene.lack(plan.kind) :]
        if not self.most_more(plan.kind, scene.held[plan.kind]) or scene.held.total() >= self._max_workers:
            plan.barred_ms = scene.now_ms
        plan.share = self._share_then(plan, scene)
        taken: list[TaskId] = []
        for spot in list(plan.spots):
            spot.ending.intersection_update(slots)
            taken += self._go_on_at(plan, spot, scene)
        if not plan.spots:
            del self._plans[plan.kind]
        return taken

    def _go_on_at(self, plan: _Plan, spot: _Spot, scene: _Scene) -> list[TaskId]:
        if spot.ending:
            if scene.now_ms >= spot.stepped_ms + DRAIN_PATIENCE_MS:
                self._give_up(plan, spot, scene)
            return []
        if spot.freed_ms is None:
            spot.freed_ms = scene.now_ms
        if scene.now_ms < spot.freed_ms + PATIENCE_MS:
            return []
        wins = scene.held[plan.kind] + len(plan.spots)
        found = self._found(scene, plan.kind, spot.agent_id, wins, spot.freed)
        if not found.workers and not self._comes_to_a_turn(plan, spot, scene):
            if scene.now_ms >= plan.barred_ms + PATIENCE_MS:
                self._room.learn(scene.now_ms, spot.agent_id, self._beside(scene, plan.kind, spot.agent_id))
            self._give_up(plan, spot, scene)
        return self._take(plan, spot, scene, found, max(1, spot.count))

    def _share_then(self, plan: _Plan, scene: _Scene) -> Fraction:
        """What bars others: what the kind will have."""
        wins = scene.held[plan.kind] + len(plan.spots)
        return self._shares.of(plan.kind, wins) if wins > 1 else Fraction(0)

    def _comes_to_a_turn(self, plan: _Plan, spot: _Spot, scene: _Scene) -> bool:
        """Whether there is more to take once somebody's turn has ended."""
        later = replace(scene, now_ms=scene.now_ms + TURN_MS)
        wins = scene.held[plan.kind] + len(plan.spots)
        return bool(self._found(later, plan.kind, spot.agent_id, wins, spot.freed).workers)

    def _take(self, plan: _Plan, spot: _Spot, scene: _Scene, found: _Found, most: int) -> list[TaskId]:
        taken = found.workers[:most]
        if taken:
            spot.stepped_ms, spot.freed_ms = scene.now_ms, None
            plan.share = self._share_then(plan, scene)
            spot.count += len(taken)
            for task_id, kind in taken:
                spot.ending.add(task_id)
                plan.losers.add(kind)
                spot.freed.update(self._shares.unit(kind))
                scene.ends(spot.agent_id, task_id, kind)
        return [task_id for task_id, _ in taken]

    def _give_up(self, plan: _Plan, spot: _Spot, scene: _Scene) -> None:
        plan.spots.remove(spot)
        del self._pace[plan.kind]
        if scene.now_ms >= self._rest_until.get(plan.kind, 0):
            failed = self._failed.setdefault(plan.kind, Counter())
            rest_ms = min(MAX_REST_MS, REST_MS << min(failed[spot.agent_id], 10))
            self._rest_until[plan.kind] = scene.now_ms + rest_ms
            failed[spot.agent_id] += 1

    def _first_step(self, scene: _Scene, kind: Kind, found: _Found) -> int:
        """How many may do: what they hold is enough of one thing, and of the others enough may be free."""
        if scene.held.total() >= self._max_workers:
            return 1
        freed: Counter[str] = Counter()
        for count, (_, loser) in enumerate(found.workers, 1):
            freed.update(self._shares.room(loser))
            may_do = any(freed[name] >= amount for name, amount in self._shares.room(kind).items())
            if may_do and not self._is_in_vain(scene, kind, found, count):
                return count
        return len(found.workers)

    # Who loses

    def _choose(self, scene: _Scene, kind: Kind, wins: int) -> _Found | None:
        """The agent where it costs least that one of a kind surely fits; where that is nowhere, the one with most to take.

        Where plans came to nothing, others hold more than is known here: elsewhere first. Who has none tries, once he has
        rested, even what was in vain: he depends on what others have given back since.
        """
        failed = self._failed.get(kind, Counter())
        best: tuple[tuple[int, bool, bool, int, int, AgentId], _Found] | None = None
        for agent_id in scene.workers:
            found = self._found(scene, kind, agent_id, wins, Counter())
            count = len(found.workers)
            if not count or (wins > 1 and self._is_in_vain(scene, kind, found, count)):
                continue
            cost = count if found.fits else -count
            leaving = len(scene.leaving.get(agent_id, []))
            key = (failed[agent_id], not found.fits, found.sure < count, leaving, cost, agent_id)
            if best is None or key < best[0]:
                best = (key, found)
        return None if best is None else best[1]

    def _found(self, scene: _Scene, kind: Kind, agent_id: AgentId, wins: int, freed: "Counter[str]") -> _Found:
        """Whose workers on an agent may go for one of a kind, which is its worker of that number, until it surely fits."""
        unit, freed = self._shares.unit(kind), Counter(freed)
        left = Counter(scene.held)
        here = {loser: list(workers) for loser, workers in scene.workers.get(agent_id, {}).items() if loser != kind}
        found: list[tuple[TaskId, Kind]] = []
        sure = 0
        for last in (False, True):
            while not freed >= unit:
                losers = [
                    each
                    for each, workers in here.items()
                    if workers and self._loses(scene, each, kind, wins, left, last)
                ]
                if not losers:
                    break
                loser = max(losers, key=lambda each: self._burden(scene, each, left))
                found.append((here[loser].pop(), loser))
                freed.update(self._shares.unit(loser))
                left[loser] -= 1
            sure = sure if last else len(found)
        return _Found(agent_id, found, sure, freed >= unit)

    def _loses(self, scene: _Scene, loser: Kind, winner: Kind, wins: int, left: "Counter[Kind]", last: bool) -> bool:
        """Whether a worker of one may go for another."""
        if self._has_spare(scene, loser, left):
            return True
        if left[loser] > 1:
            return wins == 1 or self._shares.of(loser, left[loser] - 1) >= self._shares.of(winner, wins)
        served_ms = self._served.get(loser)
        return last and wins == 1 and served_ms is not None and scene.now_ms >= served_ms + TURN_MS

    def _burden(self, scene: _Scene, kind: Kind, left: "Counter[Kind]") -> tuple[bool, Fraction]:
        return self._has_spare(scene, kind, left), self._shares.of(kind, left[kind])

    def _has_spare(self, scene: _Scene, kind: Kind, left: "Counter[Kind]") -> bool:
        return left[kind] > scene.held[kind] - scene.wishes.get(kind, Wish()).spare

    def _is_in_vain(self, scene: _Scene, kind: Kind, found: _Found, count: int) -> bool:
        """Whether one of a kind is known not to fit when so many of those that were found are over, and all that leave."""
        left = replace(scene, leaving={})
        amounts = self._beside(left, kind, found.agent_id)
        for _, loser in found.workers[:count]:
            amounts.subtract(self._shares.room(loser))
        return self._room.is_too_much(found.agent_id, amounts)

    # Measuring

    def _beside(self, scene: _Scene, kind: Kind, agent_id: AgentId) -> "Counter[str]":
        """What one more of a kind holds and all that is on an agent."""
        return self._there(scene, agent_id) + self._shares.room(kind)

    def _there(self, scene: _Scene, agent_id: AgentId) -> "Counter[str]":
        amounts: Counter[str] = Counter()
        counts = Counter({kind: len(workers) for kind, workers in scene.workers.get(agent_id, {}).items()})
        for kind, count in (counts + Counter(scene.leaving.get(agent_id, []))).items():
            for name, amount in self._shares.room(kind).items():
                amounts[name] += count * amount
        return amounts

    def _note(self, scene: _Scene, slots: Mapping[TaskId, Slot]) -> None:
        now_ms = scene.now_ms
        self._shares.note(slot.kind for slot in slots.values())
        self._room.look(now_ms, {agent_id: self._there(scene, agent_id) for agent_id in self._room.agents()})
        self._waiting = {kind: self._waiting.get(kind, now_ms) for kind in scene.wishes if scene.waits(kind)}
        self._pace = Counter({kind: self._pace[kind] for kind in self._waiting})
        running = dict.fromkeys(slot.kind for slot in slots.values() if slot.counts and slot.running)
        self._served = {kind: self._served.get(kind, now_ms) for kind in running}

    def _waits_longer(self, kind: Kind, than: Kind) -> bool:
        return kind in self._waiting and self._waiting[kind] < self._waiting.get(than, 0)

    def _forget(self) -> None:
        """There is nobody to share with."""
        self._shares.forget()
        for book in (self._waiting, self._served, self._plans, self._pace, self._failed, self._rest_until):
            book.clear()


def _scene(
    now_ms: int,
    wishes: Mapping[Kind, Wish],
    held: "Counter[Kind]",
    slots: Mapping[TaskId, Slot],
    executors: ExecutorBook[Kind],
) -> _Scene:
    workers: dict[AgentId, dict[Kind, list[TaskId]]] = {}
    leaving: dict[AgentId, list[Kind]] = {}
    for executor in sorted(executors, key=lambda each: -each.calls):
        for task_id in executor.tasks:
            slot = slots[task_id]
            if slot.counts:
                workers.setdefault(executor.agent_id, {}).setdefault(slot.kind, []).append(task_id)
            else:
                leaving.setdefault(executor.agent_id, []).append(slot.kind)
    return _Scene(now_ms, wishes, held, workers, leaving)
