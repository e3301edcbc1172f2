"""What a call needs and how it is treated: checked where a user says it, not where it would fail."""

from collections.abc import Hashable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self, TypedDict

from mesolite.errors import ConfigError
from mesolite.protocol import Network, Volume
from mesolite.resources import MILLI, Resource, milli_from_float, scalars

from .settings import DEFAULT_CPUS, DEFAULT_MEM_MIB

#: What a container, and so a worker, can have at least: what the master takes.
MIN_CPUS: Final = 0.01
MIN_MEM_MIB: Final = 8
#: A call's time limit is at most so long: thirty days.
MAX_TIMEOUT_S: Final = 30 * 86_400.0
MAX_RETRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls have in common that can run in the same executor, on the same terms."""

    cpus_milli: int
    mem_mib: int
    role: str
    #: None: what the agent runs by default.
    image: str | None
    #: The interpreter; None: the caller's own where the agent has it, else `python3`.
    python: str | None
    #: Of the executor's processes, beside what the pool gives all of them (`Program`), and before it: names and values.
    environment: tuple[tuple[str, str], ...] = ()
    #: Those below need a container, with the agent's default image where none is named.
    volumes: tuple[Volume, ...] = ()
    network: Network = Network.BRIDGE

    @property
    def shape(self) -> tuple[Resource, ...]:
        """What one worker, or one call, takes of an offer."""
        return scalars(cpus=self.cpus_milli / MILLI, mem_mib=self.mem_mib).to_wire()

    @property
    def program(self) -> Hashable:
        """Which Python it is and what is around it, whatever the size."""
        return self.image, self.python, self.environment, self.volumes, self.network


class OptionChanges(TypedDict, total=False):
    """What `Executor.options` takes: as in `CallOptions`."""

    cpus: float
    mem_mib: int
    timeout: float | None
    retries: int
    image: str | None
    python: str | None
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What each call gets.

    Raises:
        ConfigError: A value makes no sense; the message names it.
    """

    cpus: float = DEFAULT_CPUS
    mem_mib: int = DEFAULT_MEM_MIB
    #: Seconds that a call may run; None: as long as it takes.
    timeout: float | None = None
    #: How often a call is tried again that was lost, or whose worker died, after it may have begun. One that certainly did
    #: not begin is always sent again.
    retries: int = 0
    image: str | None = None
    python: str | None = None
    role: str = "*"
    #: See `Kind`; made once, because each call is asked for it several times on its way.
    kind: Kind = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _is_number(self.cpus) or not MIN_CPUS <= self.cpus <= 1_000_000:
            raise ConfigError(f"cpus is {self.cpus!r}; a number from {MIN_CPUS} on")
        if not _is_whole(self.mem_mib) or self.mem_mib < MIN_MEM_MIB:
            raise ConfigError(f"mem_mib is {self.mem_mib!r}; a whole number of MiB from {MIN_MEM_MIB} on")
        if self.timeout is not None and (not _is_number(self.timeout) or not 0 < self.timeout <= MAX_TIMEOUT_S):
            raise ConfigError(f"timeout is {self.timeout!r}; seconds, more than 0 and at most {MAX_TIMEOUT_S:.0f}")
        if not _is_whole(self.retries) or not 0 <= self.retries <= MAX_RETRIES:
            raise ConfigError(f"retries is {self.retries!r}; a whole number from 0 to {MAX_RETRIES}")
        for name, text in (("image", self.image), ("python", self.python)):
            if text is not None and (not text or not text.isprintable()):
                raise ConfigError(f"{name} is {text!r}; leave it out for the default")
        kind = Kind(milli_from_float("cpus", self.cpus), self.mem_mib, self.role, self.image, self.python)
        object.__setattr__(self, "kind", kind)

    @property
    def timeout_ms(self) -> int | None:
        """The time limit in milliseconds."""
        return None if self.timeout is None else max(1, round(self.timeout * 1000))

    def changed(self, changes: OptionChanges) -> Self:
        """The same with other values.

        Raises:
            ConfigError: There is no such option, or a value makes no sense.
        """
        known = {each.name for each in fields(self) if each.init}
        for name in changes:
            if name not in known:
                raise ConfigError(f"there is no option {name!r} of a call; there are {', '.join(sorted(known))}")
        return replace(self, **changes)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
