"""The resource language: `cpus:1;mem:512;ports:[31000-31005];disks:{a,b};cpus(eng):2`.

Entries are separated by semicolons. A value is a number, a list of ranges in brackets, or a set in braces; a role in
parentheses reserves it statically. It is the flat string of Mesos (`Resources::parse` in `src/common/resources.cpp`,
reference 1.12). Resources that it cannot express, such as dynamic reservations, are printed in a longer form for people,
which is refused when it is read.
"""

import re
from collections.abc import Iterable
from typing import Final

from mesolite.errors import ResourceError

from .amounts import milli_from_text, text_from_milli
from .intervals import MAX_RANGE_VALUE
from .resource import Range, Reservation, ReservationType, Resource, ResourceType
from .roles import DEFAULT_ROLE

#: How much of a wrong entry an error repeats.
MAX_SHOWN_LENGTH: Final = 80

_ENTRY: Final = re.compile(r"(?P<name>[^:()]*)(?:\((?P<role>[^()]*)\))?\s*:(?P<value>.*)", re.DOTALL)
#: 20 digits hold every unsigned 64-bit integer.
_RANGE: Final = re.compile(r"(\d{1,20})\s*-\s*(\d{1,20})", re.ASCII)


def parse(text: str) -> list[Resource]:
    """Read the language.

    Returns:
        One resource per entry, in the order written. Each is well formed, none is validated: `Resources.of` does that.

    Raises:
        ResourceError: An entry is not of the language; the message says what to write.
    """
    return [_resource(entry) for entry in filter(None, map(str.strip, text.split(";")))]


def format_resources(resources: Iterable[Resource]) -> str:
    """Print valid resources in the order given."""
    return ";".join(f"{resource.name}{_details(resource)}:{_value_text(resource)}" for resource in resources)


def _resource(entry: str) -> Resource:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ResourceError(f"{_shown(entry)} is no resource; write name:value or name(role):value, like cpus:1;mem:64")
    name, role, value = match["name"].strip(), match["role"], match["value"].strip()
    reservations: tuple[Reservation, ...] = ()
    if role is not None and role.strip() != DEFAULT_ROLE:
        reservations = (Reservation(type=ReservationType.STATIC, role=role.strip()),)
    if value.startswith("["):
        ranges = tuple(_range(entry, item) for item in _items(entry, value, "]"))
        return Resource(name=name, type=ResourceType.RANGES, ranges=ranges, reservations=reservations)
    if value.startswith("{"):
        items = tuple(_items(entry, value, "}"))
        return Resource(name=name, type=ResourceType.SET, set=items, reservations=reservations)
    if not value:
        raise ResourceError(
            f"{_shown(entry)} has no value; write a number, [begin-end] or {{item,item}} after the colon"
        )
    return Resource(name=name, type=ResourceType.SCALAR, scalar=milli_from_text(name, value), reservations=reservations)


def _items(entry: str, value: str, closing: str) -> list[str]:
    inner = value[1:-1]
    if not value.endswith(closing) or len(value) < 2 or any(mark in inner for mark in "[]{}"):
        raise ResourceError(f"{_shown(entry)} does not end in one {closing!r}; write {value[0]}...{closing}")
    if not inner.strip():
        return []
    items = [item.strip() for item in inner.split(",")]
    if not all(items):
        raise ResourceError(f"{_shown(entry)} has an empty item between commas; leave it out")
    return items


def _range(entry: str, item: str) -> Range:
    match = _RANGE.fullmatch(item)
    if match is None or int(match[2]) > MAX_RANGE_VALUE:
        raise ResourceError(
            f"{_shown(entry)}: {_shown(item)} is no range; write begin-end, like [31000-31005] or [80-80]"
        )
    return Range(begin=int(match[1]), end=int(match[2]))


def _value_text(resource: Resource) -> str:
    if resource.scalar is not None:
        return text_from_milli(resource.scalar)
    if resource.ranges is not None:
        return "[" + ",".join(f"{each.begin}-{each.end}" for each in resource.ranges) + "]"
    return "{" + ",".join(resource.set or ()) + "}"


def _details(resource: Resource) -> str:
    """Everything of the identity that is not the name: `(role)` where that says it all, else the long form."""
    stack = resource.reservations
    parts: list[str] = []
    if resource.allocation_role is not None:
        parts.append(f"(allocated: {resource.allocation_role})")
    if len(stack) == 1 and stack[0] == Reservation(type=ReservationType.STATIC, role=stack[0].role):
        parts.append(f"({stack[0].role})")
    elif stack:
        parts.append(f"(reservations: [{','.join(map(_step, stack))}])")
    if resource.disk is not None:
        parts.append(f"[{resource.disk.persistence_id}:{resource.disk.container_path}]")
    if resource.provider_id is not None:
        parts.append(f"<provider: {resource.provider_id}>")
    if resource.revocable:
        parts.append("<revocable>")
    if resource.shared:
        parts.append("<shared>")
    return "".join(parts)


def _step(step: Reservation) -> str:
    labels = ",".join(f"{key}={value}" for key, value in step.labels)
    fields = [step.type.value, step.role, step.principal or "", "{" + labels + "}" if labels else ""]
    return "(" + ",".join(filter(None, fields)) + ")"


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN_LENGTH else text[:MAX_SHOWN_LENGTH] + "...")
