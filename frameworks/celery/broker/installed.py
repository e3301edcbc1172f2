"""What kombu's transports of this process find: the one ownership, and who consumes by it.

kombu makes transports by a class's name, so that there is no other way to hand them something.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .consuming import Consumption
    from .redis_ownership import RedisOwnership


@dataclass
class _Installed:
    ownership: "RedisOwnership | None" = None
    #: The connection that consumes, or did last.
    consumption: "Consumption | None" = None


_here: Final = _Installed()


def ownership() -> "RedisOwnership | None":
    """Return the process's ownership."""
    return _here.ownership


def set_ownership(new: "RedisOwnership | None") -> None:
    """Set or forget it."""
    _here.ownership, _here.consumption = new, None


def may_consume() -> bool:
    """Whether a new connection may consume: the one before is over."""
    return _here.consumption is None or not _here.consumption.is_live


def consumes(consumption: "Consumption") -> None:
    """This connection consumes from now on."""
    if _here.consumption is not None:
        _here.consumption.close()
    _here.consumption = consumption
