"""From the settings of `mesolite celery` to Celery's own worker, joined to the cluster."""

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NoReturn

from celery import signals
from celery.app.utils import find_app
from celery.worker import state as worker_state

from mesolite.errors import BadInput, MesoliteError
from mesolite.executors.celery.failover import expect_failovers
from mesolite.garbage import DISPATCHERS_YOUNG, look_for_garbage_seldom

from .broker.opening import SCHEMES, claim, install
from .broker.plain import PlainOwnership
from .broker_address import address_of
from .command_line import celery_root
from .dispatching import use
from .earlier_life import meet
from .owning import Ownership
from .parts import prepare
from .replacing import EXIT_CODE, Replacement
from .settings import DispatchSettings

#: What is for Celery's own pools and processes.
_NOT_HERE: Final = ("-P", "--pool", "--autoscale", "-D", "--detach")
_PREFETCH_OPTION: Final = "--prefetch-multiplier"
_PREFETCH_SETTING: Final = "worker_prefetch_multiplier"


def start_worker(settings: DispatchSettings, worker_options: Sequence[str]) -> NoReturn:
    """Be a worker of the application until told to stop; then exit.

    Args:
        settings: Of the dispatcher.
        worker_options: What `celery worker` is given beside the application.

    Raises:
        BadInput: There is no such application, or an option cannot be had here; or a dispatcher of this name has another broker.
        RedisUnavailable: The cluster's Redis does not answer.
    """
    for option in worker_options:
        if option.partition("=")[0] in _NOT_HERE or (option.startswith("-P") and not option.startswith("--")):
            raise BadInput(f"{option} is for Celery's own pools; here the pool is the cluster: leave it out")
    app = _find(settings.app)
    controllers: list[Any] = []

    def remember(sender: Any, **_: Any) -> None:
        controllers[:] = [sender]

    signals.worker_init.connect(remember, weak=False)
    replacement = Replacement(settings.name)
    ownership = _ownership_of(app, settings, worker_options, replacement)
    _meet_last_life(app, settings, ownership)
    use(partial(prepare, settings, ownership, replacement, controllers))
    # Some results are stored here: of tasks whose worker was lost.
    expect_failovers()
    arguments = ["worker", "--pool", "custom", "--concurrency", str(settings.concurrency), *worker_options]
    look_for_garbage_seldom(DISPATCHERS_YOUNG)
    try:
        celery_root.main(arguments, prog_name="mesolite celery", auto_envvar_prefix="CELERY", obj=app)
    finally:
        # Celery's own way to end at once has no code.
        if replacement.has_come:
            sys.exit(EXIT_CODE)
    sys.exit(0)


def _find(name: str) -> Any:
    try:
        return find_app(name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BadInput(
            f"there is no Celery application {name!r} here: {error}; say it as `celery -A` takes it, and start this where "
            f"`celery -A {name} worker` starts, or with --workdir"
        ) from None


def _ownership_of(
    app: Any, settings: DispatchSettings, worker_options: Sequence[str], replacement: Replacement
) -> Ownership:
    """Own messages where their broker is Redis; elsewhere the broker does."""
    urls = app.conf.broker_read_url or app.conf.broker_url or "amqp://"
    first = urls if isinstance(urls, str) else urls[0]
    if first.partition("://")[0].partition("+")[0] not in SCHEMES:
        return PlainOwnership()
    chosen = any(option.startswith(_PREFETCH_OPTION) for option in worker_options)
    ahead = not chosen and not _is_set(app, _PREFETCH_SETTING) and not app.conf.worker_disable_prefetch
    ownership = install(settings.name, ahead=ahead, while_waiting=_leave_if_told, superseded=replacement.leave)
    # Where the broker is away, Celery waits for it by its own rules, and the first consumer claims the name.
    with app.connection_for_read() as connection, contextlib.suppress(*connection.connection_errors):
        claim(ownership, connection)
    return ownership


def _meet_last_life(app: Any, settings: DispatchSettings, ownership: Ownership) -> None:
    """See whose framework and workers this dispatcher is about to have, once it has its name at its broker."""
    try:
        with app.connection_for_read() as connection:
            meet(settings, address_of(connection))
    except MesoliteError:
        ownership.close(release=False)
        raise


def _is_set(app: Any, setting: str) -> bool:
    """Whether the application says something that Celery would say otherwise."""
    return bool(app.conf.value_set_for(setting))


def _leave_if_told() -> None:
    """While another dispatcher has the name: stop where this one was told to."""
    worker_state.maybe_shutdown()
