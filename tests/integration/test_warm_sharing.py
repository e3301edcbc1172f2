"""Tasks of two shapes on one agent, of which one flows all the time: the other gets its turn within seconds."""

import queue
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.frameworks.celery.calls import Ending, Place
from mesolite.frameworks.celery.warm import WarmRunner
from mesolite.frameworks.futures.options import CallOptions, Kind
from tests.contract.futures_pools import process_cluster
from tests.waiting import eventually

from .warm_rig import Task, WarmRig, warm_rig

#: Eight of these fill the agent, or two that need half of it, or one that needs most of it and two of these.
SMALL: Final = CallOptions(cpus=0.5, mem_mib=128, python=sys.executable).kind
HALF: Final = CallOptions(cpus=2, mem_mib=512, python=sys.executable).kind
LARGE: Final = CallOptions(cpus=3, mem_mib=512, python=sys.executable).kind
#: So many have been submitted and have not ended.
OUTSTANDING: Final = 300
#: Seconds, on a machine that does much else: three starts and three ends of workers.
SOON_S: Final = 40.0


@pytest.fixture(scope="module")
def address() -> Generator[ClusterAddress]:
    with process_cluster(agents=1) as started:
        yield started


@pytest.fixture
def rig(address: ClusterAddress) -> Generator[WarmRig]:
    with warm_rig(address) as made:
        yield made


class Flow:
    """Tasks of one shape that never become fewer: for each that ends another is submitted."""

    def __init__(self, rig: WarmRig, runner: WarmRunner, kind: Kind) -> None:
        self._rig, self._runner, self._kind = rig, runner, kind
        self._ends: Final = queue.SimpleQueue[bool]()
        self._thread: Final = threading.Thread(target=self._feed)
        self.ended = self._submitted = 0
        self.unlike_success: Final[list[Ending]] = []

    def start(self) -> None:
        """Begin."""
        self._submit(OUTSTANDING)
        self._thread.start()

    def stop(self) -> None:
        """Submit no more, and wait for those that have been."""
        self._ends.put(False)
        self._thread.join()
        eventually(lambda: self.ended + len(self.unlike_success) == self._submitted, within_s=SOON_S)

    def note(self, ending: Ending) -> None:
        """One has ended."""
        if getattr(ending, "payload", b""):
            self.ended += 1
        else:
            self.unlike_success.append(ending)
        self._ends.put(True)

    def await_more(self, count: int) -> None:
        """Wait until so many more have ended."""
        wanted = self.ended + count
        eventually(lambda: self.ended >= wanted, within_s=SOON_S)

    def _task(self) -> Task:
        made = self._rig.task(kind=self._kind)
        flow = self

        class Flowing(Task):
            """Says when it has ended."""

            def ended(self, ending: Ending, place: Place | None) -> None:
                flow.note(ending)

        return Flowing(made.name, made.run, made.options)

    def _feed(self) -> None:
        while self._ends.get():
            self._submit(1)

    def _submit(self, count: int) -> None:
        self._submitted += count
        self._runner.submit([self._task() for _ in range(count)])


@contextmanager
def flowing(rig: WarmRig, runner: WarmRunner, kind: Kind) -> Generator[Flow]:
    """Have tasks of a shape flow, many of which have ended already."""
    flow = Flow(rig, runner, kind)
    flow.start()
    try:
        flow.await_more(OUTSTANDING)
        yield flow
    finally:
        flow.stop()


@pytest.mark.parametrize("max_workers", [None, 4])
def test_a_large_task_ends_while_small_ones_flow_and_they_flow_on(rig: WarmRig, max_workers: int | None) -> None:
    runner = rig.runner(max_workers=max_workers)
    with flowing(rig, runner, SMALL) as flow:
        large = rig.task(kind=LARGE)
        runner.submit([large])
        assert large.returned(SOON_S)[0] == large.run.task_id
        flow.await_more(OUTSTANDING)
    assert flow.unlike_success == []


def test_a_small_task_ends_while_large_ones_flow_and_they_flow_on(rig: WarmRig) -> None:
    runner = rig.runner(max_workers=None)
    with flowing(rig, runner, HALF) as flow:
        small = rig.task(kind=SMALL)
        runner.submit([small])
        assert small.returned(SOON_S)[0] == small.run.task_id
        flow.await_more(OUTSTANDING)
    assert flow.unlike_success == []
