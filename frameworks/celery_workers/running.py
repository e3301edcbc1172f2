"""A group at work: its driver, its looks, its memory, from the start until it is told to stop.

Stopped, it leaves its workers at work: its next life, here or elsewhere, finds and keeps them. Drained, it lets them finish, and
ends the framework. A framework that was removed while nobody spoke for it is followed by a new one.
"""

import random
import threading
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from mesolite.errors import FrameworkError, RedisUnavailable
from mesolite.ids import FrameworkId, SessionId
from mesolite.logs import get_logger
from mesolite.protocol import FrameworkInfo
from mesolite.retries import Retries
from mesolite.transport.contract import Store

from ..driver.driver import SchedulerDriver
from ..driver.settings import REMOVED
from ..driver.shell import DriverShell
from .core import WorkersCore
from .effects import Remember
from .group import Group
from .looking import Looking, Lookout
from .memory import GroupMemory
from .scheduler import WorkersScheduler
from .settings import FAILOVER_TIMEOUT_MS, LOOK_INTERVAL_MS
from .status import GroupStatus

_log = get_logger("mesolite.celery_workers")


class GroupRun:
    """Runs one group.

    Args:
        group: What is wanted.
        lookout: Looks at its queues and workers.
        open_store: Opens a store of the cluster.
        changed: Told how it stands, each time that something happened; on some thread, must not block.
        principal: Whose calls stream to write.
        grace_ms: How long workers may take to end, where it is not the group's word.
        look_interval_ms: Between looks.
    """

    def __init__(
        self,
        group: Group,
        lookout: Lookout,
        open_store: Callable[[], Store],
        changed: Callable[[GroupStatus], None],
        *,
        principal: str,
        grace_ms: int | None = None,
        look_interval_ms: int = LOOK_INTERVAL_MS,
    ) -> None:
        self._group: Final = group
        self._lookout: Final = lookout
        self._open_store: Final = open_store
        self._changed: Final = changed
        self._principal: Final = principal
        self._grace_ms: Final = grace_ms
        self._look_interval_ms: Final = look_interval_ms
        self._stopping: Final = threading.Event()
        self._draining: Final = threading.Event()
        self._lock: Final = threading.Lock()
        self._life: _Life | None = None

    def run(self) -> None:
        """Run until `stop`, or until all workers are gone after `drain`.

        Raises:
            FrameworkError: The master does not want this framework.
            Superseded: The group runs elsewhere by now.
        """
        memory = self._open_memory()
        if memory is None:
            return
        try:
            while not self._stopping.is_set() and not self._run_once(memory):
                pass
        finally:
            memory.close()

    def stop(self) -> None:
        """Let go and leave the workers at work. From any thread."""
        self._stopping.set()
        with self._lock:
            if self._life is not None:
                self._life.shell.stop()

    def drain(self) -> None:
        """Let all workers finish and go, and end. From any thread."""
        self._draining.set()
        with self._lock:
            if self._life is not None:
                self._life.shell.post(self._life.scheduler.drain)

    def _open_memory(self) -> GroupMemory | None:
        """None where it is stopped before Redis answers."""
        retries = Retries()
        while not self._stopping.is_set():
            try:
                return GroupMemory(self._open_store, self._group.name)
            except RedisUnavailable as error:
                if retries.is_first:
                    _log.warning("celery_workers.redis_away", reason=str(error))
                self._stopping.wait(retries.take_ms() / 1000)
        return None

    def _run_once(self, memory: GroupMemory) -> bool:
        """Be one framework; False where it was removed meanwhile and another is to follow."""
        life = _Life(self, memory)
        with self._lock:
            self._life = life
        if self._draining.is_set():
            life.shell.post(life.scheduler.drain)
        if self._stopping.is_set():
            return True
        looking = Looking(
            self._lookout,
            lambda: life.core_nodes,
            lambda look: life.shell.post(life.scheduler.looked(look)),
            lambda reason: life.shell.post(life.scheduler.look_failed(reason)),
            self._look_interval_ms,
        )
        looking.start()
        try:
            life.shell.run()
        finally:
            looking.stop()
            with self._lock:
                self._life = None
        if life.is_drained:
            memory.end()
            return True
        if life.failure is None:
            return True
        if not life.failure.startswith(REMOVED):
            raise FrameworkError(life.failure)
        _log.warning("celery_workers.removed", framework_id=life.framework_id)
        memory.end()
        return False

    # What a life asks of its run

    @property
    def group(self) -> Group:
        """What is wanted."""
        return self._group

    def make_driver(self, scheduler: WorkersScheduler, framework_id: FrameworkId, core: WorkersCore) -> SchedulerDriver:
        """Make the driver of one life."""
        return SchedulerDriver(
            scheduler,
            FrameworkInfo(
                framework_id=framework_id,
                name=f"celery-workers {self._group.name}",
                roles=(self._group.worker.role,),
                failover_timeout_ms=FAILOVER_TIMEOUT_MS,
            ),
            session=SessionId(uuid4().hex),
            rng=random.Random(),
            known_tasks=[(worker.task_id, worker.agent_id) for worker in core.workers],
        )

    def make_shell(self, driver: SchedulerDriver) -> DriverShell:
        """Make the shell of one life."""
        return DriverShell(driver, self._open_store, principal=self._principal)

    def make_core(self, memory: GroupMemory) -> WorkersCore:
        """Make the core of one life."""
        return WorkersCore(self._group, uuid4().hex[:6], grace_ms=self._grace_ms, kept=memory.workers())

    def tell(self, status: GroupStatus) -> None:
        """Pass on how it stands."""
        self._changed(status)


class _Life:
    """One framework of the group. A listener of its scheduler."""

    def __init__(self, run: GroupRun, memory: GroupMemory) -> None:
        self._run = run
        self._memory = memory
        self.framework_id = memory.framework_id()
        self._core = run.make_core(memory)
        self.scheduler = WorkersScheduler(self._core, self)
        self._driver = run.make_driver(self.scheduler, self.framework_id, self._core)
        self.shell = run.make_shell(self._driver)
        #: Read by the thread that looks.
        self.core_nodes = self._core.nodes
        self.is_drained = False
        self.failure: str | None = None

    def changed(self, status: GroupStatus) -> None:
        """See `GroupListener`."""
        self.core_nodes = self._core.nodes
        self._memory.flush()
        self._run.tell(status)

    def remember(self, effect: Remember) -> None:
        """See `GroupListener`."""
        self._memory.remember(effect)

    def drained(self) -> None:
        """See `GroupListener`."""
        self.is_drained = True
        self._driver.teardown()

    def ended(self, message: str) -> None:
        """See `GroupListener`."""
        self.failure = message
