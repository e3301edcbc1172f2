"""Tasks that become others."""

from typing import Any

from celery import chord, group

from .board import note
from .making import task
from .plain import add, xsum


@task(bind=True, name="parity.replaced")
def replaced(self: Any, a: float, b: float) -> Any:
    """Have another task's result."""
    raise self.replace(add.si(a, b))


@task(bind=True, name="parity.replaced_by_chord")
def replaced_by_chord(self: Any, count: int) -> Any:
    """Have a chord's result."""
    raise self.replace(chord([add.s(number, number) for number in range(count)], xsum.s()))


@task(bind=True, name="parity.spawning")
def spawning(self: Any, count: int) -> list[str]:
    """Start others and return: they are its children."""
    started = group(add.s(number, 1) for number in range(count)).apply_async()
    return [child.id for child in started.children]


@task(name="parity.errback")
def errback(request: Any, error: BaseException, traceback: Any) -> None:
    """Told of an error in the new way, by the worker of the task that failed."""
    note("errbacks", f"{request.task} {type(error).__name__}")


@task(name="parity.old_errback")
def old_errback(task_id: str) -> None:
    """Told of an error in the old way, by a message."""
    note("errbacks", "by id")


@task(name="parity.linked")
def linked(value: Any, key: str) -> None:
    """Told of a result."""
    note(key, f"heard {value}")
