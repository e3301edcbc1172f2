"""Fine-grained calls on a cluster: a `Backend` whose calls are tasks."""

import itertools
import threading
from collections.abc import Sequence
from typing import Final, assert_never
from uuid import uuid4

from mesolite.executors.python.calls import BlockRef, End, Outcome, Payload
from mesolite.executors.python.codec import BadBytes
from mesolite.executors.python.tasks import STORE_DATA, CallTask, decode_store, encode_call
from mesolite.protocol import FrameworkInfo

from ..driver.driver import SchedulerDriver
from .connection import ClusterPlace, Connection
from .effects import EndCall, FineRest, LaunchCalls
from .engine_blocks import BlockCarrier
from .engine_call import StorePlace, Upload
from .errors import CallError
from .events import CallKilled, CallsArrived, CallsWithdrawn, FineCall, FineEvent
from .fine import FineCore
from .loading import LoadingCore
from .options import Kind
from .programs import Program
from .scheduler import PoolScheduler
from .settings import CONNECT_TIMEOUT_MS, FIRST_QUESTION, MAX_TASK_DATA_BYTES, QUESTION_RETRIES
from .work import BackendListener, Work

_MEBIBYTE: Final = 1024 * 1024
#: What a question is called where people see tasks.
_QUESTION_NAME: Final = "where large arguments go"


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
        #: The same, of calls whose arguments do not travel with their tasks.
        self._arrived_large: list[Work] = []
        self._loading = LoadingCore(uuid4().hex)
        self._carrier = BlockCarrier(self._carried)
        self._question_numbers = itertools.count(FIRST_QUESTION)
        #: Questions under way, and whose executors are asked.
        self._questions: dict[int, Kind] = {}
        self._scheduler = PoolScheduler[FineEvent, FineRest](
            FineCore(program, max_calls=max_calls), self._carry_out, listener.broke, CONNECT_TIMEOUT_MS
        )
        self._connection = Connection(place, framework_info, self._scheduler, listener.broke)
        self._connection.start(self._scheduler.begin)

    def submit(self, works: Sequence[Work]) -> None:
        """See `Backend`."""
        large = [work for work in works if _is_large(work)]
        calls = [_call_of(work, work.arguments) for work in works if not large or not _is_large(work)]
        with self._lock:
            for work in works:
                self._works[work.number] = work
            first = not self._arrived and not self._arrived_large
            self._arrived += calls
            self._arrived_large += large
        if first:
            self._connection.post(self._take)

    def withdraw(self, work: Work) -> None:
        """See `Backend`."""
        self._connection.post(lambda driver: self._withdraw(driver, work.number))

    def kill(self, work: Work) -> None:
        """See `Backend`."""
        self._connection.post(lambda driver: self._kill(driver, work.number))

    def close(self) -> None:
        """See `Backend`."""
        self._connection.close()
        self._carrier.close()

    def join(self, timeout_s: float | None = None) -> None:
        """See `Backend`."""
        self._connection.join(timeout_s)

    # On the driver's thread

    def _take(self, driver: SchedulerDriver) -> None:
        with self._lock:
            calls, self._arrived = self._arrived, []
            large, self._arrived_large = self._arrived_large, []
        self._scheduler.apply(driver, CallsArrived(now_ms=driver.now_ms, calls=tuple(calls)))
        for work in large:
            self._loading.arrive(work.number, work.name, work.options.kind, work.arguments)
        self._load(driver)

    def _withdraw(self, driver: SchedulerDriver, number: int) -> None:
        self._works.pop(number, None)
        self._loading.forget(number)
        self._scheduler.apply(driver, CallsWithdrawn(now_ms=driver.now_ms, numbers=(number,)))
        self._load(driver)

    def _kill(self, driver: SchedulerDriver, number: int) -> None:
        if self._loading.is_loading(number):
            self._end(driver, number, Outcome(End.CANCELLED, message="killed by its caller", begun=False))
        else:
            self._scheduler.apply(driver, CallKilled(now_ms=driver.now_ms, number=number))

    def _carry_out(self, driver: SchedulerDriver, effect: FineRest) -> None:
        match effect:
            case LaunchCalls():
                self._launch(driver, effect)
            case EndCall():
                self._end(driver, effect.number, effect.ending)
            case _:
                assert_never(effect)

    def _end(self, driver: SchedulerDriver, number: int, ending: Outcome | CallError) -> None:
        kind = self._questions.pop(number, None)
        if kind is not None:
            self._answer(kind, ending)
            self._load_soon()
            return
        if self._loading.knows(number):
            self._loading.forget(number)
            self._load_soon()
        work = self._works.pop(number, None)
        if work is not None:
            work.end(ending)

    def _launch(self, driver: SchedulerDriver, launch: LaunchCalls) -> None:
        wanted = [self._is_wanted(number) for number in launch.numbers]
        tasks = [task for task, is_wanted in zip(launch.tasks, wanted, strict=True) if is_wanted]
        self._scheduler.launch(driver, launch.offer_ids, tasks)
        unwanted = tuple(number for number, is_wanted in zip(launch.numbers, wanted, strict=True) if not is_wanted)
        if unwanted:
            for number in unwanted:
                self._works.pop(number, None)
                self._loading.forget(number)
            self._load_soon()
            self._scheduler.apply(driver, CallsWithdrawn(now_ms=driver.now_ms, numbers=unwanted))

    def _is_wanted(self, number: int) -> bool:
        return number in self._questions or (number in self._works and self._works[number].claim())

    # Large arguments, on the driver's thread but for what says otherwise

    def _carried(self, upload: Upload, block: BlockRef | None, refusal: str) -> None:
        """See `BlockCarrier`; from one of its threads."""

        def tell(driver: SchedulerDriver) -> None:
            self._loading.carried(upload, block, refusal)
            self._load(driver)

        self._connection.post(tell)

    def _answer(self, kind: Kind, ending: Outcome | CallError) -> None:
        if isinstance(ending, Outcome):
            if ending.end is End.RETURNED:
                try:
                    self._loading.answered(kind, StorePlace(*decode_store(ending.payload)))
                    return
                except BadBytes as error:
                    ending = CallError(str(error))
            else:
                ending = CallError(f"no executor says where large arguments go: {ending.message or ending.end.name}")
        self._loading.unanswered(kind, ending)

    def _load_soon(self) -> None:
        """Not at once: effects of one event are carried out to their end before there is another."""
        self._connection.post(self._load)

    def _load(self, driver: SchedulerDriver) -> None:
        """Do what loading has come to."""
        for upload in self._loading.take_uploads():
            self._carrier.put(upload)
        for upload in self._loading.take_drops():
            self._carrier.drop(upload)
        for number, error in self._loading.take_failures():
            if (work := self._works.pop(number, None)) is not None:
                work.end(error)
        calls = [self._question(kind) for kind in self._loading.take_questions()]
        calls += [_call_of(self._works[number], block) for number, block in self._loading.take_loaded()]
        if calls:
            self._scheduler.apply(driver, CallsArrived(now_ms=driver.now_ms, calls=tuple(calls)))

    def _question(self, kind: Kind) -> FineCall:
        number = next(self._question_numbers)
        self._questions[number] = kind
        return FineCall(number, _QUESTION_NAME, kind, STORE_DATA, QUESTION_RETRIES)


def _is_large(work: Work) -> bool:
    assert isinstance(work.function.pickled, bytes), "functions are not put into block stores here"
    return len(work.function.pickled) + len(work.arguments) > MAX_TASK_DATA_BYTES


def _call_of(work: Work, arguments: Payload) -> FineCall:
    options = work.options
    task = CallTask(
        function=work.function,
        arguments=arguments,
        timeout_ms=options.timeout_ms,
        mem_bytes=options.mem_mib * _MEBIBYTE,
    )
    return FineCall(work.number, work.name, options.kind, encode_call(task), options.retries)
