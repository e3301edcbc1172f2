"""Agents and a master as bad as allowed, for cores that run calls on them: what they have to say comes late and in any order."""

import random
from collections import Counter
from dataclasses import dataclass, field

from mesolite.frameworks.futures.events import ClusterEvent, ExecutorEnded
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import Offer, TaskInfo, TaskStatus

from .rig import offer, offered, updated


@dataclass
class BadCluster:
    """What there is on agents, and what was not said of it yet."""

    rng: random.Random
    now_ms: int = 0
    offers: dict[OfferId, Offer] = field(default_factory=dict[OfferId, Offer])
    made: int = 0
    #: Units that the core asks for.
    wanted: int = 0
    #: Alive on an agent.
    tasks: dict[TaskId, TaskInfo] = field(default_factory=dict[TaskId, TaskInfo])
    seen_ids: set[TaskId] = field(default_factory=set[TaskId])
    #: Alive on an agent.
    executors: set[ExecutorId] = field(default_factory=set[ExecutorId])
    submitted: int = 0
    ends: "Counter[int]" = field(default_factory=Counter[int])
    unsaid: list[TaskStatus] = field(default_factory=list[TaskStatus])
    over: list[ExecutorEnded] = field(default_factory=list[ExecutorEnded])

    def hear(self, event: ClusterEvent) -> None:
        """Tell the core, and do what it says."""
        raise NotImplementedError

    def settle(self) -> None:
        """Say what is unsaid, in any order."""
        while self.unsaid or self.over:
            if self.over and (not self.unsaid or self.rng.random() < 0.5):
                self.hear(self.over.pop())
            else:
                self.hear(updated(self.now_ms, self.unsaid.pop(0)))

    def make_offer(self) -> None:
        """Of some agent, and of some size."""
        self.made += 1
        agent_id = AgentId(f"agent-{self.rng.randrange(3)}")
        made = offer(f"offer-{self.made}", cpus=self.rng.randint(1, 4), mem_mib=1200, agent_id=agent_id)
        self.offers[made.offer_id] = made
        self.hear(offered(self.now_ms, made))

    def say_over(self, executor_id: ExecutorId) -> None:
        """Its container has ended."""
        agent_id = AgentId(executor_id.partition("@")[2])
        self.over.append(
            ExecutorEnded(now_ms=self.now_ms, agent_id=agent_id, executor_id=executor_id, exit_code=1, message="")
        )
