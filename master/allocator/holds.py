"""Keeping an agent for a large demand, so that small ones do not starve it.

A unit that fits an agent's total, but for some time nowhere in what is free, waits for ever where every gap is filled with
smaller things as soon as it opens. So after `HOLD_AFTER_MS` the agent that lacks least of one unit is *held*: what becomes
free there goes to nobody else until the unit fits, or until `HOLD_FOR_MS` has passed. Then it is open to all again, and the
demand starts waiting anew. A hold also ends when its client wants the unit no longer, or when the agent changes.

Only units that others crowd out are helped so: where every gap that anybody could use is large enough for the unit, it is
merely not its turn, and fair order is what serves it.

This costs the cluster idle space, hence the bounds: one agent a client, and at most one agent in `AGENTS_PER_HOLD`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heappop, heappush
from typing import Final

from mesolite.ids import AgentId

from .agents import AgentBook, Hold
from .carving import Amounts
from .clients import Client
from .demand import Want, whole_units
from .filters import Filters

#: How long a unit waits before space is kept for it. Most gaps of a busy cluster come from tasks that end by themselves
#: within seconds; a hold is for what that churn has not served.
HOLD_AFTER_MS: Final = 30_000

#: How long an agent is kept. Aurora keeps an agent for the victim of a preemption for as long (3 min, reference appendix A).
HOLD_FOR_MS: Final = 180_000

#: One held agent among so many, and always one: three quarters of a cluster stay open to everybody.
AGENTS_PER_HOLD: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """The bounds of holding; see the constants."""

    after_ms: int = HOLD_AFTER_MS
    for_ms: int = HOLD_FOR_MS
    agents_per_hold: int = AGENTS_PER_HOLD


@dataclass(slots=True, eq=False)
class Holds:
    """Which agents are held, and what waits."""

    limits: HoldLimits = field(default_factory=HoldLimits)
    #: The held agents, by whom they are held for.
    _held: dict[Client, AgentBook] = field(default_factory=dict[Client, AgentBook])
    #: When something has waited long enough, soonest first; one entry a want at most. It may come too early, where the want was
    #: served since, and is put right when it is at the front. The number keeps clients from being compared.
    _due: list[tuple[int, int, Client, Want]] = field(default_factory=list[tuple[int, int, Client, Want]])
    _entries: int = 0

    def any_due(self, now_ms: int) -> bool:
        """Tell whether `begin` or `expire` has something to do."""
        if self._due and self._due[0][0] <= now_ms:
            return True
        return any(agent.hold is None or agent.hold.until_ms <= now_ms for agent in self._held.values())

    def served(self, client: Client, agent: AgentBook, want: Want | None) -> None:
        """Units were offered: the clock of what is still needed starts again, and a hold has done its work."""
        if want is not None:
            want.waiting_since_ms = None
        if agent.hold is not None and agent.hold.client is client:
            self.release(client)

    def watch(self, client: Client, now_ms: int) -> AgentId | None:
        """Start and stop the clocks of a client's wants. Return an agent that need not be held for it any more."""
        needed: list[Want] = []
        for want in client.demand.wants if client.demand is not None else ():
            if client.eligible() and want.needed():
                needed.append(want)
                if want.waiting_since_ms is None:
                    self._wait(client, want, now_ms)
            else:
                want.waiting_since_ms = None
        agent = self._held.get(client)
        if agent is None or agent.hold is None or any(want.amounts == agent.hold.amounts for want in needed):
            return None
        return self.release(client)

    def release(self, client: Client) -> AgentId | None:
        """End a client's hold; return the agent, if there was one."""
        agent = self._held.pop(client, None)
        if agent is None:
            return None
        agent.hold = None
        return agent.agent_id

    def expire(self, now_ms: int) -> list[AgentId]:
        """End the holds that were in vain, and return their agents."""
        over = [client for client, agent in self._held.items() if agent.hold is None or agent.hold.until_ms <= now_ms]
        return [agent_id for client in over if (agent_id := self.release(client)) is not None]

    def begin(self, agents: Collection[AgentBook], eligible: Iterable[Client], filters: Filters, now_ms: int) -> None:
        """Hold an agent for each want that has waited long enough, within the bounds."""
        while (entry := self._first()) is not None and entry[0] <= now_ms:
            heappop(self._due)
            _, _, client, want = entry
            want.is_queued = False
            room = len(self._held) < max(1, len(agents) // self.limits.agents_per_hold)
            if room and client not in self._held and _is_crowded_out(client, want, eligible):
                agent = _closest(agents, client, want, filters)
                if agent is not None:
                    agent.hold = Hold(client, want.amounts, now_ms + self.limits.for_ms)
                    self._held[client] = agent
            self._wait(client, want, now_ms)

    def next_deadline_ms(self) -> int | None:
        """When `begin` or `expire` has something to do; None where nothing waits and nothing is held."""
        ends = [agent.hold.until_ms for agent in self._held.values() if agent.hold is not None]
        entry = self._first()
        if entry is not None:
            ends.append(entry[0])
        return min(ends, default=None)

    def reminders(self) -> int:
        """How many clocks are being watched."""
        return len(self._due)

    def check(self, agents: Collection[AgentBook]) -> None:
        """Assert that both sides of each hold are booked, and that the bound is kept as far as agents did not leave."""
        held = {agent.agent_id: agent.hold.client for agent in agents if agent.hold is not None}
        assert held == {agent.agent_id: client for client, agent in self._held.items()}, f"held: {sorted(held)}"
        for client in self._held:
            assert client.eligible(), f"an agent is held for {client.name()}, which wants nothing"

    def _wait(self, client: Client, want: Want, now_ms: int) -> None:
        want.waiting_since_ms = now_ms
        if not want.is_queued:
            self._queue(client, want, now_ms + self.limits.after_ms)

    def _queue(self, client: Client, want: Want, due_ms: int) -> None:
        want.is_queued = True
        self._entries += 1
        heappush(self._due, (due_ms, self._entries, client, want))

    def _first(self) -> tuple[int, int, Client, Want] | None:
        """The soonest entry that means what it says; those before it are dropped or moved."""
        while self._due:
            entry = self._due[0]
            due_ms = self._due_ms(entry[2], entry[3])
            if due_ms == entry[0]:
                return entry
            heappop(self._due)
            entry[3].is_queued = False
            if due_ms is not None:
                self._queue(entry[2], entry[3], due_ms)
        return None

    def _due_ms(self, client: Client, want: Want) -> int | None:
        """When a want will have waited long enough; None where it does not wait."""
        if want.waiting_since_ms is None or client.demand is None or not client.eligible() or not want.needed():
            return None
        return want.waiting_since_ms + self.limits.after_ms if want in client.demand.wants else None


def _is_crowded_out(client: Client, want: Want, eligible: Iterable[Client]) -> bool:
    """Tell whether somebody could use a gap that is too small for the unit."""
    for other in eligible:
        if other.demand is None:
            if other is not client:
                return True
            continue
        for rival in other.demand.wants:
            if rival is not want and rival.needed() and not _contains(rival.amounts, want.amounts):
                return True
    return False


def _contains(amounts: Amounts, unit: Amounts) -> bool:
    return all(amounts.get(name, 0) >= amount for name, amount in unit.items())


def _closest(agents: Collection[AgentBook], client: Client, want: Want, filters: Filters) -> AgentBook | None:
    """The agent that lacks least of one unit, in parts of the unit; None where none ever fits, or space is not the problem."""
    best: tuple[Fraction, AgentId] | None = None
    chosen: AgentBook | None = None
    for agent in agents:
        if (
            not agent.active
            or agent.hold is not None
            or not whole_units(agent.total_amounts(client.role), want.amounts)
        ):
            continue
        free = agent.free_amounts(client.role)
        if whole_units(free, want.amounts):
            return None
        unit = agent.cut_from_total(want, client.role)
        if unit is None or filters.blocking(client, agent.agent_id, unit) is not None:
            continue
        key = (_missing(free, want.amounts), agent.agent_id)
        if best is None or key < best:
            best, chosen = key, agent
    return chosen


def _missing(free: Amounts, unit: Amounts) -> Fraction:
    return max(Fraction(max(0, amount - free.get(name, 0)), amount) for name, amount in unit.items())
