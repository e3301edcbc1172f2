"""Tasks each in a container of its own: a `Runner` whose runs are Mesolite tasks, offered, launched and seen as any other.

A container costs a start of Python and of the application for each task, so this is for tasks that run for seconds or longer, or
that must not share a process with what ran before. The framework appears on the cluster when there is the first such task.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from mesolite.executors.python.calls import End, Function, Outcome
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import CallTask, encode_call
from mesolite.protocol import FrameworkInfo, ReconcileTask
from mesolite.resources import MILLI
from mesolite.transport.celery_events import TOLD_ELSEWHERE

from ..driver.driver import SchedulerDriver
from ..futures.connection import ClusterPlace, Connection
from ..futures.errors import ArgumentsTooLarge, CallError, CannotRun, NotPicklable
from ..futures.programs import Program
from ..futures.scheduler import PoolScheduler
from ..futures.settings import CONNECT_TIMEOUT_MS, MAX_TASK_DATA_BYTES
from . import task_function
from .calls import Ending, ExecutorView, TaskCall
from .single_core import SingleCore
from .single_events import (
    AcknowledgeUpdates,
    AskFor,
    BeginRun,
    EndRun,
    LaunchRuns,
    RunCancelled,
    RunPlace,
    RunsArrived,
    RunsAttached,
    SingleEvent,
    SingleRest,
    SingleRun,
)
from .single_records import SingleRecords
from .warm_settings import WARM_SHARE

#: Reports are some hundred KiB at most, and more does not fit into an update.
MAX_REPORT_MIB: Final = 1
_MEBIBYTE: Final = 1024 * 1024
_NEVER_LAUNCHED: Final = "its dispatcher ended before it was launched"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSettings:
    """What the containers are.

    Attributes:
        name: Of the framework, for people.
        environment: Of their processes.
        own_python: See `Program`.
        told_elsewhere: Somebody tells Flower of the tasks, so agents need not.
        is_first: See `SingleRecords`.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    own_python: str = ""
    told_elsewhere: bool = False
    is_first: bool = False


class SingleRunner:
    """See `Runner`. Nothing is launched before `start`. What is launched is kept in Redis, so that the next life knows.

    Args:
        place: The cluster.
        framework_info: Who the dispatcher is there. Its id is the same in each of its lives, and no other framework's.
        settings: What the containers are.
        broke: Told why, from any thread, when it cannot go on: the framework has ended, or another dispatcher has taken over.
        function: What runs a task in its container.

    Raises:
        RedisUnavailable: The cluster's Redis does not answer.
    """

    def __init__(
        self,
        place: ClusterPlace,
        framework_info: FrameworkInfo,
        settings: SingleSettings,
        broke: Callable[[str], None],
        *,
        function: Function = task_function.ENTRY,
    ) -> None:
        self._function: Final = function
        self._broke: Final = broke
        self._records: Final = SingleRecords(
            place.open_store(), framework_info.framework_id, is_first=settings.is_first
        )
        self._lock: Final = threading.Lock()
        #: Calls that have not ended, by name.
        self._calls: Final[dict[str, TaskCall]] = {}
        #: Of these, where those are that were launched.
        self._places: Final[dict[str, RunPlace]] = {}
        self._connected = False
        self._closed = False
        program = Program(
            name=settings.name,
            # What is sent any version of Python reads: pickles of plain values.
            settings=PythonSettings(python="", max_result_mib=MAX_REPORT_MIB),
            own_python=settings.own_python,
            environment=dict(settings.environment),
            labels=dict(TOLD_ELSEWHERE) if settings.told_elsewhere else {},
        )
        self._scheduler: Final = PoolScheduler[SingleEvent, SingleRest](
            SingleCore(program), self._carry_out, broke, CONNECT_TIMEOUT_MS, self._look, self._subscribed
        )
        self._connection: Final = Connection(
            place, framework_info, self._scheduler, broke, implicit_acknowledgements=False
        )

    def start(self) -> None:
        """Nothing is to be begun before there is a task."""

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`."""
        if runs := self._known(calls):
            self._post(lambda driver: RunsArrived(now_ms=driver.now_ms, runs=runs))

    def attach(self, calls: Sequence[TaskCall]) -> None:
        """See `Runner`. What is found to have been launched in vain is launched again.

        What was never launched ends as an outcome `REFUSED`, not begun: it may be submitted.
        """
        for call in calls:
            if self._records.never_began(call.name):
                call.ended(Outcome(End.REFUSED, message=_NEVER_LAUNCHED, begun=False), None)
        if runs := self._known([call for call in calls if not self._records.never_began(call.name)]):
            self._post(lambda driver: self._attached(driver, runs))

    def kill(self, name: str) -> None:
        """See `Runner`."""
        self._cancel(name, kill=True)

    def withdraw(self, name: str) -> None:
        """See `Runner`. What was launched counts as begun: its container may be running it already."""
        self._cancel(name, kill=False)

    def executors(self) -> Sequence[ExecutorView]:
        """See `Runner`."""
        with self._lock:
            held = [(place, self._calls[name]) for name, place in self._places.items() if name in self._calls]
        return [_view(place, call) for place, call in held]

    def close(self, *, leave_running: bool) -> None:
        """See `Runner`."""
        with self._lock:
            self._closed = True
            connected = self._connected
        if not connected:
            return
        if leave_running:
            self._connection.leave()
        else:
            self._connection.close()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until what was closed has let go, and the cluster has been told where it is to end."""
        if self._connected:
            self._connection.join(timeout_s)
        self._records.close()

    # Calls

    def _known(self, calls: Sequence[TaskCall]) -> tuple[SingleRun, ...]:
        """Remember calls, and return their runs; those that cannot be run are told so."""
        runs: list[SingleRun] = []
        for call in calls:
            run = self._run_of(call)
            if isinstance(run, SingleRun):
                with self._lock:
                    if self._calls.setdefault(run.name, call) is not call:
                        run = CannotRun(f"there is a run of the name {run.name} already: its message came twice")
            if isinstance(run, CallError):
                call.ended(run, None)
            else:
                runs.append(run)
        return tuple(runs)

    def _run_of(self, call: TaskCall) -> SingleRun | CallError:
        limit_s = call.options.max_time_s
        task = f"task {call.run.name}[{call.run.task_id}]"
        try:
            arguments = task_function.arguments(call.run)
        except NotPicklable as error:
            return error
        data = encode_call(
            CallTask(
                function=self._function,
                arguments=arguments,
                timeout_ms=None if limit_s is None else max(1, round(limit_s * 1000)),
                mem_bytes=call.options.kind.mem_mib * _MEBIBYTE,
                by_reference_from=MAX_TASK_DATA_BYTES,
            )
        )
        if len(data) > MAX_TASK_DATA_BYTES:
            return ArgumentsTooLarge(
                f'{task}: its message has {len(data)} bytes; isolation="task" takes {MAX_TASK_DATA_BYTES} at most: '
                "put what is large where the task can fetch it"
            )
        return SingleRun(call.name, call.run.name, call.options.kind, data)

    def _cancel(self, name: str, *, kill: bool) -> None:
        with self._lock:
            known = name in self._calls
        if known:
            self._post(lambda driver: RunCancelled(now_ms=driver.now_ms, name=name, kill=kill))

    def _post(self, event: Callable[[SchedulerDriver], SingleEvent]) -> None:
        with self._lock:
            if self._closed:
                return
            first, self._connected = not self._connected, True
        if first:
            self._connection.start(self._begin)
        self._connection.post(lambda driver: self._scheduler.apply(driver, event(driver)))

    # On the driver's thread

    def _begin(self, driver: SchedulerDriver) -> None:
        self._records.begin(driver.now_ms)
        self._scheduler.begin(driver)

    def _attached(self, driver: SchedulerDriver, runs: tuple[SingleRun, ...]) -> RunsAttached:
        """They may run: the life after this is to ask for them, too."""
        self._records.launch([run.name for run in runs], driver.now_ms)
        self._records.follow_up(driver, self._broke)
        return RunsAttached(now_ms=driver.now_ms, runs=runs)

    def _subscribed(self, driver: SchedulerDriver) -> None:
        """The master, or Redis, may be another."""
        self._records.rewrite()
        self._records.follow_up(driver, self._broke)

    def _look(self, driver: SchedulerDriver) -> None:
        self._records.save()
        self._records.follow_up(driver, self._broke)

    def _launch(self, driver: SchedulerDriver, effect: LaunchRuns) -> None:
        self._records.launch(effect.names, driver.now_ms)
        self._records.follow_up(driver, self._broke)
        if self._records.superseded:
            return
        with self._lock:
            self._places.update(zip(effect.names, effect.places, strict=True))
        self._scheduler.launch(driver, effect.offer_ids, effect.tasks)

    def _carry_out(self, driver: SchedulerDriver, effect: SingleRest) -> None:
        match effect:
            case LaunchRuns():
                self._launch(driver, effect)
            case AskFor():
                driver.reconcile([ReconcileTask(task_id) for task_id in effect.task_ids])
            case AcknowledgeUpdates():
                driver.acknowledge(effect.statuses)
            case BeginRun():
                with self._lock:
                    call = self._calls.get(effect.name)
                    self._places[effect.name] = effect.place
                if call is not None:
                    call.begun(effect.place)
            case EndRun():
                self._records.end(effect.name)
                self._end(effect.name, effect.ending, effect.place)
            case _:
                assert_never(effect)

    def _end(self, name: str, ending: Ending, place: RunPlace | None) -> None:
        with self._lock:
            call = self._calls.pop(name, None)
            self._places.pop(name, None)
        if call is not None:
            call.ended(ending, place)


def _view(place: RunPlace, call: TaskCall) -> ExecutorView:
    kind = call.options.kind
    own = {each.name: each.scalar or 0 for each in WARM_SHARE.shape(kind)}
    return ExecutorView(
        executor_id=place.executor_id,
        agent_id=place.agent_id,
        hostname=place.hostname,
        kind=kind,
        workers=1,
        calls=1,
        cpus_milli=kind.cpus_milli + own.get("cpus", 0),
        mem_mib=kind.mem_mib + own.get("mem", 0) // MILLI,
        image=kind.image,
    )
