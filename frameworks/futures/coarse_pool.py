"""Coarse-grained calls on a cluster: a `Backend` whose calls go to held workers directly.

Two parts work side by side. The scheduler holds workers, more of them while more calls are outstanding; the engine sends
calls to the executors that the scheduler has named to it. They meet here, and nowhere else.
"""

import threading
from collections.abc import Sequence
from functools import partial
from typing import assert_never

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.wire import Options
from mesolite.ids import ExecutorId
from mesolite.protocol import FrameworkInfo
from mesolite.transport.keys import key_prefix
from mesolite.transport.raw import connect_raw

from ..driver.driver import SchedulerDriver
from .coarse import CoarseCore
from .connection import ClusterPlace, Connection
from .effects import (
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
from .engine import Engine, PoolCall
from .engine_call import Ending, Lost
from .errors import CallLost
from .events import CallsGiven, CoarseEvent, LoadChanged
from .holding import Holding
from .loads import Load, Loads
from .options import Kind
from .programs import Program
from .scheduler import PoolScheduler
from .settings import CONNECT_TIMEOUT_MS
from .work import BackendListener, Work

#: How long Redis may take to answer a new connection of the engine.
_SOCKET_TIMEOUT_S = 5.0


class _Call(PoolCall):
    """A call of the engine's that knows the work it is."""

    __slots__ = ("load", "work")

    work: Work
    load: Load


class CoarsePool:
    """See `Backend`."""

    def __init__(
        self,
        place: ClusterPlace,
        framework_info: FrameworkInfo,
        program: Program,
        listener: BackendListener,
        *,
        kind: Kind,
        min_workers: int,
        max_workers: int | None,
        idle_ms: int,
    ) -> None:
        self._lock = threading.Lock()
        #: Calls that have not ended, by number.
        self._calls: dict[int, _Call] = {}
        #: How many there are of each kind.
        self._loads = Loads()
        #: One method object for all calls.
        self._end_call = self._ended
        #: Executors that are not over. The driver's thread's.
        self._executors: set[ExecutorId] = set()
        holding = Holding(min_workers=min_workers, max_workers=max_workers, idle_ms=idle_ms, drains=True)
        core = CoarseCore(program, kind, holding)
        self._scheduler = PoolScheduler[CoarseEvent, CoarseRest](
            core, self._carry_out, listener.broke, CONNECT_TIMEOUT_MS, self._look
        )
        self._engine = Engine(
            partial(connect_raw, place.redis_url, timeout_s=_SOCKET_TIMEOUT_S),
            key_prefix(place.cluster),
            framework_info.framework_id,
            on_broken=lambda error: listener.broke(f"the connection to the workers failed: {error}"),
        )
        self._connection = Connection(place, framework_info, self._scheduler, listener.broke)
        self._engine.start()
        self._connection.start(self._scheduler.begin)

    def submit(self, works: Sequence[Work]) -> None:
        """See `Backend`."""
        calls = [self._call_of(work) for work in works]
        with self._lock:
            for call in calls:
                self._calls[call.work.number] = call
                call.load = self._loads.count(call.work.options.kind)
            tell = self._loads.is_to_be_told()
        if tell:
            self._connection.post(self._tell_load)
        self._engine.submit(calls)

    def withdraw(self, work: Work) -> None:
        """See `Backend`."""
        call = self._forget(work)
        if call is not None:
            self._engine.cancel(call)

    def kill(self, work: Work) -> None:
        """See `Backend`."""
        with self._lock:
            call = self._calls.get(work.number)
        if call is not None and self._engine.cancel(call, kill=True):
            self._forget(work)
            work.end(Outcome(End.CANCELLED, message="killed by its caller", begun=False))

    def close(self) -> None:
        """See `Backend`."""
        self._connection.close()
        self._engine.close()

    def join(self, timeout_s: float | None = None) -> None:
        """See `Backend`."""
        self._connection.join(timeout_s)
        self._engine.join(timeout_s)

    def _call_of(self, work: Work) -> _Call:
        options = work.options
        call = _Call(
            work.function,
            work.arguments,
            self._end_call,
            claim=work.future.claim,
            kind=options.kind,
            options=Options(timeout_ms=options.timeout_ms) if options.timeout_ms is not None else None,
            retries=options.retries,
        )
        call.work = work
        return call

    # Ends, from whichever thread the engine tells them

    def _ended(self, call: PoolCall, ending: Ending) -> None:
        assert isinstance(call, _Call)
        if self._forget(call.work) is None:
            return
        if isinstance(ending, Lost):
            begun = "had begun" if ending.begun else "may have begun"
            call.work.end(
                CallLost(f"{call.work.name} was lost with executor {ending.executor_id}, and {begun}: {ending.reason}")
            )
        else:
            call.work.end(ending)

    def _forget(self, work: Work) -> _Call | None:
        with self._lock:
            call = self._calls.pop(work.number, None)
            if call is not None:
                call.load.calls -= 1
        return call

    def _tell_load(self, driver: SchedulerDriver) -> None:
        with self._lock:
            changed = self._loads.take_changed()
        for kind, calls in changed:
            self._scheduler.apply(driver, LoadChanged(now_ms=driver.now_ms, kind=kind, calls=calls))

    # On the driver's thread

    def _look(self, driver: SchedulerDriver) -> None:
        self._tell_load(driver)
        # Who was to be drained got no more calls from then on, and is counted after it.
        given = {each: count for each in self._executors if (count := self._engine.given_to(each))}
        self._scheduler.apply(driver, CallsGiven(now_ms=driver.now_ms, calls=given))

    def _carry_out(self, driver: SchedulerDriver, effect: CoarseRest) -> None:
        match effect:
            case LaunchSlots():
                self._scheduler.launch(driver, effect.offer_ids, effect.tasks)
            case ExecutorUp():
                self._executors.add(effect.executor_id)
                self._engine.executor_up(effect.executor_id, effect.kind)
            case DrainExecutor():
                self._engine.drain(effect.executor_id)
            case ExecutorOver():
                self._executors.discard(effect.executor_id)
                self._engine.executor_over(effect.executor_id, effect.message)
            case RefuseKind():
                self._refuse(effect)
            case WorkersChanged() | KeepExecutor() | AgentGone():
                pass  # executors say themselves how many workers they have, and nothing is kept on agents
            case _:
                assert_never(effect)

    def _refuse(self, refusal: RefuseKind) -> None:
        with self._lock:
            self._loads.refused(refusal.kind)
            calls = [call for call in self._calls.values() if call.work.options.kind == refusal.kind]
        for call in calls:
            self._engine.cancel(call, kill=True)
            if self._forget(call.work) is not None:
                call.work.end(refusal.error)
