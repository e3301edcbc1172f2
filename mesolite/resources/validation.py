"""What may be wrong with a resource that a peer sent: the rules R1 to R13 of reference 2.3, in their order.

Each rule is one pure function from a resource to an error or None; the first error wins, as in Mesos's
`Resources::validate` (`src/common/resources.cpp`). Rules on the pre-refinement format (R6, R9) and on disk sources (part of
R5) have no counterpart, because `Resource` cannot express what they forbid. Stricter than Mesos, on purpose:

- ranges that overlap in any direction are refused, where Mesos tests one (trap 5);
- names are bounded, and free of the resource language's punctuation, so that what is logged can be read back;
- the standard names have their standard types: who reads `cpus` may rely on a number;
- amounts are bounded, so that sums stay inside what the wire can carry;
- one list gives one name one type, as the flat string always had to.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, TypeAlias

from mesolite.ids import id_error

from .amounts import MILLI, max_milli, text_from_milli
from .intervals import MAX_RANGE_VALUE
from .resource import ReservationType, Resource, ResourceType
from .roles import DEFAULT_ROLE, is_strict_subrole, role_error

Rule: TypeAlias = Callable[[Resource], str | None]

#: The bound of ids: names become keys of metrics and columns of tables.
MAX_NAME_LENGTH: Final = 255

#: What separates things in `cpus(role):1;ports:[1-2];disks:{a,b}`.
PUNCTUATION: Final = frozenset(";:,()[]{}")

#: Whoever reads one of these names relies on its type (reference 1.12).
STANDARD_TYPES: Final = {
    "cpus": ResourceType.SCALAR,
    "gpus": ResourceType.SCALAR,
    "mem": ResourceType.SCALAR,
    "disk": ResourceType.SCALAR,
    "ports": ResourceType.RANGES,
}


def name_error(name: str) -> str | None:
    """Say what is wrong with the name of a resource: a fragment that completes "name ... ", or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed"
    # An identifier has nothing to object to, and nearly every name is one.
    if not name.isidentifier() and (" " in name or not name.isprintable() or not PUNCTUATION.isdisjoint(name)):
        return f"{name!r} contains a space, a control character or one of ; : , ( ) [ ] {{ }}"
    return None


def validate(resource: Resource) -> str | None:
    """Say what is wrong with one resource, or None where it is valid.

    Args:
        resource: What a peer sent. Its types are what the decoder checked, all else is open.

    Returns:
        The first error in the order of reference 2.3, as a sentence that names the resource.
    """
    for rule in RULES:
        error = rule(resource)
        if error is not None:
            return f"resource {resource.name[:MAX_NAME_LENGTH]!r}: {error}"
    return None


def validate_all(resources: Iterable[Resource]) -> str | None:
    """Say what is wrong with the first invalid one of several, or None where all are valid and agree on their types."""
    types: dict[str, ResourceType] = {}
    for resource in resources:
        error = validate(resource) or type_conflict(types, resource)
        if error is not None:
            return error
    return None


def type_conflict(types: dict[str, ResourceType], resource: Resource) -> str | None:
    """Note the type of a resource among those of its list; say so where the list has the name with another one."""
    known = types.setdefault(resource.name, resource.type)
    if known is not resource.type:
        return f"resource {resource.name!r}: is {known.value} in one place and {resource.type.value} in another; use one type"
    return None


def _name(resource: Resource) -> str | None:
    """R1."""
    error = name_error(resource.name)
    if error is not None:
        return f"its name {error}"
    standard = STANDARD_TYPES.get(resource.name)
    if standard is not None and resource.type is not standard:
        return f"must be {standard.value}, not {resource.type.value}"
    return None


def _value(resource: Resource) -> str | None:
    """R2, R3, R4: exactly the value that the type announces, and a sound one."""
    scalar, ranges, items = resource.scalar, resource.ranges, resource.set
    if resource.type is ResourceType.SCALAR:
        if scalar is None or ranges is not None or items is not None:
            return "a SCALAR must have a scalar and neither ranges nor set"
        return _scalar_error(resource.name, scalar)
    if resource.type is ResourceType.RANGES:
        if ranges is None or scalar is not None or items is not None:
            return "RANGES must have ranges and neither scalar nor set"
        return _ranges_error([(each.begin, each.end) for each in ranges])
    if items is None or scalar is not None or ranges is not None:
        return "a SET must have a set and neither scalar nor ranges"
    return _items_error(items)


def _scalar_error(name: str, milli: int) -> str | None:
    if milli < 0:
        return "its amount is negative"
    if milli > max_milli(name):
        return f"its amount is over the limit of {text_from_milli(max_milli(name))}"
    return None


def _ranges_error(pairs: list[tuple[int, int]]) -> str | None:
    for begin, end in pairs:
        if begin > end:
            return f"the range [{begin}-{end}] ends before it begins"
        if begin < 0 or end > MAX_RANGE_VALUE:
            return f"the range [{begin}-{end}] leaves the unsigned 64-bit integers"
    pairs.sort()
    for (begin, end), (next_begin, next_end) in pairwise(pairs):
        if next_begin <= end:
            return f"the ranges [{begin}-{end}] and [{next_begin}-{next_end}] overlap"
    return None


def _items_error(items: tuple[str, ...]) -> str | None:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            return f"the set has {item!r} twice"
        seen.add(item)
    return None


def _disk_is_disk(resource: Resource) -> str | None:
    """R5."""
    if resource.disk is not None and resource.name != "disk":
        return "disk information is for resources named disk only"
    return None


def _roles(resource: Resource) -> str | None:
    """R7; and the allocation role, which Mesos leaves to whoever compares it."""
    for reservation in resource.reservations:
        error = role_error(reservation.role)
        if error is not None:
            return f"the role of its reservation {error}"
        if reservation.role == DEFAULT_ROLE:
            return "cannot be reserved for the role '*'"
    if resource.allocation_role is not None:
        error = role_error(resource.allocation_role)
        if error is not None:
            return f"its allocation role {error}"
    return None


def _stack(resource: Resource) -> str | None:
    """R8."""
    stack = resource.reservations
    for lower, upper in pairwise(stack):
        if upper.type is ReservationType.STATIC:
            return "only the first step of a reservation stack can be STATIC"
        if not is_strict_subrole(upper.role, lower.role):
            return f"the reservation for {upper.role!r} cannot refine that for {lower.role!r}: it is no sub-role"
    return None


def _sharing(resource: Resource) -> str | None:
    """R10."""
    if resource.shared and (resource.disk is None or resource.disk.persistence_id is None):
        return "only persistent volumes can be shared"
    return None


def _whole_gpus(resource: Resource) -> str | None:
    """R11."""
    if resource.name == "gpus" and resource.scalar is not None and resource.scalar % MILLI:
        return f"must be a whole number, not {text_from_milli(resource.scalar)}"
    return None


def _volume(resource: Resource) -> str | None:
    """R12."""
    disk = resource.disk
    if disk is None:
        return None
    if disk.persistence_id is None:
        if disk.container_path is not None:
            return "a volume without a persistence id is not supported"
        return "its disk information is empty"
    if resource.revocable:
        return "a persistent volume cannot be on revocable disk"
    if not resource.reservations:
        return "a persistent volume needs reserved disk"
    if not disk.container_path:
        return "a persistent volume needs a container path"
    error = id_error(disk.persistence_id)
    if error is not None:
        return f"its persistence id {error}"
    return None


def _revocable(resource: Resource) -> str | None:
    """R13."""
    if resource.revocable and any(step.type is ReservationType.DYNAMIC for step in resource.reservations):
        return "revocable resources cannot be reserved dynamically"
    return None


#: In the order of reference 2.3, which is the order in which they are tried.
RULES: Final[tuple[Rule, ...]] = (
    _name,
    _value,
    _disk_is_disk,
    _roles,
    _stack,
    _sharing,
    _whole_gpus,
    _volume,
    _revocable,
)
