"""What one dispatcher works with: the parts that its pool joins.

Celery makes the pool itself, of a class, in the middle of its own start; so what makes the parts is left here before (`use`) and
found by the pool (`prepared`). One process is one dispatcher.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .calls import Runner
from .options import OptionsBook
from .owning import Ownership
from .watching import TaskWatcher


@dataclass(slots=True, kw_only=True)
class Dispatching:
    """The parts."""

    ownership: Ownership
    #: By `TaskOptions.isolation`.
    runners: Mapping[str, Runner]
    options: OptionsBook
    watcher: TaskWatcher
    #: How often a message may come back because a worker was lost under it.
    max_losses: int
    #: Celery's `WorkController`.
    controller: Any
    #: When the dispatcher ends, tasks run on for its next life.
    leave_running: bool
    #: Connects to the cluster.
    start: Callable[[], None]
    #: Lets go of it, and of the broker.
    finish: Callable[[], None]


#: Says whether the pool still has a message.
Holds = Callable[[str], bool]
#: Makes the parts for an application, once Celery has loaded it.
Prepare = Callable[[Any, Holds], Dispatching]

_prepare: list[Prepare] = []


def use(prepare: Prepare) -> None:
    """Have pools of this process work with what this makes."""
    _prepare[:] = [prepare]


def prepared(app: Any, holds: Holds) -> Dispatching:
    """Make the parts for an application and its pool.

    Raises:
        LookupError: Nobody said how: the pool is for `mesolite celery` alone.
    """
    if not _prepare:
        raise LookupError("this pool belongs to `mesolite celery -A APP`; start that instead of `celery worker`")
    return _prepare[0](app, holds)
