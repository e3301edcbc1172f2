"""The resource algebra: what a peer may say about resources, and the value that everybody calculates with.

`Resource` is the wire's; `validate` checks it; `Resources` holds checked ones and does the arithmetic; `Quantities` and
`Limits` count by name alone. No I/O anywhere here.
"""

from .algebra import Resources, scalars
from .amounts import (
    MAX_MIB_MILLI,
    MAX_SCALAR_MILLI,
    MILLI,
    mib_from_text,
    milli_from_float,
    milli_from_text,
    text_from_milli,
)
from .quantities import Limits, Quantities
from .resource import DiskInfo, Range, Reservation, ReservationType, Resource, ResourceType
from .roles import DEFAULT_ROLE, ancestors, is_strict_subrole, role_error
from .validation import validate, validate_all

#: No resources.
EMPTY = Resources.EMPTY

__all__ = [
    # on the wire
    "DiskInfo",
    "Range",
    "Reservation",
    "ReservationType",
    "Resource",
    "ResourceType",
    # validation
    "validate",
    "validate_all",
    # the algebra
    "EMPTY",
    "Resources",
    "scalars",
    # by name
    "Limits",
    "Quantities",
    # amounts
    "MAX_MIB_MILLI",
    "MAX_SCALAR_MILLI",
    "MILLI",
    "mib_from_text",
    "milli_from_float",
    "milli_from_text",
    "text_from_milli",
    # roles
    "DEFAULT_ROLE",
    "ancestors",
    "is_strict_subrole",
    "role_error",
]
