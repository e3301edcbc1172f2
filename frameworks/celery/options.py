"""What a task is given: CPUs, memory, image and so on, from wherever somebody said it.

Highest first, each option by itself:

    message header `mesolite`            apply_async(headers={"mesolite": {"mem": "2GiB"}}): what `mesolite_header_keys` allows
    rules of a file, then of settings    `--routes FILE`, app.conf.mesolite_routes, by names of tasks and queues
    the task itself                      @app.task(mesolite={"mem": "512MiB"}), or an attribute of its class
    the application                      app.conf.mesolite = {...}
    the command line                     --cpus, --mem, --image ...
    defaults                             one CPU, 256 MiB, no time limit, a warm worker

Of the environment each variable counts as an option. All but headers is checked when the dispatcher starts.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, cast

from mesolite.errors import ConfigError
from mesolite.executors.celery.protocol import PATH_VARIABLE
from mesolite.protocol import Network
from mesolite.resources import DEFAULT_ROLE, milli_from_float

from ..futures.options import Kind
from ..futures.settings import DEFAULT_CPUS, DEFAULT_MEM_MIB
from .calls import TaskOptions
from .option_rules import Rule, read_rules
from .option_values import OPTION_NAMES, OptionValues, number_of, read_values, shown

#: The message header, and the attribute of a task.
HEADER: Final = "mesolite"
#: Whoever may send messages may set these: they cost that task's place in the queue, and nobody's safety. An image or a volume
#: is another program, or other data, than the operator chose.
DEFAULT_HEADER_KEYS: Final = ("cpus", "mem_mib", "max_time_s")
#: A header in JSON is no longer: twice the longest environment.
MAX_HEADER_CHARACTERS: Final = 65_536
#: Pairs of task and queue that are remembered; an application has some hundred.
MAX_REMEMBERED: Final = 10_000
#: Options that `mesolite_header_limits` can bound.
_BOUNDED: Final = ("cpus", "mem_mib", "max_time_s")


class Named(Protocol):
    """A Celery task, as far as it matters here. Its attribute `mesolite` is read where it has one."""

    @property
    def name(self) -> str: ...


class OptionsBook:
    """All that is said of an application's tasks.

    Args:
        conf: `app.conf`, or a dictionary. `mesolite`, `mesolite_routes`, `mesolite_header_keys` and `mesolite_header_limits` are
            read now.
        cli: Options of the command line, by the names of options.
        routes: Rules of a file (route_file.py).
        routes_where: What the file is called.

    Raises:
        ConfigError: Something of it makes no sense; the message says what and where.
    """

    def __init__(
        self,
        conf: Mapping[str, object],
        cli: Mapping[str, object] | None = None,
        *,
        routes: object = None,
        routes_where: str = "--routes",
    ) -> None:
        self._cli: Final = read_values(cli, "command line")
        self._defaults: Final = read_values(conf.get("mesolite"), "app.conf.mesolite")
        self._rules: Final[tuple[Rule, ...]] = (
            *read_rules(routes, routes_where),
            *read_rules(conf.get("mesolite_routes"), "app.conf.mesolite_routes"),
        )
        self._header_keys: Final = _header_keys(conf.get("mesolite_header_keys"))
        self._header_limits: Final = _header_limits(conf.get("mesolite_header_limits"))
        #: By task and queue: without a header, which is nearly always, an answer costs no more than finding it.
        self._remembered: Final[dict[tuple[str, str], tuple[OptionValues, TaskOptions]]] = {}

    def of(self, task: Named, headers: Mapping[str, object] | None, queue: str | None) -> TaskOptions:
        """Say what a message's task is given.

        Args:
            task: As registered.
            headers: The message's.
            queue: Where it came from; None where that is not known.

        Raises:
            ConfigError: The header, or what a task says of itself, makes no sense or is not allowed.
        """
        name, queue = task.name, queue or ""
        found = self._remembered.get((name, queue))
        if found is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            values = self._values(task, queue)
            found = self._remembered[name, queue] = values, _options(values)
        header = headers.get(HEADER) if headers else None
        if header is None:
            return found[1]
        return _options(_over(self._header(header), found[0]))

    def check(self, tasks: Iterable[Named]) -> None:
        """Look at what each task says of itself, before there is a message.

        Raises:
            ConfigError: One makes no sense.
        """
        for task in tasks:
            self._of_task(task)

    def roles(self, tasks: Iterable[Named]) -> tuple[str, ...]:
        """All roles that tasks may be given: those that the framework is to have.

        Raises:
            ConfigError: As `check`.
        """
        places = [self._cli, self._defaults, *(rule.values for rule in self._rules)]
        places += [self._of_task(task) for task in tasks]
        roles = {values["role"] for values in places if "role" in values}
        if "role" not in self._cli and "role" not in self._defaults:
            roles.add(DEFAULT_ROLE)
        return tuple(sorted(roles))

    def _values(self, task: Named, queue: str) -> OptionValues:
        values = _over(self._of_task(task), _over(self._defaults, self._cli))
        for rule in reversed(self._rules):
            if rule.fits(task.name, queue):
                values = _over(rule.values, values)
        return values

    def _of_task(self, task: Named) -> OptionValues:
        return read_values(getattr(task, HEADER, None), f"task {task.name}")

    def _header(self, found: object) -> OptionValues:
        where = "message header mesolite"
        if isinstance(found, str | bytes):
            if len(found) > MAX_HEADER_CHARACTERS:
                raise ConfigError(f"{where}: it has {len(found)} characters; at most {MAX_HEADER_CHARACTERS}")
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                raise ConfigError(f"{where}: it is neither a dictionary nor JSON: {shown(found)}") from None
        values = read_values(found, where)
        for key, value in values.items():
            if key not in self._header_keys:
                allowed = ", ".join(sorted(self._header_keys)) or "nothing"
                raise ConfigError(
                    f"{where}: {key} is not allowed to be set by messages; {allowed} is (mesolite_header_keys)"
                )
            limit = self._header_limits.get(key)
            if limit is not None and (value is None or number_of(value) > limit):
                raise ConfigError(f"{where}: {key} is {value}; messages may ask for {limit:g} (mesolite_header_limits)")
        return values


def _over(upper: OptionValues, lower: OptionValues) -> OptionValues:
    """Two places' options together, where the first counts."""
    values: OptionValues = {**lower, **upper}
    if "env" in lower and "env" in upper:
        values["env"] = {**lower["env"], **upper["env"]}
    return values


def _options(values: OptionValues) -> TaskOptions:
    environment = dict(values.get("env", {}))
    app_path = values.get("app_path")
    if app_path is not None:
        environment[PATH_VARIABLE] = app_path
    kind = Kind(
        cpus_milli=milli_from_float("cpus", values.get("cpus", DEFAULT_CPUS)),
        mem_mib=values.get("mem_mib", DEFAULT_MEM_MIB),
        role=values.get("role", DEFAULT_ROLE),
        image=values.get("image"),
        python=values.get("python"),
        environment=tuple(sorted(environment.items())),
        volumes=values.get("volumes", ()),
        network=values.get("network", Network.BRIDGE),
    )
    return TaskOptions(kind=kind, max_time_s=values.get("max_time_s"), isolation=values.get("isolation", "worker"))


def _header_keys(found: object) -> frozenset[str]:
    if found is None:
        return frozenset(DEFAULT_HEADER_KEYS)
    where = "app.conf.mesolite_header_keys"
    if not isinstance(found, list | tuple | set | frozenset):
        raise ConfigError(f"{where}: it is a list of options, not {shown(found)}")
    keys = {"mem_mib" if key == "mem" else key for key in cast("Iterable[object]", found)}
    for key in keys:
        if key not in OPTION_NAMES:
            raise ConfigError(f"{where}: there is no option {shown(key)}; there are {', '.join(OPTION_NAMES)}")
    return frozenset(str(key) for key in keys)


def _header_limits(found: object) -> dict[str, float]:
    where = "app.conf.mesolite_header_limits"
    values = read_values(found, where)
    for key in values:
        if key not in _BOUNDED:
            raise ConfigError(f"{where}: {key} cannot be bounded; {', '.join(_BOUNDED)} can")
    return {key: number_of(value) for key, value in values.items() if value is not None}
