"""A group as people write it: in a table of the settings file, or as options of the command, under the same names.

[celery-workers.emails]
app = "proj"
queues = ["emails"]
max = 20
concurrency = 4
cpus = 2
mem = "1GiB"
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from mesolite.errors import ConfigError

from ..celery.option_values import OPTION_NAMES, number_of, read_values, shown
from .group import Group, WorkerShape

#: Options of tasks that mean nothing for a worker.
_NOT_FOR_WORKERS: Final = ("isolation", "max_time_s")
_WORKER_OPTIONS: Final = (*(name for name in OPTION_NAMES if name not in _NOT_FOR_WORKERS), "mem")


def read_group(name: str, said: Mapping[str, object], where: str) -> Group:
    """Make a group of what was said of it.

    Args:
        name: Its name.
        said: By name of the option.
        where: The place, as people know it.

    Raises:
        ConfigError: There is no such option, or a value makes no sense; the message names the place.
    """
    worker: dict[str, Any] = {**read_values({key: said[key] for key in said if key in _WORKER_OPTIONS}, where)}
    own: dict[str, Any] = {}
    for key, value in said.items():
        if key in _WORKER_OPTIONS:
            continue
        if key not in _READERS:
            raise ConfigError(
                f"{where}: there is no option {key!r}; there are {', '.join((*_READERS, *_WORKER_OPTIONS))}"
            )
        field, reader = _READERS[key]
        try:
            own[field] = reader(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {key} is {shown(value)}; {error}") from None
    folders: str = worker.pop("app_path", None) or ""
    worker |= {key: own.pop(key) for key in ("concurrency", "pool", "arguments") if key in own}
    if "app" not in own:
        raise ConfigError(f"{where}: which application? Say it as to Celery: app is 'proj'")
    return Group(name=name, worker=WorkerShape(path=tuple(filter(None, folders.split(":"))), **worker), **own)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("it is to be a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("it is to be a list of texts")
    return tuple(_text(each) for each in cast("list[object]", value))


def _whole(value: object) -> int:
    number = number_of(value)
    if number != int(number):
        raise ValueError("it is to be a whole number")
    return int(number)


def _milliseconds(value: object) -> int:
    return int(number_of(value) * 1000)


#: Option: the field it sets, and what reads it.
_READERS: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "app": ("app", _text),
    "queues": ("queues", _texts),
    "min": ("least", _whole),
    "max": ("most", _whole),
    "concurrency": ("concurrency", _whole),
    "pool": ("pool", _text),
    "per_worker_messages": ("messages_per_worker", _whole),
    "max_wait_s": ("max_wait_ms", _milliseconds),
    "quiet_s": ("quiet_ms", _milliseconds),
    "drain_grace_s": ("drain_grace_ms", _milliseconds),
    "arguments": ("arguments", _texts),
}
