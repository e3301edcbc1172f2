"""O1 to O6: what is wrong with the offers that an ACCEPT names."""

from mesolite.ids import FrameworkId, OfferId

from ..state import HeldOffer, MasterState


def offers_error(state: MasterState, framework_id: FrameworkId, offer_ids: tuple[OfferId, ...]) -> str | None:
    """Say why these offers cannot be accepted together, or None."""
    if not offer_ids:
        return "no offers are named"
    if len(set(offer_ids)) != len(offer_ids):
        return "an offer is named twice"
    held: list[HeldOffer] = []
    for offer_id in offer_ids:
        offer = state.offers.get(offer_id)
        if offer is None:
            return f"offer {offer_id} is no longer valid"
        if offer.framework_id != framework_id:
            return f"offer {offer_id} was made to another framework"
        held.append(offer)
    if len({offer.role for offer in held}) > 1:
        return "the offers are for different roles"
    if len({offer.agent_id for offer in held}) > 1:
        return "the offers are from different agents"
    return None
