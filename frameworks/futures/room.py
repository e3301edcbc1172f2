"""What a framework has learnt of the room that agents have for it.

Nobody tells it what is free: others hold some of each agent, and come and go. But where workers ended to make room for another,
and that was not offered, what is left there and the other are together more than there is. Twice in a row that is no accident: to
end workers for the same again, or for more, would be in vain. So it is until as much is seen to be there, or so long that others
may have given something back.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from mesolite.ids import AgentId

#: As many lessons are believed. One may be that of a master that changed just then, and offered nothing to anybody.
MANY: Final = 2
#: Lessons of one agent that are not so far apart are one: whatever disturbed the first disturbed them all.
APART_MS: Final = 10_000
#: How long a lesson holds that nothing contradicts. What is forgotten may end a few workers of an agent in vain: once an hour
#: that is nothing beside their work, and what another framework gives back is not left alone for longer.
FORGET_MS: Final = 3_600_000
#: Lessons at a time, the newest: plans that come to nothing are ten seconds apart or more, so an hour has fewer of each kind's.
MAX_LESSONS: Final = 1_000


class Room:
    """Of all agents."""

    def __init__(self) -> None:
        #: What is more than there is, and since when that is known; oldest first.
        self._lessons: list[tuple[int, AgentId, Counter[str]]] = []

    def learn(self, now_ms: int, agent_id: AgentId, amounts: "Counter[str]") -> None:
        """So much at a time is more than an agent has, as it seems."""
        if not any(each == agent_id and now_ms < since_ms + APART_MS for since_ms, each, _ in self._lessons):
            self._lessons = [*self._lessons, (now_ms, agent_id, amounts)][-MAX_LESSONS:]

    def is_too_much(self, agent_id: AgentId, amounts: "Counter[str]") -> bool:
        """Whether so much at a time is known to be more than an agent has."""
        return sum(each == agent_id and amounts >= known for _, each, known in self._lessons) >= MANY

    def agents(self) -> set[AgentId]:
        """Of which anything was learnt."""
        return {agent_id for _, agent_id, _ in self._lessons}

    def look(self, now_ms: int, there: "Mapping[AgentId, Counter[str]]") -> None:
        """Drop what is long ago, or not so: all this is there at a time."""
        self._lessons = [
            (since_ms, agent_id, known)
            for since_ms, agent_id, known in self._lessons
            if now_ms < since_ms + FORGET_MS and not there[agent_id] >= known
        ]
