"""What may be said of a task, read from what people write: each value checked where it is said, and named with its place.

{"cpus": 0.5, "mem": "512MiB", "max_time_s": 60, "env": {"TZ": "UTC"}, "volumes": ["/data:/data:ro"]}
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict, cast

from mesolite.errors import ConfigError, ResourceError
from mesolite.protocol import Network, Volume
from mesolite.resources import mib_from_text, role_error

from ..futures.options import MAX_TIMEOUT_S, MIN_CPUS, MIN_MEM_MIB

#: More CPUs or memory than any machine has: a slip, and no number that is to be calculated with.
MAX_CPUS: Final = 100_000
MAX_MEM_MIB: Final = 2**30
#: A task's environment is a part of each launch: enough for what people set, and far below what an operating system takes.
MAX_ENV_VARIABLES: Final = 256
MAX_ENV_CHARACTERS: Final = 32_768
#: As above, and more than anybody mounts.
MAX_VOLUMES: Final = 64
#: Of an image, an interpreter, a folder: longer ones are none.
MAX_TEXT_CHARACTERS: Final = 1_024
#: Variables that begin so say to an executor what it is.
_OWN_VARIABLES: Final = "MESOLITE_"
_ISOLATIONS: Final = ("worker", "task")


class OptionValues(TypedDict, total=False):
    """Checked values. What is missing was not said."""

    cpus: float
    mem_mib: int
    #: None: none.
    max_time_s: float | None
    isolation: str
    #: None: what the agent runs by default; "" is written as None.
    image: str | None
    python: str | None
    env: dict[str, str]
    volumes: tuple[Volume, ...]
    network: Network
    role: str
    #: Folders with colons between them; see `PATH_VARIABLE` of the protocol.
    app_path: str | None


def read_values(found: object, where: str) -> OptionValues:
    """Check what was said in one place.

    Args:
        found: A mapping of options, or None for nothing.
        where: The place, as people know it: "app.conf.mesolite".

    Raises:
        ConfigError: There is no such option, or a value makes no sense; the message names the place.
    """
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: options are a dictionary such as {{'mem': '512MiB'}}, not {shown(found)}")
    values: dict[str, Any] = {}
    for key, value in cast("Mapping[object, object]", found).items():
        reader = _READERS.get(key) if isinstance(key, str) else None
        if reader is None:
            raise ConfigError(f"{where}: there is no option {shown(key)}; there are {', '.join(_READERS)}")
        name = _SAME_AS.get(str(key), str(key))
        if name in values:
            raise ConfigError(f"{where}: {key} says again what {name} says; leave one out")
        try:
            values[name] = reader(value)
        except (ValueError, ResourceError) as error:
            raise ConfigError(f"{where}: {key} is {shown(value)}; {error}") from None
    return cast("OptionValues", values)


def shown(value: object) -> str:
    """A value as an error shows it, whatever it is."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def number_of(value: object) -> float:
    """A finite number, of those that are not truths.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1e15 < value < 1e15:
        raise ValueError("it is to be a number")
    return value


def _cpus(value: object) -> float:
    if not MIN_CPUS <= number_of(value) <= MAX_CPUS:
        raise ValueError(f"it is a number of CPUs from {MIN_CPUS} to {MAX_CPUS}")
    return number_of(value)


def _mem_mib(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not MIN_MEM_MIB <= value <= MAX_MEM_MIB:
        raise ValueError(f'it is a whole number of MiB from {MIN_MEM_MIB} on; `mem` takes texts such as "512MiB"')
    return value


def _mem(value: object) -> int:
    return _mem_mib(mib_from_text("memory", value) if isinstance(value, str) else value)


def _max_time_s(value: object) -> float | None:
    if value is None:
        return None
    if not 0 < number_of(value) <= MAX_TIMEOUT_S:
        raise ValueError(f"it is seconds, more than 0 and at most {MAX_TIMEOUT_S:.0f}; None for no limit")
    return float(number_of(value))


def _isolation(value: object) -> str:
    if value not in _ISOLATIONS:
        raise ValueError('"worker" (a warm one) or "task" (a container of its own)')
    return str(value)


def _text(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError("it is a text; None for the default")
    return value


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("it is a dictionary of texts")
    variables = cast("Mapping[object, object]", value)
    checked: dict[str, str] = {}
    for name, text in variables.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name or name.startswith(_OWN_VARIABLES):
            raise ValueError(f"{shown(name)} cannot be a variable here")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"the value of {name} is to be a text")
        checked[name] = text
    if len(checked) > MAX_ENV_VARIABLES or sum(map(len, [*checked, *checked.values()])) > MAX_ENV_CHARACTERS:
        raise ValueError(f"at most {MAX_ENV_VARIABLES} variables of {MAX_ENV_CHARACTERS} characters together")
    return checked


def _volumes(value: object) -> tuple[Volume, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError('it is a list of "/on/the/host:/in/the/container", with ":rw" where it is to be written')
    entries = cast("list[object] | tuple[object, ...]", value)
    if len(entries) > MAX_VOLUMES:
        raise ValueError(f"at most {MAX_VOLUMES}")
    return tuple(_volume(entry) for entry in entries)


def _volume(entry: object) -> Volume:
    parts = entry.split(":") if isinstance(entry, str) else []
    if len(parts) not in (2, 3) or not all(parts) or parts[2:] not in ([], ["ro"], ["rw"]):
        raise ValueError(
            f'{shown(entry)} is to be "/on/the/host:/in/the/container", with ":rw" where it is to be written'
        )
    return Volume(host_path=parts[0], container_path=parts[1], read_only=parts[2:] != ["rw"])


def _network(value: object) -> Network:
    names = [each.value.lower() for each in Network]
    if not isinstance(value, str) or value.lower() not in names:
        raise ValueError(f"one of {', '.join(names)}")
    return Network[value.upper()]


def _role(value: object) -> str:
    error = role_error(value) if isinstance(value, str) else "is to be a text"
    if error is not None:
        raise ValueError(f"a role {error}")
    return str(value)


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "cpus": _cpus,
    "mem_mib": _mem_mib,
    "mem": _mem,
    "max_time_s": _max_time_s,
    "isolation": _isolation,
    "image": _text,
    "python": _text,
    "env": _env,
    "volumes": _volumes,
    "network": _network,
    "role": _role,
    "app_path": _text,
}
#: Two ways to write one thing.
_SAME_AS: Final = {"mem": "mem_mib"}

#: What options are called.
OPTION_NAMES: Final = tuple(name for name in _READERS if name not in _SAME_AS)
