"""Who leads: a lease in the store, renewed by its holder, with an epoch that fences whoever held it before (DESIGN 2, 6)."""

from .core import Grant, LeaseCore
from .keeper import LeaseKeeper
from .settings import LeaseSettings

__all__ = ["Grant", "LeaseCore", "LeaseKeeper", "LeaseSettings"]
