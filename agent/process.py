"""An agent as a process: settings in, everything up in the right order, until a signal says stop."""

import random
import secrets
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Final

from mesolite.clock import SystemClock
from mesolite.config import AgentConfig
from mesolite.errors import ConfigError
from mesolite.ids import AgentId, ContainerId, SessionId
from mesolite.logs import get_logger
from mesolite.network import advertised_url
from mesolite.protocol import AgentInfo
from mesolite.transport import open_bus, open_store
from mesolite.transport.address import shown
from mesolite.trimming import trim

from .checkpoint import SqliteCheckpoint, open_checkpoint
from .containerizer import Chosen, Kind, open_containerizer
from .containerizer.contract import ContainerEvent, ContainerExited, EventSink
from .containerizer.policy import ContainerPolicy
from .core import LIFE_BYTES, AgentCore
from .detect import attributes_of, resources_of
from .disk import DiskWatch
from .events import ShutdownRequested, TaskEndRequested
from .executor_lifecycle import ExecutorPhase
from .executor_links.contract import LinkEvent
from .executor_services import ExecutorServices, open_executor_services
from .flower import AgentView, FlowerObserver, FlowerPresence
from .flower_endings import Endings
from .http import AgentHttp
from .inbox import Inbox
from .lifecycle import Phase
from .records import ExecutorRecord, ProgressRecord, Put
from .settings import (
    CONFIRM_DELAY_MS,
    MAX_ORPHAN_WAIT_MS,
    MAX_WAITING_BESIDE_EXECUTORS,
    ExecutorPatience,
)
from .shell import AgentShell
from .workdir import WorkDir, open_work_dir

#: The kernel draws it at each boot (proc(5)).
BOOT_ID_PATH: Final = Path("/proc/sys/kernel/random/boot_id")

_log = get_logger("mesolite.agent")


def run_agent(config: AgentConfig, stop: threading.Event | None = None) -> None:
    """Run an agent until SIGTERM or SIGINT, or until it has left the cluster for good.

    After SIGTERM and SIGINT its tasks run on, and the next life adopts them. SIGUSR1 makes it end its tasks and leave for
    good, as in Mesos. A Redis that is down is waited for, with a line in the log.

    Args:
        config: The settings.
        stop: Ends it instead of signals, where it is not the process's main business.

    Raises:
        ConfigError: A setting cannot be used, or the agent's id is another's; the message says which.
        Unavailable: The HTTP port is taken, or Docker was asked for and does not answer, or the disk takes nothing.
    """
    on_signals = stop is None
    stop = _stop_on_signals() if stop is None else stop
    with ExitStack() as cleanup:
        work_dir = open_work_dir(config.work_dir)
        cleanup.callback(work_dir.close)
        clock = SystemClock()
        inbox = Inbox()
        shell = _assemble(config, work_dir, inbox, clock, cleanup)
        if on_signals:
            _leave_on_signal(inbox, clock)
        shell.run(stop)
        agent_id = shell.core.info.agent_id
        if shell.refusal:
            raise ConfigError(f"the master does not take agent {agent_id!r}: {shell.refusal}")
        if shell.left:
            work_dir.retire(agent_id)
        _log.info("agent.stopped", agent_id=agent_id, left=shell.left)


def _assemble(
    config: AgentConfig, work_dir: WorkDir, inbox: Inbox, clock: SystemClock, cleanup: ExitStack
) -> AgentShell:
    """Open everything, each thing after those that it needs; `cleanup` closes it in reverse."""
    checkpoint, records = _checkpoint(config, work_dir, clock.now_ms())
    cleanup.callback(checkpoint.close)
    hostname = config.hostname or socket.gethostname()
    agent_id = work_dir.identify(config.agent_id, hostname)
    window = _Window(inbox)
    chosen = _containerizer(config, _kind(config, work_dir, records), agent_id, work_dir.path, window.report)
    cleanup.callback(chosen.containerizer.close)
    work_dir.keep_containerizer(chosen.kind)
    http = AgentHttp(
        host=config.http_host, port=config.http_port, work_dir=work_dir.path, state=window.view, hostname=hostname
    )
    http.start()
    cleanup.callback(http.close)
    url = advertised_url(http.url, config.http_advertise_host)
    info = _info(config, agent_id, hostname, work_dir.path, url, chosen)
    core = AgentCore.recover(
        records,
        info,
        session=SessionId(secrets.token_hex(8)),
        life=secrets.token_bytes(LIFE_BYTES),
        boot_id=BOOT_ID_PATH.read_text(encoding="ascii").strip(),
        sandbox_root=work_dir.sandbox_root,
        patience=ExecutorPatience(
            registration_ms=config.executor_registration_timeout_ms,
            reregistration_ms=config.executor_reregistration_timeout_ms,
        ),
    )
    services = open_executor_services(
        config, work_dir.path, window.heard, lambda: inbox.waiting > MAX_WAITING_BESIDE_EXECUTORS, cleanup
    )
    window.services = services
    observers: list[FlowerObserver] = []
    if config.flower:
        presence = _flower(config, info, inbox, clock, work_dir.path)
        presence.start()
        cleanup.callback(presence.close)
        observers.append(FlowerObserver(presence))
    store = open_store(config.redis_url, config.cluster)
    cleanup.callback(store.close)
    bus = open_bus(config.redis_url, config.cluster)
    cleanup.callback(bus.close)
    window.shell = AgentShell(
        core=core,
        store=store,
        bus=bus,
        containerizer=chosen.containerizer,
        inbox=inbox,
        checkpoint=checkpoint,
        clock=clock,
        # Registrations are to be spread, not to be unguessable.
        random=random.Random(core.session).random,
        principal=config.principal,
        cluster=config.cluster,
        disk=DiskWatch(work_dir.path, checkpoint, tidy=partial(_tidy, services)),
        observers=observers,
        links=services.links,
        bundle_dir=services.bundle_dir,
        executor_observers=observers,
        drop_framework=services.blocks.store.framework_over,
        confirm_delay_ms=CONFIRM_DELAY_MS,
    )
    _log.info("agent.started", agent_id=agent_id, url=url, redis=shown(config.redis_url), containerizer=chosen.reason)
    return window.shell


def _tidy(services: ExecutorServices) -> None:
    services.tidy()
    # Each of an agent's dozen threads has an arena of its own, in which its imports and its busiest moment have left something.
    trim()


class _Window:
    """Shows the shell, and what serves executors, to those who must be made before them."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox: Final = inbox
        self.shell: AgentShell | None = None
        self.services: ExecutorServices | None = None

    def view(self) -> dict[str, object]:
        """What the agent tells about itself; nothing before it runs."""
        if self.shell is None or self.services is None:
            return {}
        return self.shell.view() | self.services.view()

    def heard(self, event: LinkEvent) -> None:
        """Take what an executor said."""
        if self.shell is not None:
            self.shell.heard(event)
        else:
            self._inbox.put(event)

    def report(self, event: ContainerEvent) -> None:
        """Pass on what happened to a container; the end of an executor's behind all that it has said."""
        if isinstance(event, ContainerExited) and self.services is not None:
            self.services.links.when_heard(event.container_id, partial(self._inbox.put, event))
        else:
            self._inbox.put(event)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return stop


def _leave_on_signal(inbox: Inbox, clock: SystemClock) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        inbox.put(ShutdownRequested(now_ms=clock.now_ms(), message="its operator told it to (SIGUSR1)"))

    signal.signal(signal.SIGUSR1, leave)


def _checkpoint(config: AgentConfig, work_dir: WorkDir, now_ms: int) -> tuple[SqliteCheckpoint, list[Put]]:
    """Open the checkpoint; where it was damaged, end what its agent ran, and retire the agent's id."""
    checkpoint, records, damage = open_checkpoint(work_dir.checkpoint_path, now_ms)
    stored = work_dir.stored_id()
    if damage:
        _log.error("agent.checkpoint_damaged", agent_id=stored, reason=damage, kept_in=str(work_dir.path))
    if damage and stored is not None:
        _end_orphans(config, stored, work_dir)
        work_dir.retire(stored)
    return checkpoint, records


def _end_orphans(config: AgentConfig, agent_id: AgentId, work_dir: WorkDir) -> None:
    """End the containers of an agent whose memory is lost, and wait for it, but not for ever."""
    gone: set[str] = set()
    changed = threading.Condition()

    def note(event: ContainerEvent) -> None:
        if isinstance(event, ContainerExited):
            with changed:
                gone.add(event.container_id)
                changed.notify_all()

    kind = _stored_kind(work_dir) or config.containerizer
    containerizer = _containerizer(config, kind, agent_id, work_dir.path, note).containerizer
    orphans = set(containerizer.recover())
    for container_id in sorted(orphans):
        containerizer.kill(container_id, grace_ms=0)
    with changed:
        all_gone = changed.wait_for(lambda: orphans <= gone, timeout=MAX_ORPHAN_WAIT_MS / 1000)
    containerizer.forget([ContainerId(each) for each in sorted(gone)])
    containerizer.close()
    _log.warning("agent.orphans_ended", agent_id=agent_id, count=len(orphans), all_gone=all_gone)


def _kind(config: AgentConfig, work_dir: WorkDir, records: Sequence[Put]) -> Kind:
    """Say which containerizer is wanted: while there are tasks or executors, what they run in, whatever fits best by now.

    An engine that is down for a moment would otherwise cost the agent all its tasks, which run on, and nobody would know them.
    """
    has_tasks = any(
        (isinstance(each, ProgressRecord) and each.phase is not Phase.ENDED)
        or (isinstance(each, ExecutorRecord) and each.phase is not ExecutorPhase.ENDED)
        for each in records
    )
    stored = _stored_kind(work_dir)
    return stored if config.containerizer == "auto" and has_tasks and stored is not None else config.containerizer


def _stored_kind(work_dir: WorkDir) -> Kind | None:
    match work_dir.stored_containerizer():
        case "docker":
            return "docker"
        case "process":
            return "process"
        case _:
            return None


def _containerizer(config: AgentConfig, kind: Kind, agent_id: AgentId, work_dir: Path, sink: EventSink) -> Chosen:
    policy = ContainerPolicy(
        default_image=config.image,
        allow_privileged=config.allow_privileged,
        allow_host_network=config.allow_host_network,
        allow_root=config.allow_root,
        bridge_network=config.bridge_network,
        allowed_host_paths=config.allowed_host_paths,
        pids_limit=config.pids_limit,
        max_output_bytes=config.max_output_bytes,
        fetch_file_roots=config.fetch_file_roots,
    )
    return open_containerizer(kind, policy, agent_id, work_dir, sink, cluster=config.cluster)


def _info(config: AgentConfig, agent_id: AgentId, hostname: str, work_dir: Path, url: str, chosen: Chosen) -> AgentInfo:
    return AgentInfo(
        agent_id=agent_id,
        hostname=hostname,
        url=url,
        resources=resources_of(config.resources, work_dir),
        attributes=attributes_of(config.attributes),
        containerizer=chosen.reason,
        version=version("mesolite"),
    )


def _flower(config: AgentConfig, info: AgentInfo, inbox: Inbox, clock: SystemClock, work_dir: Path) -> FlowerPresence:
    view = AgentView(
        hostname=info.hostname,
        containerizer=info.containerizer,
        resources_milli=tuple((each.name, each.scalar) for each in info.resources if each.scalar is not None),
        version=info.version,
        url=info.url,
    )
    return FlowerPresence(
        agent_id=info.agent_id,
        broker_url=config.redis_url,
        details=lambda: view,
        on_terminate=lambda framework_id, task_id: inbox.put(
            TaskEndRequested(now_ms=clock.now_ms(), task_id=task_id, framework_id=framework_id)
        ),
        cluster=config.cluster,
        shown_tasks_per_s=config.flower_tasks_per_s,
        # Of another agent's, which had this directory before, nothing is told.
        endings=Endings(work_dir / f"flower-{info.agent_id}.jsonl"),
    )
