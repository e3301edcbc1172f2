"""Routing rules of configuration: for tasks whose names fit, of queues that fit, these options.

    mesolite_routes = {"proj.images.*": {"mem": "2GiB"}, "proj.*": {"cpus": 0.5}}
    mesolite_routes = [{"task": "proj.images.*", "queue": "big", "mem": "2GiB"}, {"queue": "night", "role": "batch"}]

Of each option the first rule counts that fits and says it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, cast

from mesolite.errors import ConfigError

from .option_values import OptionValues, read_values, shown

#: More is a generated file that wants to be a setting of each task.
MAX_RULES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of them. Patterns are the shell's: `*`, `?`, `[abc]`."""

    task: str
    queue: str
    values: OptionValues
    #: Where it is written.
    where: str

    def fits(self, task: str, queue: str) -> bool:
        """Whether it speaks of this task, of a message of this queue."""
        return fnmatchcase(task, self.task) and fnmatchcase(queue, self.queue)


def read_rules(found: object, where: str) -> tuple[Rule, ...]:
    """Check rules.

    Raises:
        ConfigError: They make no sense; the message says which and where.
    """
    if found is None:
        return ()
    entries: Iterable[tuple[object, str]]
    if isinstance(found, Mapping):
        by_name = cast("Mapping[object, object]", found)
        entries = [(_with_task(pattern, values, where), f"{where}[{pattern!r}]") for pattern, values in by_name.items()]
    elif isinstance(found, list | tuple):
        in_order = cast("list[object] | tuple[object, ...]", found)
        entries = [(entry, f"{where}[{position}]") for position, entry in enumerate(in_order)]
    else:
        raise ConfigError(f"{where}: rules are a dictionary or a list of dictionaries, not {shown(found)}")
    rules = tuple(_rule(entry, place) for entry, place in entries)
    if len(rules) > MAX_RULES:
        raise ConfigError(f"{where}: there are {len(rules)} rules; at most {MAX_RULES}")
    return rules


def _with_task(pattern: object, values: object, where: str) -> object:
    """A rule of a dictionary, as in a list."""
    if not isinstance(values, Mapping):
        return values
    options = cast("Mapping[object, object]", values)
    if "task" in options:
        raise ConfigError(f"{where}[{pattern!r}]: the task is named by the key already; leave `task` out")
    return {**options, "task": pattern}


def _rule(entry: object, where: str) -> Rule:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: a rule is a dictionary, not {shown(entry)}")
    options = dict(cast("Mapping[object, object]", entry))
    named = [key for key in ("task", "queue") if key in options]
    if not named:
        raise ConfigError(
            f"{where}: a rule names a `task`, a `queue`, or both; for all tasks there is mesolite = {{...}}"
        )
    patterns = {key: options.pop(key) for key in named}
    for key, pattern in patterns.items():
        if not isinstance(pattern, str) or not pattern:
            raise ConfigError(f"{where}: {key} is {shown(pattern)}; it is a name or a pattern such as proj.*")
    values = read_values(options, where)
    return Rule(str(patterns.get("task", "*")), str(patterns.get("queue", "*")), values, where)
