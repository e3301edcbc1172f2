"""What the scheduler wants and the master forgets: said again under every new subscription."""

from mesolite.ids import TaskId
from mesolite.protocol import Call, Demand, Kill, Reconcile, Revive, SetDemand, Suppress


class Wishes:
    """Demand, suppression, and kills that are not done."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self._roles = roles
        #: None until the scheduler states a demand: then everything is offered.
        self._demands: tuple[Demand, ...] | None = None
        #: Whether the master is still to be told of the demand.
        self._demand_unsaid = False
        #: Offers were accepted since the demand was wished for: by the master's count so much less is wanted.
        self._demand_spent = False
        #: Roles that want no offers; a dict for its order.
        self._suppressed: dict[str, None] = {}
        #: Tasks to be killed that have not ended.
        self._kills: dict[TaskId, Kill] = {}
        #: Asked for while there was no subscription.
        self._revive_unsaid = False
        self._reconcile_all_unsaid = False

    @property
    def suppressed_roles(self) -> tuple[str, ...]:
        """For SUBSCRIBE."""
        return tuple(self._suppressed)

    def demand(self, demands: tuple[Demand, ...]) -> None:
        """Want this; said at the end of the step, and only if it is news.

        The same as before is news after an ACCEPT, which the master takes for a part of what was wanted: who has more waiting
        than may be demanded wants the same again and again.
        """
        if demands != self._demands or self._demand_spent:
            self._demands = demands
            self._demand_unsaid = True
            self._demand_spent = False

    def accepted(self) -> None:
        """The master is about to be told that offers are accepted."""
        self._demand_spent = True

    def suppress(self, roles: tuple[str, ...]) -> None:
        """Want no offers for these roles, none meaning all."""
        self._suppressed.update(dict.fromkeys(roles or self._roles))

    def revive(self, roles: tuple[str, ...], *, later: bool) -> None:
        """Want offers for these roles again, none meaning all."""
        for role in roles or self._roles:
            self._suppressed.pop(role, None)
        self._revive_unsaid = self._revive_unsaid or later

    def reconcile_all(self) -> None:
        """Ask for every task once there is a subscription."""
        self._reconcile_all_unsaid = True

    def kill(self, kill: Kill) -> None:
        """Want a task dead until it is."""
        self._kills[kill.task_id] = kill

    def ended(self, task_id: TaskId) -> None:
        """A task has ended: no need to kill it."""
        if self._kills:
            self._kills.pop(task_id, None)

    def take_demand(self) -> SetDemand | None:
        """Return the demand if the master is still to be told."""
        if not self._demand_unsaid or self._demands is None:
            return None
        self._demand_unsaid = False
        return SetDemand(self._demands)

    def restate(self) -> list[Call]:
        """Return what is to be said under a new subscription; the demand follows through `take_demand`."""
        calls: list[Call] = []
        self._demand_unsaid = self._demands is not None
        if self._revive_unsaid:
            # Roles still suppressed are named in SUBSCRIBE; a revival of the others must not undo that.
            calls.append(Revive(tuple(role for role in self._roles if role not in self._suppressed)))
            if self._suppressed:
                calls.append(Suppress(tuple(self._suppressed)))
        if self._reconcile_all_unsaid:
            calls.append(Reconcile())
        self._revive_unsaid = self._reconcile_all_unsaid = False
        calls.extend(self._kills.values())
        return calls
