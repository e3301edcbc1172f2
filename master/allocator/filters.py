"""What was declined, and for how long it is not offered again (reference 1.10).

A filter stands between one client (a framework in a role) and one agent. It blocks an offer exactly where what was refused
contains what would be offered: a bigger offer, or one of another kind, passes. Unlike Mesos's it lives exactly as long as
asked for: there is no allocation interval that it would have to outlive (trap 3).
"""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from mesolite.ids import AgentId
from mesolite.resources import Resources

from .clients import Client
from .contract import DEFAULT_REFUSE_MS, MAX_REFUSE_MS

#: Filters kept per client and agent. One that another covers for longer is dropped, so that ordinary decliners keep one or
#: two. Beyond the limit those that end first go: their client is asked again earlier than it wished.
MAX_FILTERS: Final = 8

#: Ends are swept when there are so many more than twice those of standing filters, so that sweeping costs little per filter.
SWEEP_AT: Final = 1024


def refuse_duration_ms(refuse_ms: int | None) -> int:
    """How long a filter lives; 0 where none is to be set."""
    if refuse_ms is None:
        return 0
    return DEFAULT_REFUSE_MS if refuse_ms < 0 else min(refuse_ms, MAX_REFUSE_MS)


@dataclass(frozen=True, slots=True)
class Filter:
    """One refusal."""

    #: Unstamped.
    refused: Resources
    until_ms: int


class Filters:
    """All filters."""

    def __init__(self) -> None:
        self._filters: dict[Client, dict[AgentId, list[Filter]]] = {}
        #: When some filter ends, soonest first. Entries outlive filters that are dropped, and then mean nothing. The number
        #: keeps clients from being compared.
        self._ends: list[tuple[int, int, Client, AgentId]] = []
        self._added = 0
        self._sweep_at = SWEEP_AT

    def add(self, client: Client, agent_id: AgentId, refused: Resources, until_ms: int) -> None:
        """Refuse what `refused` contains until then."""
        standing = self._filters.setdefault(client, {}).setdefault(agent_id, [])
        if any(old.until_ms >= until_ms and old.refused.contains(refused) for old in standing):
            return
        kept = [old for old in standing if old.until_ms > until_ms or not refused.contains(old.refused)]
        kept.append(Filter(refused, until_ms))
        kept.sort(key=lambda filter_: -filter_.until_ms)
        standing[:] = kept[:MAX_FILTERS]
        self._remind(until_ms, client, agent_id)
        if len(self._ends) >= self._sweep_at:
            self._sweep()

    def blocking(self, client: Client, agent_id: AgentId, candidate: Resources) -> Filter | None:
        """Return the filter that blocks an offer for the longest, if one does. Call `expire` first."""
        agents = self._filters.get(client)
        if not agents:
            return None
        for filter_ in agents.get(agent_id, ()):
            if filter_.refused.contains(candidate):
                return filter_
        return None

    def any_of(self, client: Client) -> bool:
        """Tell whether a client refuses anything anywhere."""
        return client in self._filters

    def ends_ms(self, client: Client, agent_id: AgentId) -> int | None:
        """When the last filter between them ends; None where there is none."""
        standing = self._filters.get(client, {}).get(agent_id, ())
        return max((filter_.until_ms for filter_ in standing), default=None)

    def any_due(self, now_ms: int) -> bool:
        """Tell whether `expire` has something to do."""
        return bool(self._ends) and self._ends[0][0] <= now_ms

    def expire(self, now_ms: int) -> list[tuple[Client, AgentId]]:
        """Drop the filters that have ended, and return between whom they stood."""
        ended: list[tuple[Client, AgentId]] = []
        while self._ends and self._ends[0][0] <= now_ms:
            _, _, client, agent_id = heappop(self._ends)
            standing = self._filters.get(client, {}).get(agent_id)
            if standing is None:
                continue
            left = [filter_ for filter_ in standing if filter_.until_ms > now_ms]
            if len(left) == len(standing):
                continue
            ended.append((client, agent_id))
            if left:
                standing[:] = left
            else:
                self._drop(client, agent_id)
        return ended

    def drop_client(self, client: Client) -> None:
        """Forget what a client refused."""
        self._filters.pop(client, None)

    def drop_agent(self, agent_id: AgentId) -> None:
        """Forget what was refused of an agent."""
        for client in [client for client, agents in self._filters.items() if agent_id in agents]:
            self._drop(client, agent_id)

    def next_end_ms(self) -> int | None:
        """When the next filter ends; None where there is none."""
        while self._ends:
            until_ms, _, client, agent_id = self._ends[0]
            if any(filter_.until_ms == until_ms for filter_ in self._filters.get(client, {}).get(agent_id, ())):
                return until_ms
            heappop(self._ends)
        return None

    def reminders(self) -> int:
        """How many ends are remembered, those of dropped filters included."""
        return len(self._ends)

    def check(self) -> None:
        """Assert that every filter has an end to come."""
        ends = {(until_ms, client, agent_id) for until_ms, _, client, agent_id in self._ends}
        for client, agents in self._filters.items():
            assert agents, f"{client.name()} has an empty entry"
            for agent_id, standing in agents.items():
                assert 0 < len(standing) <= MAX_FILTERS, f"{client.name()} has {len(standing)} filters on {agent_id}"
                for filter_ in standing:
                    assert (filter_.until_ms, client, agent_id) in ends, f"a filter of {client.name()} never ends"

    def _remind(self, until_ms: int, client: Client, agent_id: AgentId) -> None:
        self._added += 1
        heappush(self._ends, (until_ms, self._added, client, agent_id))

    def _sweep(self) -> None:
        """Forget the ends of filters that were dropped: one for a year, dropped by a revive, would lie here for a year."""
        self._ends.clear()
        for client, agents in self._filters.items():
            for agent_id, standing in agents.items():
                for filter_ in standing:
                    self._remind(filter_.until_ms, client, agent_id)
        self._sweep_at = SWEEP_AT + 2 * len(self._ends)

    def _drop(self, client: Client, agent_id: AgentId) -> None:
        agents = self._filters[client]
        del agents[agent_id]
        if not agents:
            del self._filters[client]
