"""What the master asks of an allocator: a dozen verbs that tell it what is true, and one that asks who is offered what.

The master owns the truth. It tells an allocator every change, in the order in which they happened, and asks it to
`allocate`; it re-checks each grant before making an offer of it. From the moment `allocate` returns it, a grant counts as
offered, so a grant that the master cannot use must come back through `recover` like any other offer.

An allocator is core code: no I/O, no clock, no randomness but what its constructor is given. The same verbs give the same
grants. Verbs raise nothing for what a peer can send (a role that the framework has not subscribed to, an agent that is
gone); what only a faulty master can do (giving back more than was taken) is an assertion.

Resources are stamped with the role they are allocated to (reference I2) wherever they are held by a framework, and are not
where they are an agent's total. Times are milliseconds that come in with the verbs and never decrease.

There are two implementations, bound by one suite (tests/unit/allocator/test_contract.py): `HierarchicalDrfAllocator` and
`OneEachAllocator`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from mesolite.ids import AgentId, FrameworkId
from mesolite.protocol import Attribute, Demand
from mesolite.resources import Quantities, Resources

#: What `refuse_ms` means when it is negative (reference 1.10).
DEFAULT_REFUSE_MS: Final = 5_000
#: Longer filters are cut to a year (reference 1.10: 31,536,000 s).
MAX_REFUSE_MS: Final = 31_536_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Resources of one agent for one role of one framework: to be made into an offer."""

    framework_id: FrameworkId
    role: str
    agent_id: AgentId
    #: Stamped with `role`; never empty.
    resources: Resources


class Reason(enum.Enum):
    """Why nothing of an agent is offered to a framework in a role."""

    #: The framework is unknown, or its scheduler is not connected.
    FRAMEWORK_INACTIVE = "FRAMEWORK_INACTIVE"
    #: The framework asked for silence in this role (SUPPRESS).
    SUPPRESSED = "SUPPRESSED"
    #: It stated its demand in this role, and all of it is being offered already.
    NO_DEMAND = "NO_DEMAND"
    #: There is no agent at all.
    NO_AGENTS = "NO_AGENTS"
    #: The agent is silent, draining or behind with its commands.
    AGENT_INACTIVE = "AGENT_INACTIVE"
    #: Everything that the role could get is offered or in use.
    AGENT_FULL = "AGENT_FULL"
    #: What is free is kept for another framework's large demand.
    HELD = "HELD"
    #: What is free is smaller than the smallest useful offer.
    TOO_SMALL = "TOO_SMALL"
    #: What is free does not hold one unit of any demanded shape.
    NO_FIT = "NO_FIT"
    #: Even the empty agent does not hold one unit of any demanded shape.
    NEVER_FITS = "NEVER_FITS"
    #: The framework declined this, or more, a while ago.
    FILTERED = "FILTERED"
    #: Nothing stands against an offer: it comes with the next run, unless another framework's turn is first.
    WAITING = "WAITING"


@dataclass(frozen=True, slots=True, kw_only=True)
class NonOffer:
    """One reason why nothing is offered."""

    role: str
    #: None where the reason is the same for every agent.
    agent_id: AgentId | None
    reason: Reason
    #: For people: a sentence with the amounts and names.
    message: str
    #: When the reason ends by itself, where that is known.
    until_ms: int | None = None


class Allocator(Protocol):
    """Decides who is offered what. Used from one thread."""

    # -- frameworks

    def add_framework(
        self,
        framework_id: FrameworkId,
        roles: tuple[str, ...],
        *,
        suppressed: frozenset[str] = frozenset(),
        min_allocatable: Mapping[str, tuple[Quantities, ...]] | None = None,
    ) -> None:
        """Make a framework known and active; or change a known one, which then counts as freshly subscribed.

        Filters and demand of roles that it keeps stay; those of roles that it left are dropped. Resources that it holds in
        such a role stay booked until they are recovered.

        Args:
            framework_id: Whom this is about.
            roles: The roles it is to be offered resources in.
            suppressed: Those of its roles that it wants no offers in for now.
            min_allocatable: Per role, sets of amounts: an offer reaches at least one of the sets in all its amounts. An
                empty tuple accepts any size; a role that is missing has the allocator's default.
        """
        ...

    def remove_framework(self, framework_id: FrameworkId) -> None:
        """Forget a framework; all that it held was recovered before. Unknown: ignored."""
        ...

    def activate_framework(self, framework_id: FrameworkId) -> None:
        """Offer to it again."""
        ...

    def deactivate_framework(self, framework_id: FrameworkId) -> None:
        """Offer nothing to it, and drop its filters. What it holds stays booked."""
        ...

    def suppress(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        """Offer nothing to it in these roles. Roles it has not subscribed to are ignored."""
        ...

    def revive(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        """End suppression and drop the filters in these roles. Roles it has not subscribed to are ignored."""
        ...

    def set_demand(self, framework_id: FrameworkId, demands: tuple[Demand, ...] | None) -> None:
        """Replace what the framework wants: from now on it is offered whole units of these shapes and nothing else.

        What it is being offered at this moment is counted towards the new demand. None takes it back: the framework is
        offered everything again.

        Args:
            framework_id: Whom this is about.
            demands: Their shapes are well-formed resources. A scalar is an amount, ranges and sets ask for so many elements
                whichever they are, and reservations in a shape are ignored. Roles not subscribed to are ignored.
        """
        ...

    # -- agents

    def add_agent(
        self,
        agent_id: AgentId,
        hostname: str,
        total: Resources,
        attributes: tuple[Attribute, ...],
        used: Mapping[FrameworkId, Resources],
    ) -> None:
        """Make an agent known and active.

        Args:
            agent_id: Whom this is about; not known yet.
            hostname: For people.
            total: All it has, unstamped.
            attributes: As configured.
            used: What runs there already, by framework, stamped. Frameworks not known yet are booked as inactive until
                `add_framework` tells of them.
        """
        ...

    def update_agent(
        self, agent_id: AgentId, hostname: str, total: Resources, attributes: tuple[Attribute, ...]
    ) -> None:
        """Change a known agent. Other attributes drop all filters on it. Less than what is held is legal (I1)."""
        ...

    def remove_agent(self, agent_id: AgentId) -> None:
        """Forget an agent with all that is booked on it; later recoveries from it are ignored. Unknown: ignored."""
        ...

    def activate_agent(self, agent_id: AgentId) -> None:
        """Offer its resources again."""
        ...

    def deactivate_agent(self, agent_id: AgentId) -> None:
        """Offer nothing of it. What is held there stays booked."""
        ...

    # -- resources

    def accepted(self, framework_id: FrameworkId, agent_id: AgentId, resources: Resources) -> None:
        """Tell that tasks of the framework now use this part of what it was offered.

        It lowers the framework's stated demand by the units used, so that nobody is offered more than wanted between an
        ACCEPT and the demand that the framework states next. A framework therefore states new demand after the ACCEPT
        that changes it, never before.
        """
        ...

    def recover(
        self,
        framework_id: FrameworkId,
        agent_id: AgentId,
        resources: Resources,
        *,
        offered: bool = False,
        refuse_ms: int | None,
        now_ms: int,
    ) -> None:
        """Take back what a framework no longer holds; it is free at once.

        Args:
            framework_id: Who held it. Where framework or agent is not known (any more), nothing happens.
            agent_id: Where it was.
            resources: Stamped with one role; part of what is booked there for the framework (I6).
            offered: True where it was part of an offer (declined, left over, rescinded, timed out); False where tasks used
                it: what was offered first became theirs by `accepted`.
            refuse_ms: For how long no offer contained in `resources` is made from this agent to this framework in this
                role: 0 or None for no filter, negative for the default of 5 s, at most a year (reference 1.10, trap 1).
            now_ms: The time.
        """
        ...

    def allocated(self, framework_id: FrameworkId, agent_id: AgentId, resources: Resources) -> None:
        """Book what tasks use without having been granted: a task that came back. Stamped; may exceed what is free (I1)."""
        ...

    def set_weight(self, role: str, weight_milli: int) -> None:
        """Set a role's weight among its siblings in thousandths, 1000 being the default; at least 1."""
        ...

    # -- asking

    def allocate(self, now_ms: int) -> list[Grant]:
        """Offer what can be offered now. Costs next to nothing where nothing changed since the last call."""
        ...

    def next_deadline_ms(self) -> int | None:
        """Return when calling `allocate` may give something though no verb was called: a filter or hold ends. None: never."""
        ...

    def explain(self, framework_id: FrameworkId, now_ms: int) -> list[NonOffer]:
        """Say, per role and agent, why nothing (more) is offered to a framework; sorted by role and agent."""
        ...

    def check(self) -> None:
        """Assert that the books agree with themselves: I1, I3, I6 as far as seen from here, and the shares."""
        ...
