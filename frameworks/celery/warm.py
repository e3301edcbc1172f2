"""Tasks in warm workers: a `Runner` whose calls go straight to the executors that it holds, each one worker by default.

Two parts work side by side, as in a pool of futures. The scheduler holds workers, more of them while more calls are outstanding;
the engine sends calls to the executors that the scheduler has named to it, and tells their ends.
"""

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, assert_never

from mesolite.executors.python.calls import BlockRef, End, Function, Outcome
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.wire import Options
from mesolite.ids import AgentId, ExecutorId
from mesolite.logs import get_logger
from mesolite.protocol import FrameworkInfo
from mesolite.resources import MILLI
from mesolite.transport.keys import key_prefix
from mesolite.transport.raw import connect_raw

from ..driver.driver import SchedulerDriver
from ..futures import blocks
from ..futures.coarse import CoarseCore
from ..futures.connection import ClusterPlace, Connection
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
from ..futures.engine_call import Lost
from ..futures.engine_takeover import OutlivingCore
from ..futures.errors import BlockLost, CallError, NotPicklable
from ..futures.events import Adopted, CallsGiven, CoarseEvent, LoadChanged, Silent
from ..futures.holding import Holding
from ..futures.loads import Load, Loads
from ..futures.options import Kind
from ..futures.programs import Program
from ..futures.scheduler import PoolScheduler
from ..futures.settings import CONNECT_TIMEOUT_MS
from . import task_function
from .calls import Ending, ExecutorView, TaskCall
from .warm_records import WarmRecords
from .warm_settings import MAX_INLINE_REPORT_BYTES, WarmSettings
from .warm_silence import Silences

#: Work that may wait in a worker behind what it runs: short tasks, whose ends this process then hears of together, with a
#: fraction of the work for each. Whoever waits for a result has it from the backend when its task ends. Less than what is sent
#: ahead of a worker in any case (`engine_executor`), and than the time between an executor's looks at what runs (`runner`).
CHUNK_US: Final = 16_000
#: How long Redis may take to answer a new connection of the engine.
_SOCKET_TIMEOUT_S: Final = 5.0
#: Reports that lie in block stores are fetched by so many threads; there are next to none.
_FETCHERS: Final = 2
_MEBIBYTE: Final = 1024 * 1024
#: A dispatcher asks for what those before it gave away as its broker delivers it again: within this, however much it is.
ATTACH_WITHIN_MS: Final = 600_000

_log = get_logger("mesolite.celery")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """See `calls.Place`."""

    agent_id: str
    hostname: str
    executor_id: ExecutorId
    kind: Kind


class _WarmCall(PoolCall):
    """A task's run on its way."""

    __slots__ = ("load", "refusal", "runner", "task")

    hears_begun: ClassVar[bool] = True

    load: Load
    #: No worker of its kind can be had; None while that is not known.
    refusal: CallError | None
    runner: "WarmRunner"
    task: TaskCall

    def begun(self) -> None:
        """See `PoolCall`."""
        self.task.begun(self.runner.place_of(self.executor_id))


class WarmRunner:
    """See `Runner`. Nothing is held before `start`.

    It outlives its process: what it holds is kept in Redis, and the runner that follows it, with the same framework id within the
    failover timeout, holds it further. That one attaches to calls by their names before it submits any.

    Args:
        place: The cluster.
        framework_info: Who the dispatcher is there. Its id is the same in each of its lives.
        settings: What workers are.
        broke: Told why, from any thread, when it cannot go on: the framework has ended, or another dispatcher has taken over.
        function: What runs a task in a worker.

    Raises:
        RedisUnavailable: The cluster's Redis does not answer.
    """

    def __init__(
        self,
        place: ClusterPlace,
        framework_info: FrameworkInfo,
        settings: WarmSettings,
        broke: Callable[[str], None],
        *,
        function: Function = task_function.ENTRY,
    ) -> None:
        self._functions: Final = task_function.FunctionsByTask(function)
        self._lock: Final = threading.Lock()
        #: Calls that have not ended, by name.
        self._calls: Final[dict[str, _WarmCall]] = {}
        self._loads: Final = Loads()
        #: Executors that are up.
        self._places: Final[dict[ExecutorId, _Place]] = {}
        #: How many workers of each run.
        self._workers: Final[dict[str, int]] = {}
        #: Beside its workers, what an executor has.
        self._share: Final = settings.executor_share
        self._fetchers: Final = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch reports")
        self._broke: Final = broke
        self._records: Final = WarmRecords(place.open_store(), framework_info.framework_id)
        #: What is lost with the executor that is over just now; None while none is. The driver's thread's.
        self._losing: list[tuple[_WarmCall, Lost]] | None = None
        self._silences: Final = Silences()
        self._began_ms = 0
        self._driver_thread = 0
        self._lost_before: Final = frozenset(self._records.lost)
        #: Every executor that may have calls of earlier lives.
        self._earlier_ids: Final = [record.info.executor_id for record in self._records.earlier]
        program = Program(
            name=settings.name,
            # What is sent any version of Python reads: pickles of plain values.
            settings=PythonSettings(
                python="",
                pool={},
                max_result_mib=max(1, -(-settings.max_report_bytes // _MEBIBYTE)),
                chunk_us=CHUNK_US,
            ),
            own_python=settings.own_python,
            environment=dict(settings.environment),
        )
        holding = Holding(
            min_workers=settings.min_workers,
            max_workers=settings.max_workers,
            idle_ms=settings.idle_ms,
            workers_per_executor=settings.workers_per_executor,
            share=settings.executor_share,
            max_age_ms=settings.max_age_ms,
            drains=True,
            life=f"-{secrets.token_hex(3)}",
        )
        self._scheduler: Final = PoolScheduler[CoarseEvent, CoarseRest](
            CoarseCore(program, settings.kind, holding),
            self._carry_out,
            broke,
            CONNECT_TIMEOUT_MS,
            self._look,
            self._subscribed,
        )
        self._engine: Final = Engine(
            partial(connect_raw, place.redis_url, timeout_s=_SOCKET_TIMEOUT_S),
            key_prefix(place.cluster),
            framework_info.framework_id,
            on_broken=lambda error: broke(f"the connection to the workers failed: {error}"),
            core=OutlivingCore(),
        )
        self._connection: Final = Connection(place, framework_info, self._scheduler, broke, self._records.known_tasks())
        self._adopt()

    def start(self) -> None:
        """Begin."""
        self._engine.start()
        self._connection.start(self._begin)

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`."""
        sendable: list[_WarmCall] = []
        for task in calls:
            try:
                sendable.append(self._call_of(task, task_function.arguments(task.run)))
            except NotPicklable as error:
                task.ended(error, None)
        self._take_on(sendable)
        self._engine.submit(sendable)

    def attach(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`. What certainly never began ends as an outcome `REFUSED`, not begun: it may be submitted."""
        looked_for: list[_WarmCall] = []
        for task in calls:
            if task.name in self._lost_before:
                task.ended(Lost("", False, "its executor ended before this dispatcher began"), None)
            else:
                looked_for.append(self._call_of(task, b""))
        self._take_on(looked_for)
        self._engine.attach(looked_for, self._earlier_ids)

    def kill(self, name: str) -> None:
        """See `Runner`."""
        self._cancel(name, kill=True)

    def withdraw(self, name: str) -> None:
        """See `Runner`."""
        self._cancel(name, kill=False)

    def executors(self) -> Sequence[ExecutorView]:
        """See `Runner`."""
        with self._lock:
            held = [(place, self._workers.get(place.executor_id, 0)) for place in self._places.values()]
        return [self._view(place, workers) for place, workers in held]

    def close(self, *, leave_running: bool) -> None:
        """See `Runner`."""
        if leave_running:
            self._connection.leave()
        else:
            self._connection.close()
        self._engine.close(leave=leave_running)
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until what was closed has let go, and the cluster has been told where it is to end."""
        self._connection.join(timeout_s)
        self._engine.join(timeout_s)
        self._records.close()

    def place_of(self, executor_id: str) -> _Place | None:
        """Where an executor is; None where none has the call, or it is over."""
        with self._lock:
            return self._places.get(ExecutorId(executor_id))

    # Calls

    def _take_on(self, calls: list[_WarmCall]) -> None:
        with self._lock:
            for call in calls:
                self._calls[call.task.name] = call
                call.load = self._loads.count(call.task.options.kind)
            tell = self._loads.is_to_be_told()
        if tell:
            self._connection.post(self._look)

    def _call_of(self, task: TaskCall, arguments: bytes) -> _WarmCall:
        limit_s = task.options.max_time_s
        options = Options(
            name=task.name,
            timeout_ms=None if limit_s is None else max(1, round(limit_s * 1000)),
            by_reference_from=MAX_INLINE_REPORT_BYTES,
        )
        call = _WarmCall(
            self._functions.of(task.run.name), arguments, self._engine_ended, kind=task.options.kind, options=options
        )
        call.task, call.runner, call.refusal = task, self, None
        return call

    def _cancel(self, name: str, *, kill: bool) -> None:
        with self._lock:
            call = self._calls.get(name)
        if call is not None and self._engine.cancel(call, kill=kill):
            self._end(call, Outcome(End.CANCELLED, message="cancelled before it was sent", begun=False))

    def _engine_ended(self, call: PoolCall, ending: EngineEnding) -> None:
        """From whichever thread the engine tells it."""
        assert isinstance(call, _WarmCall)
        if isinstance(ending, Lost):
            self._lose(call, ending)
        elif call.refusal is not None and not ending.begun:
            self._end(call, call.refusal)
        elif isinstance(ending.payload, BlockRef):
            try:
                self._fetchers.submit(self._fetch_and_end, call, ending, ending.payload)
            except RuntimeError:
                return  # closed: nobody asks any more
        else:
            self._end(call, ending)

    def _fetch_and_end(self, call: _WarmCall, outcome: Outcome, block: BlockRef) -> None:
        try:
            data = blocks.fetch(block)
        except BlockLost as lost:
            self._end(call, Outcome(End.BLOCK_LOST, message=str(lost), ran_us=outcome.ran_us))
        else:
            self._end(call, Outcome(outcome.end, data, outcome.message, ran_us=outcome.ran_us))

    def _end(self, call: _WarmCall, ending: Ending) -> None:
        with self._lock:
            if self._calls.get(call.task.name) is not call:
                return
            del self._calls[call.task.name]
            call.load.calls -= 1
            place = self._places.get(ExecutorId(call.executor_id))
        call.task.ended(ending, place)

    # Outliving

    def _adopt(self) -> None:
        """Take over what earlier lives had, before anybody asks for calls."""
        for record in self._records.earlier:
            if not record.over:
                self._hold(record.info.executor_id, record.kind, record.agent_id, record.hostname)
                self._workers[record.info.executor_id] = len(record.tasks)

    def _is_settled(self, driver: SchedulerDriver) -> bool:
        """Whether whatever earlier lives gave away was asked for."""
        return driver.now_ms - self._began_ms >= ATTACH_WITHIN_MS

    def _begin(self, driver: SchedulerDriver) -> None:
        self._driver_thread, self._began_ms = threading.get_ident(), driver.now_ms
        self._scheduler.begin(driver)
        living = tuple(record for record in self._records.earlier if not record.over)
        self._scheduler.apply(driver, Adopted(now_ms=driver.now_ms, records=living))

    def _subscribed(self, driver: SchedulerDriver) -> None:
        """The master, or Redis, may be another."""
        self._silences.forget()
        self._records.rewrite()
        self._records.follow_up(driver, self._broke)

    def _lose(self, call: _WarmCall, lost: Lost) -> None:
        """A call is lost: that is written first, so that no life takes it for one that never began, and then said."""
        if self._losing is not None and threading.get_ident() == self._driver_thread:
            self._losing.append((call, lost))
        else:
            self._connection.post(partial(self._lose_now, call, lost))

    def _lose_now(self, call: _WarmCall, lost: Lost, driver: SchedulerDriver) -> None:
        self._records.lose([call.task.name], driver.now_ms)
        self._end(call, lost)

    def _executor_over(self, driver: SchedulerDriver, effect: ExecutorOver) -> None:
        is_earlier = effect.executor_id in self._earlier_ids and not self._is_settled(driver)
        is_asked = is_earlier or self._engine.searches_in(effect.executor_id)
        self._losing = []
        self._engine.executor_over(effect.executor_id, effect.message)
        losing, self._losing = self._losing, None
        self._records.over(effect.executor_id, [call.task.name for call, _ in losing], driver.now_ms, keep=is_asked)
        for call, lost in losing:
            self._end(call, lost)
        with self._lock:
            self._places.pop(effect.executor_id, None)
            self._workers.pop(effect.executor_id, None)

    # On the driver's thread

    def _look(self, driver: SchedulerDriver) -> None:
        """Tell the scheduler what it is not woken for."""
        with self._lock:
            changed = self._loads.take_changed()
            known = list(self._places)
        for kind, calls in changed:
            self._scheduler.apply(driver, LoadChanged(now_ms=driver.now_ms, kind=kind, calls=calls))
        # After what the loads led to: whoever is to be drained gets no more calls, and is counted after it.
        given = {place: count for place in known if (count := self._engine.given_to(place))}
        self._scheduler.apply(driver, CallsGiven(now_ms=driver.now_ms, calls=given))
        silent = self._silences.look(driver.now_ms, self._engine.awaited() if driver.subscribed else {})
        if silent:
            _log.warning("celery.executors_silent", executor_ids=silent)
            self._scheduler.apply(driver, Silent(now_ms=driver.now_ms, executor_ids=silent))
        self._records.save()
        if not self._engine.searches and self._is_settled(driver):
            self._records.searched()
        self._records.follow_up(driver, self._broke)

    def _carry_out(self, driver: SchedulerDriver, effect: CoarseRest) -> None:
        match effect:
            case LaunchSlots():
                if not self._records.superseded:
                    self._scheduler.launch(driver, effect.offer_ids, effect.tasks)
            case KeepExecutor():
                self._records.keep(effect.record)
                self._records.follow_up(driver, self._broke)
            case ExecutorUp():
                self._hold(effect.executor_id, effect.kind, effect.agent_id, effect.hostname)
            case WorkersChanged():
                with self._lock:
                    self._workers[effect.executor_id] = effect.workers
            case DrainExecutor():
                self._engine.drain(effect.executor_id)
            case ExecutorOver():
                self._executor_over(driver, effect)
            case RefuseKind():
                self._refuse(effect)
            case AgentGone():
                pass  # nothing is kept on agents
            case _:
                assert_never(effect)

    def _hold(self, executor_id: ExecutorId, kind: Kind, agent_id: AgentId, hostname: str) -> None:
        place = _Place(agent_id=agent_id, hostname=hostname, executor_id=executor_id, kind=kind)
        with self._lock:
            self._places[executor_id] = place
        self._engine.executor_up(executor_id, kind)

    def _refuse(self, refusal: RefuseKind) -> None:
        with self._lock:
            self._loads.refused(refusal.kind)
            calls = [call for call in self._calls.values() if call.task.options.kind == refusal.kind]
        for call in calls:
            # What runs nevertheless goes on.
            call.refusal = refusal.error
            if self._engine.cancel(call):
                self._end(call, refusal.error)

    def _view(self, place: _Place, workers: int) -> ExecutorView:
        kind = place.kind
        own = {each.name: each.scalar or 0 for each in self._share.shape(kind)}
        return ExecutorView(
            executor_id=place.executor_id,
            agent_id=place.agent_id,
            hostname=place.hostname,
            kind=kind,
            workers=workers,
            calls=self._engine.given_to(place.executor_id),
            cpus_milli=workers * kind.cpus_milli + own.get("cpus", 0),
            mem_mib=workers * kind.mem_mib + own.get("mem", 0) // MILLI,
            image=kind.image,
        )
