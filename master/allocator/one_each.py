"""The smallest allocator that keeps every rule: whole agents, one each in turn.

Each agent that has something free goes to one client, and the next agent to the next client: no shares, no weights, no
holding. It is here to prove that the seam is one, and for clusters whose frameworks want machines for themselves.
"""

from collections.abc import Iterator

from mesolite.ids import AgentId

from .agents import AgentBook
from .books import Books
from .clients import Client
from .contract import Grant, Reason


class OneEachAllocator(Books):
    """See the module, and `Allocator` for the verbs."""

    #: Clients that were served, longest ago first. All others come before them.
    _served: dict[Client, None]

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._served = {}

    def set_weight(self, role: str, weight_milli: int) -> None:
        """Taking turns knows no weights."""

    def allocate(self, now_ms: int) -> list[Grant]:
        """See `Allocator`."""
        touched, fresh, looks = self.begin(now_ms)
        self._restated.clear()
        agent_ids: list[AgentId] = sorted(self._agents) if fresh else sorted({*touched, *looks})
        return [grant for agent_id in agent_ids for grant in self._serve(self._agents[agent_id])]

    def client_removed(self, client: Client) -> None:
        """See `Books`."""
        self._served.pop(client, None)

    def _serve(self, agent: AgentBook) -> Iterator[Grant]:
        for client in self._turns(agent):
            verdict = self.judge(agent, client)
            if isinstance(verdict, Reason):
                continue
            self.grant(agent, client, verdict)
            self._served.pop(client, None)
            self._served[client] = None
            yield Grant(
                framework_id=client.framework_id,
                role=client.role,
                agent_id=agent.agent_id,
                resources=verdict.resources.allocated_to(client.role),
            )

    def _turns(self, agent: AgentBook) -> list[Client]:
        order = sorted(self._eligible, key=lambda client: (client.framework_id, client.role))
        order = [client for client in order if client not in self._served]
        order += [client for client in self._served if client in self._eligible]
        return [c for c in order if c not in agent.passed] + [c for c in agent.passed if c in self._eligible]
