"""Who is offered what."""

from .contract import DEFAULT_REFUSE_MS, MAX_REFUSE_MS, Allocator, Grant, NonOffer, Reason

__all__ = ["DEFAULT_REFUSE_MS", "MAX_REFUSE_MS", "Allocator", "Grant", "NonOffer", "Reason"]
