"""C5: what is wrong with a framework's description."""

from collections.abc import Iterable

from mesolite.errors import ResourceError
from mesolite.ids import id_error
from mesolite.protocol import FrameworkInfo
from mesolite.resources import Quantities, role_error

#: A hundred years: beyond it a duration is a mistake.
MAX_DURATION_MS = 100 * 365 * 86_400_000
MAX_ROLES = 1000
MAX_NAME_LENGTH = 1024
#: All texts of a framework's description: it travels with each launch.
MAX_FRAMEWORK_CHARACTERS = 256 * 1024


def framework_error(info: FrameworkInfo) -> str | None:
    """Say what is wrong with a framework's description, or None."""
    if error := id_error(info.framework_id):
        return f"the framework id {error}"
    if len(info.name) > MAX_NAME_LENGTH:
        return f"the framework's name has {len(info.name)} characters; at most {MAX_NAME_LENGTH} are allowed"
    if error := _all_roles_error(info.roles):
        return error
    if _characters(info) > MAX_FRAMEWORK_CHARACTERS:
        return f"the framework's description is over {MAX_FRAMEWORK_CHARACTERS} characters, which is the limit"
    if not 0 <= info.failover_timeout_ms <= MAX_DURATION_MS:
        return f"failover_timeout_ms is {info.failover_timeout_ms}; 0 to {MAX_DURATION_MS} are allowed"
    return _minimum_error(info)


def _characters(info: FrameworkInfo) -> int:
    """Count all texts whose length nothing else bounds."""
    texts = [info.user, info.hostname, info.webui_url, *info.roles, *info.labels, *info.labels.values()]
    for role, minimums in info.min_allocatable_resources.items():
        texts += [role, *minimums]
    return sum(map(len, texts))


def roles_error(roles: Iterable[str], info: FrameworkInfo) -> str | None:
    """Say which of some roles a framework is not subscribed to (C7, and REVIVE and SUPPRESS of reference 1.1)."""
    strange = sorted(set(roles) - set(info.roles))
    if strange:
        return f"not subscribed to role {strange[0]!r}; its roles are {', '.join(info.roles)}"
    return None


def _all_roles_error(roles: tuple[str, ...]) -> str | None:
    if not roles:
        return "a framework needs at least one role; the default one is '*'"
    if len(roles) > MAX_ROLES:
        return f"{len(roles)} roles; at most {MAX_ROLES} are allowed"
    if len(set(roles)) != len(roles):
        return "a role is named twice"
    for role in roles:
        if error := role_error(role):
            return f"role {role!r} {error}"
    return None


def _minimum_error(info: FrameworkInfo) -> str | None:
    if error := roles_error(info.min_allocatable_resources, info):
        return f"min_allocatable_resources: {error}"
    for role, minimums in sorted(info.min_allocatable_resources.items()):
        for minimum in minimums:
            try:
                if not Quantities.parse(minimum):
                    return f"min_allocatable_resources of role {role!r} has an empty set"
            except ResourceError as error:
                return f"min_allocatable_resources of role {role!r}: {error}"
    return None
