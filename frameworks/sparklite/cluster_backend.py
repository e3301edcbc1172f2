"""Executors on a cluster: held as those of coarse-grained futures, but which of them gets a task is the DAG scheduler's to say.

    DAG scheduler --- launch(executor, task) --> engine: one kind of calls for each executor --> the executor's worker
        ^   ^                                                                                          |
        |   '--- task_ended: unpickled here, in a thread of its own where it has to be fetched <-------'
        '------- executor_changed, executor_over, agent_lost <--- CoarseCore <--- master

Executors and their end come from the scheduler core of futures (`CoarseCore`), tasks and their ends from its engine. A task that
has not left for its executor when that is over has certainly not begun.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, assert_never

from mesolite.executors.python.calls import BlockRef, Outcome
from mesolite.executors.sparklite.blocks import BlockLost, StoredBlock
from mesolite.ids import ExecutorId
from mesolite.logs import get_logger
from mesolite.transport.keys import key_prefix
from mesolite.transport.raw import connect_raw

from ..driver.driver import SchedulerDriver
from ..futures import blocks as result_blocks
from ..futures.coarse import CoarseCore
from ..futures.connection import ClusterPlace, Connection, framework, python_settings
from ..futures.effects import (
    AgentGone,
    CoarseRest,
    DrainExecutor,
    ExecutorOver,
    ExecutorUp,
    KeepExecutor,
    LaunchSlots,
    RefuseKind,
    WorkersChanged,
)
from ..futures.engine import Engine, PoolCall
from ..futures.engine_call import Ending as EngineEnding
from ..futures.engine_call import Lost as EngineLost
from ..futures.engine_call import StorePlace
from ..futures.events import CallsGiven, CoarseEvent, LoadChanged
from ..futures.holding import Holding
from ..futures.options import Kind
from ..futures.programs import Program
from ..futures.scheduler import PoolScheduler
from ..futures.settings import CONNECT_TIMEOUT_MS
from . import agent_stores, stage_function
from .backend import BackendListener, Ending, Launch, Lost
from .errors import ContextStopped, SparkError
from .task_endings import ending_of

#: How long Redis may take to answer a new connection of the engine.
_SOCKET_TIMEOUT_S: Final = 5.0
#: Results that lie in stores are fetched, and blocks removed, by so many threads: the wire is the bottleneck soon.
_CARRIERS: Final = 4
#: How long the driver's data waits for a first executor, whose agent is to store it: an image may have to be pulled.
STORE_PATIENCE_S: Final = 120.0
#: How often it looks whether an executor has said where its agent's store is.
_LOOK_S: Final = 0.02
#: How long `close` waits that the cluster knows: milliseconds, unless Redis is away.
_CLOSE_PATIENCE_S: Final = 5.0

_log = get_logger("mesolite.sparklite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What executors are, and how many workers of them there are to be."""

    #: Of the framework, for people.
    name: str
    kind: Kind
    min_workers: int = 0
    #: None: what the cluster offers.
    max_workers: int | None = None
    #: How long workers may be too many.
    idle_ms: int
    #: Larger results are refused by executors.
    max_result_bytes: int
    #: Of executors, beside PYTHONHASHSEED.
    environment: dict[str, str] = field(default_factory=dict[str, str])
    #: Where not even an executor's path to Python is the program's own; see `Program`.
    own_python: str = ""
    #: Workers that the cluster has room for, as far as is known.
    parallelism: int = 2


class _TaskCall(PoolCall):
    """A task on its way."""

    __slots__ = ("backend", "task_id")

    hears_begun = True

    backend: "ClusterBackend"
    task_id: int

    def begun(self) -> None:
        """See `PoolCall`."""
        self.backend.task_began(self.task_id)


@dataclass(slots=True, eq=False)
class _Executor:
    """An executor that is not over."""

    agent_id: str
    host: str
    #: Its tasks that have not ended.
    calls: dict[int, _TaskCall] = field(default_factory=dict[int, _TaskCall])


class ClusterBackend:
    """See `Backend`."""

    def __init__(self, place: ClusterPlace, settings: ClusterSettings) -> None:
        self._settings: Final = settings
        self._place: Final = place
        self._framework: Final = framework(settings.name, (settings.kind.role,))
        #: Guards what follows; and is notified when an executor came, or the backend is over.
        self._changed: Final = threading.Condition()
        self._executors: Final[dict[str, _Executor]] = {}
        #: Which executor has a task.
        self._holders: Final[dict[int, _Executor]] = {}
        self._wanted = 0
        #: As many of them as the scheduler knows of, and whether it is about to be told.
        self._told = 0
        self._telling = False
        #: Who waits for an executor, to store something.
        self._waiting = 0
        self._over = ""
        self._listener: BackendListener | None = None
        self._carriers: Final = ThreadPoolExecutor(_CARRIERS, thread_name_prefix="sparklite blocks")
        program = Program(
            name=settings.name,
            settings=python_settings(settings.max_result_bytes, {}),
            own_python=settings.own_python,
            # What a key's partition is, all workers must agree on; as Spark's do.
            environment={**settings.environment, "PYTHONHASHSEED": "0"},
        )
        holding = Holding(
            min_workers=settings.min_workers, max_workers=settings.max_workers, idle_ms=settings.idle_ms, drains=True
        )
        core = CoarseCore(program, settings.kind, holding)
        self._scheduler: Final = PoolScheduler[CoarseEvent, CoarseRest](
            core, self._carry_out, self._broke, CONNECT_TIMEOUT_MS, self._look
        )
        self._engine: Final = Engine(
            partial(connect_raw, place.redis_url, timeout_s=_SOCKET_TIMEOUT_S),
            key_prefix(place.cluster),
            self._framework.framework_id,
            on_broken=lambda error: self._broke(f"the connection to the workers failed: {error}"),
        )
        self._connection: Final = Connection(place, self._framework, self._scheduler, self._broke)

    @property
    def place(self) -> ClusterPlace:
        """Where the cluster is."""
        return self._place

    @property
    def framework_id(self) -> str:
        """Who this is on the cluster."""
        return self._framework.framework_id

    @property
    def default_parallelism(self) -> int:
        """See `Backend`."""
        return max(2, self._settings.parallelism)

    def start(self, listener: BackendListener) -> None:
        """See `Backend`."""
        self._listener = listener
        self._engine.start()
        self._connection.start(self._scheduler.begin)

    def want(self, tasks: int) -> None:
        """See `Backend`."""
        # Its thread is woken when it is more than it knows of. That it is less it finds out when it looks.
        with self._changed:
            self._wanted = tasks
            more = tasks > self._told and not self._telling
            self._telling = self._telling or more
        if more:
            self._connection.post(self._tell_load)

    def launch(self, launches: list[Launch]) -> None:
        """See `Backend`."""
        calls: list[_TaskCall] = []
        refused: list[int] = []
        prepared = [(launch, stage_function.arguments(launch.spec)) for launch in launches]
        with self._changed:
            for launch, arguments in prepared:
                executor = self._executors.get(launch.executor_id)
                task_id = launch.spec.task_id
                if executor is None:
                    refused.append(task_id)
                    continue
                call = _TaskCall(launch.code.function, arguments, self._ended, kind=launch.executor_id)
                call.backend, call.task_id = self, task_id
                executor.calls[task_id] = call
                self._holders[task_id] = executor
                calls.append(call)
        self._engine.submit(calls)
        for task_id in refused:
            self._tell_ended(task_id, Lost(begun=False, reason="its executor is over"))
        # An executor may have gone between the two: what was submitted for it then would wait for ever.
        for call in calls:
            if self._is_over(call):
                self._withdraw(call, "its executor is over")

    def cancel(self, task_id: int) -> None:
        """See `Backend`."""
        with self._changed:
            holder = self._holders.get(task_id)
            call = None if holder is None else holder.calls.get(task_id)
        if call is not None and self._engine.cancel(call, kill=True):
            self._end(task_id, Lost(begun=False, reason="it was cancelled before it was sent"))

    # Blocks

    def block_address(self, executor_id: str) -> str:
        """See `Backend`."""
        place = self._engine.store_of(executor_id)
        return "" if place is None else agent_stores.address_in(place)

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `Backend`."""
        tried: list[str] = []
        for agent_id, place in self._stores():
            try:
                return agent_stores.put(place, agent_id, block_id, data)
            except BlockLost as lost:
                tried.append(str(lost))
        raise SparkError(f"{len(data):,} bytes cannot be stored on any agent: {'; '.join(tried)}")

    def read(self, block: StoredBlock) -> bytes:
        """See `Backend`."""
        return agent_stores.read(block)

    def drop(self, blocks: list[StoredBlock]) -> None:
        """See `Backend`."""
        urls = [block.url for block in sorted(blocks, key=lambda block: block.agent_id)]
        with self._changed:
            if urls and not self._over:
                self._carriers.submit(_remove, urls)

    def _stores(self) -> list[tuple[str, StorePlace]]:
        """Where something can be stored; waits for a first executor.

        Raises:
            SparkError: There is none, and none comes.
        """
        with self._changed:
            self._waiting += 1
        self._connection.post(self._tell_load)
        try:
            with self._changed:
                found: list[tuple[str, StorePlace]] = []
                waited_s = 0.0
                while not found:
                    if self._over:
                        raise ContextStopped(self._over)
                    if waited_s >= STORE_PATIENCE_S:
                        raise SparkError(
                            f"no executor on an agent that serves a block store has come within {STORE_PATIENCE_S:.0f} s; "
                            "see `mesolite ps`, and `mesolite explain` with this framework's id for why none starts"
                        )
                    known = {each.agent_id: executor_id for executor_id, each in self._executors.items()}
                    places = [(agent_id, self._engine.store_of(known[agent_id])) for agent_id in sorted(known)]
                    found = [(agent_id, place) for agent_id, place in places if place is not None and place.url]
                    if not found:
                        self._changed.wait(_LOOK_S)
                        waited_s += _LOOK_S
                return found
        finally:
            with self._changed:
                self._waiting -= 1
            self._connection.post(self._tell_load)

    # Ends, from whichever thread the engine tells them

    def task_began(self, task_id: int) -> None:
        """A worker has begun a task."""
        if self._listener is not None:
            self._listener.task_began(task_id)

    def _ended(self, call: PoolCall, ending: EngineEnding) -> None:
        assert isinstance(call, _TaskCall)
        if isinstance(ending, EngineLost):
            # Of what may have begun nobody knows how far it came.
            self._end(call.task_id, Lost(begun=True, reason=ending.reason))
        elif isinstance(ending.payload, BlockRef):
            try:
                # Fetching takes long; whoever ends calls has others to end.
                self._carriers.submit(self._fetch_and_end, call.task_id, ending)
            except RuntimeError:
                return  # closed: nobody asks any more
        else:
            self._end(call.task_id, ending_of(ending, result_blocks.fetch))

    def _fetch_and_end(self, task_id: int, outcome: Outcome) -> None:
        self._end(task_id, ending_of(outcome, result_blocks.fetch))
        if isinstance(outcome.payload, BlockRef):
            _remove([outcome.payload.url])

    def _end(self, task_id: int, ending: Ending) -> None:
        with self._changed:
            holder = self._holders.pop(task_id, None)
            if holder is None:
                return
            holder.calls.pop(task_id, None)
        self._tell_ended(task_id, ending)

    def _tell_ended(self, task_id: int, ending: Ending) -> None:
        if self._listener is not None:
            self._listener.task_ended(task_id, ending)

    def _is_over(self, call: _TaskCall) -> bool:
        with self._changed:
            return call.kind not in self._executors

    def _withdraw(self, call: _TaskCall, reason: str) -> None:
        """End a task of an executor that is over, unless the engine does it, because it had left."""
        if self._engine.cancel(call, kill=True):
            self._end(call.task_id, Lost(begun=False, reason=reason))

    # On the driver's thread

    def _look(self, driver: SchedulerDriver) -> None:
        self._tell_load(driver)
        with self._changed:
            known = list(self._executors)
        # Who was to be drained got no more calls from then on, and is counted after it.
        given = {ExecutorId(each): count for each in known if (count := self._engine.given_to(each))}
        self._scheduler.apply(driver, CallsGiven(now_ms=driver.now_ms, calls=given))

    def _tell_load(self, driver: SchedulerDriver) -> None:
        with self._changed:
            calls = max(self._wanted, min(self._waiting, 1))
            self._telling = False
            if calls == self._told:
                return
            self._told = calls
        self._scheduler.apply(driver, LoadChanged(now_ms=driver.now_ms, kind=self._settings.kind, calls=calls))

    def _carry_out(self, driver: SchedulerDriver, effect: CoarseRest) -> None:
        assert self._listener is not None, "it was started"
        match effect:
            case LaunchSlots():
                self._scheduler.launch(driver, effect.offer_ids, effect.tasks)
            case ExecutorUp():
                self._up(effect)
            case WorkersChanged():
                self._workers_changed(effect.executor_id, effect.workers)
            case DrainExecutor():
                self._engine.drain(effect.executor_id)
                self._workers_changed(effect.executor_id, 0)
            case ExecutorOver():
                self._executor_over(effect)
            case AgentGone():
                self._listener.agent_lost(effect.agent_id, effect.message)
            case RefuseKind():
                # It is to be told of the same number again, if that is wanted again.
                self._told = 0
                self._listener.refused(str(effect.error))
            case KeepExecutor():
                pass  # not held so
            case _:
                assert_never(effect)

    def _up(self, effect: ExecutorUp) -> None:
        with self._changed:
            self._executors[effect.executor_id] = _Executor(effect.agent_id, effect.hostname)
            self._changed.notify_all()
        # A kind of its own: what is for it goes nowhere else.
        self._engine.executor_up(effect.executor_id, effect.executor_id)

    def _workers_changed(self, executor_id: ExecutorId, workers: int) -> None:
        with self._changed:
            executor = self._executors.get(executor_id)
        if executor is None or self._listener is None:
            return
        self._listener.executor_changed(executor_id, executor.agent_id, executor.host, workers)
        if not workers:
            # Its workers were given back: what waits there would wait until the executor is over.
            with self._changed:
                left = list(executor.calls.values())
            for call in left:
                if self._engine.cancel(call):
                    self._end(call.task_id, Lost(begun=False, reason="its executor has no workers any more"))

    def _executor_over(self, effect: ExecutorOver) -> None:
        with self._changed:
            executor = self._executors.pop(effect.executor_id, None)
        if executor is None or self._listener is None:
            return
        self._listener.executor_over(effect.executor_id, effect.message)
        self._engine.executor_over(effect.executor_id, effect.message)
        with self._changed:
            left = list(executor.calls.values())
        for call in left:
            self._withdraw(call, effect.message)

    # The end

    def _broke(self, reason: str) -> None:
        with self._changed:
            self._over = self._over or reason
            self._changed.notify_all()
        if self._listener is not None:
            self._listener.broke(reason)

    def close(self) -> None:
        """See `Backend`."""
        with self._changed:
            self._over = self._over or "the context was stopped"
            self._changed.notify_all()
        if self._listener is None:
            return  # nothing has begun
        self._connection.close()
        self._engine.close()
        self._carriers.shutdown(wait=False, cancel_futures=True)
        self._connection.join(_CLOSE_PATIENCE_S)
        self._engine.join(_CLOSE_PATIENCE_S)


def _remove(urls: list[str]) -> None:
    refused = agent_stores.remove(urls)
    if refused:
        _log.info("sparklite.blocks_stay", blocks=len(refused), reason=refused[0])
