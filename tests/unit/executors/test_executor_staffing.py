"""How long the Python executor keeps the workers of calls that are tasks, and with how many timers it watches that."""

import json
import sys
from types import SimpleNamespace
from typing import cast

from mesolite.executors.driver.executor import ExecutorDriver
from mesolite.executors.driver.loop import Callback, Loop, Timer
from mesolite.executors.driver.protocol import PROTOCOL_VERSION, Subscribed, Task
from mesolite.executors.python.calls import Call, End, Function, Outcome
from mesolite.executors.python.executor import CALLS_LINGER_MS, Parts, PythonExecutor
from mesolite.executors.python.runner import Runner
from mesolite.executors.python.tasks import CallTask, encode_call

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SUBSCRIBED = Subscribed(
    PROTOCOL_VERSION, "f", "e", "a", "c", cpus=3.0, mem_mib=64, data=json.dumps({"python": PYTHON}).encode()
)


class VirtualLoop:
    """Moments without waiting for them."""

    def __init__(self) -> None:
        self._now_ms = 0.0
        self.timers: list[Timer] = []

    def now_ms(self) -> float:
        return self._now_ms

    def call_later(self, delay_ms: float, callback: Callback) -> Timer:
        self.timers.append(Timer(self._now_ms + delay_ms, callback))
        return self.timers[-1]

    def pass_time(self, ms: float) -> None:
        until_ms = self._now_ms + ms
        while due := [timer for timer in self.timers if timer.pending and timer.when_ms <= until_ms]:
            first = min(due, key=lambda timer: timer.when_ms)
            self._now_ms = max(self._now_ms, first.when_ms)
            self.timers.remove(first)
            first.fire()
        self._now_ms = until_ms

    def pending_after(self, ms: float) -> int:
        return sum(timer.pending and timer.when_ms > self._now_ms + ms for timer in self.timers)


class NotingRunner:
    """Takes calls, and the number of workers that are wanted."""

    def __init__(self) -> None:
        self.ready: list[int] = []
        self.calls: list[Call] = []
        self.workers = self.waiting = self.succeeded = self.failed = self.active = 0

    def container_resized(self, mem_bytes: int) -> None:
        """Nothing here needs memory."""

    def resize(self, workers: int) -> list[int]:
        self.workers = workers
        return []

    def submit(self, calls: list[Call]) -> None:
        self.calls += calls


def taken(*_: object, **__: object) -> bool:
    """Every update is."""
    return True


class Rig:
    """A Python executor whose calls end when told to."""

    def __init__(self) -> None:
        self.loop, self.runner = VirtualLoop(), NotingRunner()
        self._driver = cast(ExecutorDriver, SimpleNamespace(update=taken, connected=False))
        parts = Parts(runner=cast(Runner, self.runner), pool=None, store=lambda: ("", ""))

        def made(*_: object) -> Parts:
            return parts

        self.executor = PythonExecutor(cast(Loop, self.loop), made)
        self.executor.subscribed(self._driver, SUBSCRIBED)
        self._count = 0

    def begin(self) -> None:
        self._count += 1
        data = encode_call(CallTask(function=Function(b"d" * 16, b"f"), arguments=b"()"))
        self.executor.launch(self._driver, [Task(f"{self._count}", data=data)])

    def end(self) -> None:
        call = self.runner.calls.pop()
        call.done(call, Outcome(End.RETURNED, b"", ran_us=1))


def test_workers_of_calls_stay_for_a_while_after_the_last_call() -> None:
    rig = Rig()
    rig.begin()
    assert rig.runner.workers == 3, "one for each CPU"
    rig.end()
    rig.loop.pass_time(CALLS_LINGER_MS - 1)
    assert rig.runner.workers == 3
    rig.loop.pass_time(2)
    assert rig.runner.workers == 1


def test_a_later_call_prolongs_that_and_a_call_that_runs_keeps_them() -> None:
    rig = Rig()
    rig.begin()
    rig.end()
    rig.loop.pass_time(CALLS_LINGER_MS - 1000)
    rig.begin()
    rig.end()
    rig.loop.pass_time(CALLS_LINGER_MS - 1)
    assert rig.runner.workers == 3
    rig.begin()
    rig.loop.pass_time(5 * CALLS_LINGER_MS)
    assert rig.runner.workers == 3, "it runs"
    rig.end()
    rig.loop.pass_time(CALLS_LINGER_MS + 1)
    assert rig.runner.workers == 1


def test_calls_that_come_one_by_one_share_a_timer() -> None:
    rig = Rig()
    for _ in range(100):
        rig.begin()
        rig.end()
        rig.loop.pass_time(5)
    assert rig.loop.pending_after(CALLS_LINGER_MS / 2) == 1
