"""Fine-grained calls on a cluster: a `Backend` whose calls are tasks."""

import threading
from collections.abc import Sequence
from typing import assert_never

from mesolite.executors.python.tasks import CallTask, encode_call
from mesolite.protocol import FrameworkInfo

from ..driver.driver import SchedulerDriver
from .connection import ClusterPlace, Connection
from .effects import EndCall, FineRest, LaunchCalls
from .events import CallKilled, CallsArrived, CallsWithdrawn, FineCall, FineEvent
from .fine import FineCore
from .programs import Program
from .scheduler import PoolScheduler
from .settings import CONNECT_TIMEOUT_MS
from .work import BackendListener, Work

_MEBIBYTE = 1024 * 1024


class FinePool:
    """See `Backend`."""

    def __init__(
        self,
        place: ClusterPlace,
        framework_info: FrameworkInfo,
        program: Program,
        listener: BackendListener,
        *,
        max_calls: int | None,
    ) -> None:
        self._lock = threading.Lock()
        #: Calls that have not ended, by number; for the driver's thread, except for being put in.
        self._works: dict[int, Work] = {}
        #: Handed in and not yet taken by the driver's thread.
        self._arrived: list[FineCall] = []
        self._scheduler = PoolScheduler[FineEvent, FineRest](
            FineCore(program, max_calls=max_calls), self._carry_out, listener.broke, CONNECT_TIMEOUT_MS
        )
        self._connection = Connection(place, framework_info, self._scheduler, listener.broke)
        self._connection.start(self._scheduler.begin)

    def submit(self, works: Sequence[Work]) -> None:
        """See `Backend`."""
        calls = [_call_of(work) for work in works]
        with self._lock:
            for work in works:
                self._works[work.number] = work
            first = not self._arrived
            self._arrived += calls
        if first:
            self._connection.post(self._take)

    def withdraw(self, work: Work) -> None:
        """See `Backend`."""
        numbers = (work.number,)
        self._connection.post(
            lambda driver: self._scheduler.apply(driver, CallsWithdrawn(now_ms=driver.now_ms, numbers=numbers))
        )

    def kill(self, work: Work) -> None:
        """See `Backend`."""
        number = work.number
        self._connection.post(
            lambda driver: self._scheduler.apply(driver, CallKilled(now_ms=driver.now_ms, number=number))
        )

    def close(self) -> None:
        """See `Backend`."""
        self._connection.close()

    def join(self, timeout_s: float | None = None) -> None:
        """See `Backend`."""
        self._connection.join(timeout_s)

    # On the driver's thread

    def _take(self, driver: SchedulerDriver) -> None:
        with self._lock:
            calls, self._arrived = self._arrived, []
        self._scheduler.apply(driver, CallsArrived(now_ms=driver.now_ms, calls=tuple(calls)))

    def _carry_out(self, driver: SchedulerDriver, effect: FineRest) -> None:
        match effect:
            case LaunchCalls():
                self._launch(driver, effect)
            case EndCall():
                work = self._works.pop(effect.number, None)
                if work is not None:
                    work.end(effect.ending)
            case _:
                assert_never(effect)

    def _launch(self, driver: SchedulerDriver, launch: LaunchCalls) -> None:
        wanted = [number in self._works and self._works[number].claim() for number in launch.numbers]
        tasks = [task for task, is_wanted in zip(launch.tasks, wanted, strict=True) if is_wanted]
        self._scheduler.launch(driver, launch.offer_ids, tasks)
        unwanted = tuple(number for number, is_wanted in zip(launch.numbers, wanted, strict=True) if not is_wanted)
        if unwanted:
            for number in unwanted:
                self._works.pop(number, None)
            self._scheduler.apply(driver, CallsWithdrawn(now_ms=driver.now_ms, numbers=unwanted))


def _call_of(work: Work) -> FineCall:
    options = work.options
    task = CallTask(
        function=work.function,
        arguments=work.arguments,
        timeout_ms=options.timeout_ms,
        mem_bytes=options.mem_mib * _MEBIBYTE,
    )
    return FineCall(work.number, work.name, options.kind, encode_call(task), options.retries)
