"""Stamped resources taken apart: whose role, what without the stamp, how much by name.

The resources of tasks are a few values that come back thousands of times, so what was once worked out is remembered; and
what tasks give back is collected first and booked in sums, which costs a fraction of booking each.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from mesolite.ids import AgentId, FrameworkId
from mesolite.resources import Resources

from .carving import Amounts

#: Sums whose parts are remembered. A cluster has few sizes of tasks that end in batches; beyond it things only get slower.
MAX_PARTS: Final = 4096


class Part(NamedTuple):
    """What some stamped resources are."""

    role: str
    #: Unstamped.
    resources: Resources
    #: By name. Not to be changed.
    amounts: Amounts


class Parts:
    """Takes apart, and remembers."""

    def __init__(self) -> None:
        self._known: dict[tuple[Resources, int], Part] = {}

    def by_role(self, resources: Resources) -> list[Part]:
        """Take resources of any number of roles apart, sorted by role."""
        roles = resources.allocation_roles()
        if len(roles) == 1:
            return [self.of(resources)]
        parts = ((role, of_role(resources, role)) for role in sorted(roles))
        return [Part(role, part, part.quantities().as_dict()) for role, part in parts]

    def of(self, resources: Resources, times: int = 1) -> Part:
        """Take resources of one role apart: the sum of so many equal ones."""
        part = self._known.get((resources, times))
        if part is None:
            roles = resources.allocation_roles()
            assert len(roles) == 1, f"{resources} belongs to the roles {sorted(roles)}; one is due (I2)"
            unstamped = resources.unallocated()
            amounts = {name: amount * times for name, amount in unstamped.quantities()}
            part = Part(next(iter(roles)), _sum(unstamped, times), amounts)
            if len(self._known) >= MAX_PARTS:
                self._known.clear()
            self._known[(resources, times)] = part
        return part


class Freed:
    """What tasks gave back and nobody has booked yet."""

    def __init__(self) -> None:
        #: By agent and framework: each value, and how often it came. Values are told apart by identity, because comparing them
        #: costs as much as adding them; they are kept here, so that no other value can get the same one.
        self._values: dict[tuple[AgentId, FrameworkId], dict[int, tuple[Resources, int]]] = {}

    def add(self, agent_id: AgentId, framework_id: FrameworkId, resources: Resources) -> None:
        """Note what one task gave back."""
        values = self._values.setdefault((agent_id, framework_id), {})
        _, times = values.get(id(resources), (resources, 0))
        values[id(resources)] = (resources, times + 1)

    def __bool__(self) -> bool:
        return bool(self._values)

    def drain(self) -> Iterator[tuple[AgentId, FrameworkId, Resources, int]]:
        """Give out what was noted, in that order: where, by whom, what, and how many times; and forget it."""
        noted, self._values = self._values, {}
        for (agent_id, framework_id), values in noted.items():
            for resources, times in values.values():
                yield agent_id, framework_id, resources, times


def _sum(resources: Resources, times: int) -> Resources:
    """The sum of so many equal ones, by doubling."""
    if times == 1:
        return resources
    half = _sum(resources, times // 2)
    return half + half + resources if times % 2 else half + half


def of_role(resources: Resources, role: str) -> Resources:
    """The part that is stamped with the role, unstamped."""
    if len(resources.allocation_roles()) == 1:
        return resources.unallocated()
    return Resources.of(resource for resource in resources if resource.allocation_role == role).unallocated()
