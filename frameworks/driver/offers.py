"""The offers that the framework holds, and whether what it wants to do with them makes sense."""

from collections.abc import Iterable

from mesolite.ids import OfferId, TaskId
from mesolite.protocol import Accept, Offer

from .settings import MAX_HELD_OFFERS
from .tasks import TaskLedger


class OfferBook:
    """Offers delivered and neither used, declined nor rescinded."""

    def __init__(self) -> None:
        self._held: dict[OfferId, Offer] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, offer_id: OfferId) -> bool:
        return offer_id in self._held

    def receive(self, offers: Iterable[Offer]) -> tuple[OfferId, ...]:
        """Take offers in; returns the oldest that must be declined because too many are held."""
        for offer in offers:
            self._held[offer.offer_id] = offer
        excess = len(self._held) - MAX_HELD_OFFERS
        if excess <= 0:
            return ()
        oldest = tuple(self._held)[:excess]
        self.release(oldest)
        return oldest

    def release(self, offer_ids: Iterable[OfferId]) -> tuple[OfferId, ...]:
        """Let offers go; returns those that were held."""
        return tuple(offer_id for offer_id in offer_ids if self._held.pop(offer_id, None) is not None)

    def release_all(self) -> tuple[OfferId, ...]:
        """Let every offer go, and return them."""
        released = tuple(self._held)
        self._held.clear()
        return released

    def all_held(self, offer_ids: Iterable[OfferId]) -> bool:
        """Whether each of these is held still."""
        return all(offer_id in self._held for offer_id in offer_ids)

    def accept_error(self, accept: Accept, tasks: TaskLedger) -> str | None:
        """Say why an ACCEPT makes no sense however the offers stand, or None (reference 2.2, 2.4).

        An offer that is not held any more is not such an error: rescinds cross with acceptances all the time.
        """
        if not accept.offer_ids:
            return "an ACCEPT names at least one offer"
        if len(set(accept.offer_ids)) != len(accept.offer_ids):
            return "an ACCEPT names each offer once"
        offers = [self._held[offer_id] for offer_id in accept.offer_ids if offer_id in self._held]
        if len({(offer.agent_id, offer.allocation_role) for offer in offers}) > 1:
            return "the offers of one ACCEPT are of one agent and one role"
        return _tasks_error(accept, offers, tasks)


def _tasks_error(accept: Accept, offers: list[Offer], tasks: TaskLedger) -> str | None:
    seen: set[TaskId] = set()
    agent_id = offers[0].agent_id if offers else None
    for operation in accept.operations:
        for task in operation.task_infos:
            if task.task_id in tasks or task.task_id in seen:
                return f"task id {task.task_id} is in use; an id is never used twice"
            if agent_id is not None and task.agent_id != agent_id:
                return f"task {task.task_id} is for agent {task.agent_id}, but the offers are of {agent_id}"
            seen.add(task.task_id)
    return None
