"""A master as a process: settings in, shell and HTTP face up, until a signal says stop."""

import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from importlib.metadata import version
from types import FrameType
from typing import Final

from mesolite.clock import SystemClock
from mesolite.config import MasterConfig
from mesolite.discovery import public_redis_url
from mesolite.errors import BadInput, MasterUnavailable, NotFound
from mesolite.garbage import MASTERS_YOUNG, look_for_garbage_seldom
from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.lease import LeaseKeeper, LeaseSettings
from mesolite.logs import get_logger
from mesolite.network import advertised_url
from mesolite.protocol import decode_dead_letter
from mesolite.transport import open_bus, open_store
from mesolite.transport.address import shown
from mesolite.transport.contract import BEGINNING, Store
from mesolite.transport.keys import DEAD_LETTERS, MAX_DEAD_LETTERS_LENGTH
from mesolite.views import ClusterRow

from . import views
from .allocator import HierarchicalDrfAllocator
from .core import MasterCore
from .events import OperatorKilled, OperatorMarkedGone, OperatorToreDown
from .http import Action, MasterHttp, View
from .settings import OFFER_DELAY_MS, MasterSettings
from .shell import MasterShell

_VIEWS: Final = {
    "state": views.summary,
    "agents": views.agents,
    "frameworks": views.frameworks,
    "offers": views.offers,
    "tasks": views.tasks,
}

_log = get_logger("mesolite.master")


def run_master(config: MasterConfig) -> None:
    """Run a master until SIGTERM or SIGINT.

    A Redis that is down is waited for, with a line in the log.

    Raises:
        Unavailable: The HTTP port is taken.
        ConfigError: The Redis URL makes no sense.
    """
    # First: whoever sees anything of it may tell it to end.
    stop = _stop_on_signals()
    look_for_garbage_seldom(MASTERS_YOUNG)
    with ExitStack() as cleanup:
        # A store is for one thread; the lease and the HTTP face have threads of their own.
        store, lease_store, letters = (
            cleanup.enter_context(closing(open_store(config.redis_url, config.cluster))) for _ in range(3)
        )
        bus = cleanup.enter_context(closing(open_bus(config.redis_url, config.cluster)))
        clock = SystemClock()
        keeper = LeaseKeeper(store=lease_store, clock=clock, settings=LeaseSettings(ttl_ms=config.lease_ttl_ms))
        shell = MasterShell(
            leadership=keeper,
            store=store,
            bus=bus,
            settings=settings_of(config),
            new_allocator=HierarchicalDrfAllocator,
            clock=clock,
            principals=(config.principal,),
            cluster=config.cluster,
        )
        http = MasterHttp(
            host=config.http_host,
            port=config.http_port,
            views={**_views(shell, letters), "cluster": lambda query: cluster_row(config)},
            actions=_actions(shell, clock),
            leader=lambda: _elsewhere(shell, keeper),
        )
        http.start()
        cleanup.callback(http.close)
        url = advertised_url(http.url, config.http_advertise_host)
        _log.info("master.started", url=url, redis=shown(config.redis_url), cluster=config.cluster)
        keeper.start(url)
        cleanup.callback(keeper.close)
        shell.run(stop)
    _log.info("master.stopped")


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return stop


def _elsewhere(shell: MasterShell, keeper: LeaseKeeper) -> str | None:
    """Return the URL of the master that leads, None where it is this one.

    Raises:
        MasterUnavailable: It is not known.
    """
    if shell.leads:
        return None
    leader = keeper.leader()
    if leader is None:
        raise MasterUnavailable("no master leads at this moment; try again in some seconds")
    return leader.address


def settings_of(config: MasterConfig) -> MasterSettings:
    """Turn what an operator wrote into what the core takes."""
    return MasterSettings(
        offer_timeout_ms=config.offer_timeout_ms,
        offer_delay_ms=OFFER_DELAY_MS,
        heartbeat_interval_ms=config.heartbeat_interval_ms,
        agent_timeout_ms=config.agent_timeout_ms,
        agent_reregister_timeout_ms=config.agent_reregister_timeout_ms,
        agent_removal_limit=config.agent_removal_limit,
        agent_removal_interval_ms=config.agent_removal_interval_ms,
        recovery_agent_removal_limit_percent=config.recovery_agent_removal_limit_percent,
        weights_milli=tuple(sorted((role, weight * 1000) for role, weight in config.weights.items())),
    )


def cluster_row(config: MasterConfig) -> ClusterRow:
    """Tell a client what it needs to know of the cluster, and no password."""
    return ClusterRow(
        name=config.cluster,
        principal=config.principal,
        redis_url=public_redis_url(config.redis_url),
        flower_url=config.flower_url,
    )


def _views(shell: MasterShell, letters: Store) -> dict[str, View]:
    lock = threading.Lock()

    def dead_letters(query: Mapping[str, str]) -> object:
        with lock:
            entries = letters.read({DEAD_LETTERS: BEGINNING}, limit=MAX_DEAD_LETTERS_LENGTH, wait_ms=0)
        return [views.dead_letter_row(entry, decode_dead_letter(entry.payload)) for entry in reversed(entries)]

    def health(query: Mapping[str, str]) -> object:
        return {"healthy": True, "leads": shell.leads, "version": version("mesolite")}

    def explain(query: Mapping[str, str]) -> object:
        framework_id = FrameworkId(_needed(query, "framework_id"))

        def look(core: MasterCore) -> object:
            if framework_id not in core.state.frameworks:
                raise NotFound(f"no framework {framework_id!r} runs; `mesolite frameworks` lists them")
            return views.explain(core, framework_id)

        return shell.view(look)

    return {
        "health": health,
        "metrics": lambda query: shell.view(lambda core: dict(core.context.counts)),
        **{name: _shown(shell, view) for name, view in _VIEWS.items()},
        "explain": explain,
        "dead_letters": dead_letters,
    }


def _shown(shell: MasterShell, view: Callable[[MasterCore, Mapping[str, str]], object]) -> View:
    return lambda query: shell.view(lambda core: view(core, query))


def _actions(shell: MasterShell, clock: SystemClock) -> dict[str, Action]:
    def kill(fields: Mapping[str, str]) -> object:
        framework_id, task_id = FrameworkId(_needed(fields, "framework_id")), TaskId(_needed(fields, "task_id"))
        if shell.view(lambda core: core.state.task(framework_id, task_id)) is None:
            raise NotFound(f"no task {task_id!r} of framework {framework_id!r} runs; `mesolite ps -a` lists tasks")
        shell.ask(OperatorKilled(now_ms=clock.now_ms(), framework_id=framework_id, task_id=task_id))
        return None

    def teardown(fields: Mapping[str, str]) -> object:
        framework_id = FrameworkId(_needed(fields, "framework_id"))
        if not shell.view(lambda core: framework_id in core.state.frameworks):
            raise NotFound(f"no framework {framework_id!r} runs; `mesolite frameworks` lists them")
        shell.ask(OperatorToreDown(now_ms=clock.now_ms(), framework_id=framework_id))
        return None

    def mark_gone(fields: Mapping[str, str]) -> object:
        agent_id = AgentId(_needed(fields, "agent_id"))
        if not shell.view(lambda core: agent_id in core.state.agents or agent_id in core.state.lost_agents):
            raise NotFound(f"no agent {agent_id!r} is or was here; `mesolite agents` lists them")
        shell.ask(OperatorMarkedGone(now_ms=clock.now_ms(), agent_id=agent_id))
        return None

    return {"kill": kill, "teardown": teardown, "mark_gone": mark_gone}


def _needed(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise BadInput(f"{name} is missing")
    return value
