"""A client: one framework in one role, which is what offers are made to.

A framework with three roles is three clients: each has its own place in the fair order, its own filters and its own demand.
Clients are compared by identity and kept in dicts, which keep the order of insertion; they are never put into sets, whose
order changes from run to run.
"""

from dataclasses import dataclass, field

from mesolite.ids import AgentId, FrameworkId
from mesolite.resources import Quantities, Resources

from .demand import DemandBook


@dataclass(slots=True, eq=False, repr=False)
class Framework:
    """A framework: what its clients have in common."""

    framework_id: FrameworkId
    #: Told of by `add_framework`; not only seen in an agent's books.
    known: bool = False
    #: Its scheduler is connected.
    active: bool = False
    #: By role.
    clients: "dict[str, Client]" = field(default_factory=lambda: dict[str, Client]())


@dataclass(slots=True, eq=False, repr=False)
class Client:
    """One framework in one role."""

    framework: Framework
    role: str
    #: The framework is subscribed to the role. Otherwise this is only here until what it holds is recovered.
    subscribed: bool = False
    suppressed: bool = False
    #: Its own rule for the smallest useful offer; None where it left that to the allocator.
    min_allocatable: tuple[Quantities, ...] | None = None
    #: What it wants; None where it never said, which means everything.
    demand: DemandBook | None = None
    #: What it is being offered, by agent, unstamped; part of what the agents' books say it holds.
    offered: dict[AgentId, Resources] = field(default_factory=dict[AgentId, Resources])
    #: How many agents' books name it.
    holdings: int = 0

    @property
    def framework_id(self) -> FrameworkId:
        """Whose client this is."""
        return self.framework.framework_id

    def eligible(self) -> bool:
        """Tell whether it is to be offered anything."""
        return (
            self.framework.active
            and self.subscribed
            and not self.suppressed
            and (self.demand is None or self.demand.hungry())
        )

    def __repr__(self) -> str:
        return f"<Client {self.name()}>"

    def name(self) -> str:
        """For people."""
        return f"{self.framework_id} in role {self.role}"
