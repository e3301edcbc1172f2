"""Makes the parts of a dispatcher, for an application that Celery has loaded."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from mesolite.errors import MesoliteError
from mesolite.executors.celery.protocol import (
    APP_VARIABLE,
    LOG_LEVEL_VARIABLE,
    NODE_VARIABLE,
    PATH_VARIABLE,
    PRELOAD_MODULE,
    RECYCLE_VARIABLE,
    VERSION_VARIABLE,
    RecycleRules,
)
from mesolite.executors.python import preload
from mesolite.logs import get_logger
from mesolite.protocol import FrameworkInfo

from ..driver.settings import FAILED_OVER, REMOVED
from .broker.redis_ownership import RedisOwnership
from .dispatching import Dispatching, Holds
from .flower import CeleryFlower
from .identity import KeptIdentity
from .options import OptionsBook
from .owning import Ownership
from .replacing import Replacement
from .settings import DispatchSettings, celery_version
from .single import SingleRunner, SingleSettings
from .verdicts import MAX_LOSSES_SETTING, max_losses_of
from .warm import WarmRunner
from .warm_settings import WarmSettings
from .watching import NobodyWatches

#: How long tasks run on, and are remembered, while there is no dispatcher: longer than any restart and most repairs.
FAILOVER_TIMEOUT_MS: Final = 3_600_000
#: How long the end of a dispatcher waits for the cluster to hear of it.
LEAVE_PATIENCE_S: Final = 5.0
#: What frameworks of this sort are called.
KIND: Final = "celery"
#: The same dispatcher's, of tasks with containers of their own. There is one where there is such a task.
SINGLE_KIND: Final = "celery-tasks"
_KIBIBYTES_PER_MEBIBYTE: Final = 1024

_log = get_logger("mesolite.celery")


def prepare(
    settings: DispatchSettings,
    ownership: Ownership,
    replacement: Replacement,
    controllers: Sequence[Any],
    app: Any,
    holds: Holds,
) -> Dispatching:
    """Make the parts.

    Args:
        settings: Of the dispatcher.
        ownership: Of messages; the broker's transports know it.
        replacement: Told where another dispatcher takes over.
        controllers: Celery's `WorkController`, the only one.
        app: The application.
        holds: Says whether the pool has a message.

    Raises:
        ConfigError: What the application says of its tasks makes no sense.
        RedisUnavailable: The cluster's Redis does not answer.
    """
    controller = controllers[0]
    if isinstance(ownership, RedisOwnership):
        ownership.still_held = holds
    options = OptionsBook(app.conf, settings.defaults, routes=settings.routes, routes_where=settings.routes_where)
    tasks = [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]
    options.check(tasks)
    max_losses = max_losses_of(app.conf.get(MAX_LOSSES_SETTING))
    roles = options.roles(tasks)
    warm_settings = _warm_settings(settings, options, controller)
    info, _ = _framework(settings, KIND, roles)
    ended = partial(broke, settings, replacement)
    flower = _flower(settings, controller, str(info.framework_id)) if settings.flower else None
    warm = WarmRunner(settings.place, info, warm_settings, ended)
    single_info, is_first = _framework(settings, SINGLE_KIND, roles)
    single = SingleRunner(settings.place, single_info, _single_settings(settings, warm_settings, is_first), ended)

    def finish() -> None:
        # What another dispatcher has taken over is not this one's to end.
        leaves = settings.leave_running or replacement.has_come
        for runner in (warm, single):
            runner.close(leave_running=leaves)
        for runner in (warm, single):
            runner.join(LEAVE_PATIENCE_S)
        if not leaves:
            _forget(settings)
        if replacement.has_come and isinstance(ownership, RedisOwnership):
            ownership.abandon()
        else:
            ownership.close(release=not leaves)
        if flower is not None:
            flower.close()

    return Dispatching(
        ownership=ownership,
        runners={"worker": warm, "task": single},
        options=options,
        watcher=flower or NobodyWatches(),
        max_losses=max_losses,
        controller=controller,
        leave_running=settings.leave_running,
        start=warm.start,
        finish=finish,
    )


def _framework(settings: DispatchSettings, kind: str, roles: tuple[str, ...]) -> tuple[FrameworkInfo, bool]:
    """Who one of the dispatcher's runners is on the cluster, in each of its lives; and whether this is the first of its name."""
    with closing(settings.place.open_store()) as store:
        identity = KeptIdentity(store, kind, settings.name)
    info = FrameworkInfo(
        framework_id=identity.framework_id,
        name=f"{kind} {settings.name}",
        roles=roles,
        failover_timeout_ms=FAILOVER_TIMEOUT_MS,
    )
    return info, identity.is_first


def _warm_settings(settings: DispatchSettings, options: OptionsBook, controller: Any) -> WarmSettings:
    recycle = RecycleRules(
        max_tasks=controller.max_tasks_per_child or 0,
        max_mem_mib=-(-(controller.max_memory_per_child or 0) // _KIBIBYTES_PER_MEBIBYTE),
    )
    environment = {
        APP_VARIABLE: settings.app,
        PATH_VARIABLE: os.pathsep.join(settings.path),
        VERSION_VARIABLE: celery_version(),
        NODE_VARIABLE: str(controller.hostname),
        RECYCLE_VARIABLE: json.dumps(recycle._asdict()),
        LOG_LEVEL_VARIABLE: str(controller.loglevel or ""),
        preload.VARIABLE: PRELOAD_MODULE,
    }
    given = WarmSettings(
        name=f"{KIND} {settings.name}",
        kind=options.of(_Unnamed(), None, None).kind,
        min_workers=settings.min_workers,
        max_workers=settings.concurrency,
        max_age_ms=None if settings.max_age_s is None else round(settings.max_age_s * 1000),
        workers_per_executor=settings.workers_per_container,
        environment=environment,
        own_python=sys.executable,
    )
    return given if settings.idle_s is None else replace(given, idle_ms=round(settings.idle_s * 1000))


def _single_settings(settings: DispatchSettings, warm: WarmSettings, is_first: bool) -> SingleSettings:
    return SingleSettings(
        name=warm.name,
        environment=warm.environment,
        own_python=warm.own_python,
        told_elsewhere=settings.flower,
        is_first=is_first,
    )


def _flower(settings: DispatchSettings, controller: Any, framework_id: str) -> CeleryFlower:
    return CeleryFlower(
        controller=controller,
        # The pool is being made now; it is there before anybody asks.
        post=lambda action: controller.pool.crossing.post(action),
        redis_url=settings.place.redis_url,
        framework_id=framework_id,
        cluster=settings.place.cluster,
        shown_tasks_per_s=settings.flower_tasks_per_s,
    )


class _Unnamed:
    """A task that says nothing: for the shape of which workers are kept warm."""

    name = ""


def _forget(settings: DispatchSettings) -> None:
    """The framework has ended, and never comes back: the next life is another."""
    with suppress(MesoliteError), closing(settings.place.open_store()) as store:
        for kind in (KIND, SINGLE_KIND):
            KeptIdentity(store, kind, settings.name).forget()


def broke(settings: DispatchSettings, replacement: Replacement, reason: str) -> None:
    """The cluster has nothing for this dispatcher any more: it ends, and what it owns waits for its next life.

    A framework that was removed, as one is that was away for longer than its failover timeout, never comes back: the next life is
    another.
    """
    if reason.startswith(FAILED_OVER):
        replacement.hear()
        return
    _log.error("celery.cluster_lost", reason=reason)
    if reason.startswith(REMOVED):
        _forget(settings)
    # To the process, so that Celery hears it as from an operator: its own quick shutdown, from whatever thread this is.
    os.kill(os.getpid(), signal.SIGQUIT)
