"""What a caller's `result.get()` raises of a task that has no result because of where it ran.

    WorkerLostError (Celery's)       its worker, container or agent ended under it; Celery's rules of lost workers apply
    +-- MemoryLimitExceeded          it went over its memory limit
    CannotRunHere                    the cluster cannot run it as it is: its image, its Python, its application, its options
    +-- TaskTooLarge                 it asks for more than any agent has
    Poisoned                         a worker was lost under each of its runs; its message was set aside

Callers need no Mesolite. Where a backend stores pickles they get these classes if they have it, and else ones of the same names
and bases. Where it stores JSON, Celery looks among the modules that the caller has imported: without an import of this one
they get an exception of the same name and texts, which is derived from `Exception` alone.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from billiard.exceptions import WorkerLostError

#: The module of classes that are made for callers without Mesolite: the one that Celery itself gives unknown exceptions.
_ELSEWHERE: Final = "celery.exceptions"


class _Class:
    """A class on its way in a pickle. Whoever reads it finds it or makes one like it, by functions of kombu's and Celery's."""

    def __init__(self, name: str, base: type[Exception]) -> None:
        self._name = name
        self._base = base

    def __call__(self, *_: object) -> Any:
        raise AssertionError("this stands for a class in pickles only")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        likeness = _Likeness(self._name, self._base)
        # Who pickles these has loaded Celery; who judges need not.
        return import_module("kombu.utils.imports").symbol_by_name, (
            f"{__name__}:{self._name}",
            None,
            None,
            None,
            ".",
            likeness,
        )


class _Likeness:
    """A class for those who have not got the real one."""

    def __init__(self, name: str, base: type[Exception]) -> None:
        self._name = name
        self._base = base

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return import_module("celery.utils.serialization").create_exception_cls, (self._name, _ELSEWHERE, self._base)


class MemoryLimitExceeded(WorkerLostError):  # type: ignore[misc] # billiard has no types
    """The task went over its memory limit; give it more with mesolite={"mem": ...}, or have it hold less."""

    def __init__(self, text: str, limit_mib: int = 0, peak_mib: int = 0) -> None:
        # As arguments, because they are what every backend carries.
        super().__init__(text, limit_mib, peak_mib)
        #: 0 where it is not known.
        self.limit_mib = limit_mib
        #: The most that was seen; 0 where it is not known.
        self.peak_mib = peak_mib

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _Class("MemoryLimitExceeded", WorkerLostError), self.args


class CannotRunHere(Exception):
    """The cluster cannot run the task as it is; the message says what to correct."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _Class(type(self).__name__, Exception), self.args


class TaskTooLarge(CannotRunHere):
    """The task asks for more than any agent has; ask for less, or add a larger agent."""


class Poisoned(Exception):
    """A worker was lost under each run of the task; its message is set aside, `mesolite celery-aside` shows it."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _Class("Poisoned", Exception), self.args
