"""Roles: paths like `eng/web` that share a cluster by weight, quota and reservation.

A role is a name in a tree. `eng` is the parent of `eng/web`; what is reserved for `eng` may be offered to `eng/web` too,
never the other way round. `*` is the role of whoever names none; nothing can be reserved for it.

The naming rule is Mesos's (`src/common/roles.cpp`, reference 2.1). It keeps roles usable as path components, as flags
(no leading dash) and in the resource language, where white space separates nothing and would hide in a printout.
"""

import re
from typing import Final

#: The role of everything that is not reserved, and of frameworks that name no role.
DEFAULT_ROLE: Final = "*"

#: Mesos sets no bound. Roles become keys of metrics, stores and sorter trees, so ours is that of ids.
MAX_ROLE_LENGTH: Final = 255

_SPACE_OR_DEL: Final = re.compile(r"[\t\n\v\f\r \x7f]")
_RESERVED_COMPONENTS: Final = frozenset({".", "..", "*"})


def role_error(role: str) -> str | None:
    """Say what is wrong with a role's name, or None where it is well formed.

    Args:
        role: The role as a peer or the configuration wrote it.

    Returns:
        A sentence fragment that completes "role ... ", for example "is empty".
    """
    if role == DEFAULT_ROLE:
        return None
    if not role:
        return "is empty"
    if len(role) > MAX_ROLE_LENGTH:
        return f"has {len(role)} characters; at most {MAX_ROLE_LENGTH} are allowed"
    if _SPACE_OR_DEL.search(role):
        return f"{role!r} contains white space or a delete character"
    if role.startswith("/") or role.endswith("/") or "//" in role:
        return f"{role!r} has a slash at its start, at its end or after another slash"
    for component in role.split("/"):
        if component in _RESERVED_COMPONENTS:
            return f"{role!r} has the component {component!r}, which has a meaning of its own"
        if component.startswith("-"):
            return f"{role!r} has the component {component!r}, which starts with a dash"
    return None


def ancestors(role: str) -> tuple[str, ...]:
    """Every role above this one, the nearest first: `a/b/c` gives `a/b`, `a`. A top-level role has none."""
    parts = role.split("/")
    return tuple("/".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))


def is_strict_subrole(role: str, of: str) -> bool:
    """Tell whether `role` lies below `of` in the tree; a role does not lie below itself, nor anything below `*`."""
    return role.startswith(of) and role[len(of) : len(of) + 1] == "/"
