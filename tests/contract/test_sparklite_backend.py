"""What sparklite's scheduler may expect of whatever runs its tasks: this process, and a cluster of processes."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.executors.sparklite.blocks import BlockLost
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.frameworks.futures.options import CallOptions
from mesolite.frameworks.sparklite.backend import Backend, Failed, Lost
from mesolite.frameworks.sparklite.cluster_backend import ClusterBackend, ClusterSettings
from mesolite.frameworks.sparklite.local_backend import LocalBackend

from .sparklite_backends import Rig

MEBIBYTE = 1024 * 1024


@pytest.fixture(params=["threads", pytest.param("cluster", marks=pytest.mark.redis)])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    backend: Backend
    if request.param == "threads":
        backend = LocalBackend(2)
    else:
        address: ClusterAddress = request.getfixturevalue("process_cluster_address")
        backend = ClusterBackend(
            ClusterPlace(address.redis_url, address.cluster, address.principal),
            ClusterSettings(
                name="contract",
                kind=CallOptions(cpus=1, mem_mib=320).kind,
                max_workers=2,
                idle_ms=60_000,
                max_result_bytes=8 * MEBIBYTE,
            ),
        )
    yield Rig(backend)
    backend.close()


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> NoReturn:
    raise ValueError(f"not {number}")


def wait_for_file(path: str) -> Any:
    def wait(number: int) -> int:
        while not os.path.exists(path):  # noqa: PTH110 - sent by value: the less it names the better
            threading.Event().wait(0.005)
        return number

    return wait


def test_a_task_returns_its_value_and_says_how_large_it_was(rig: Rig) -> None:
    executor = rig.start()
    task = rig.launch(rig.code(double), executor)
    assert rig.value(task) == [0, 2, 4]
    ending = rig.ending(task)
    assert not isinstance(ending, Failed | Lost)
    assert ending.metrics.result_bytes > 0


def test_a_large_value_comes_whole(rig: Rig) -> None:
    executor = rig.start()
    task = rig.launch(rig.code(lambda number: bytes([number]) * MEBIBYTE), executor)
    assert rig.value(task) == [bytes([number]) * MEBIBYTE for number in range(3)]


def test_tasks_of_one_stage_share_its_code_and_each_ends_once(rig: Rig) -> None:
    executor = rig.start()
    code = rig.code(double)
    tasks = [rig.launch(code, executor, stop) for stop in range(50)]
    assert [rig.value(task) for task in tasks] == [[2 * each for each in range(stop)] for stop in range(50)]


def test_an_exception_comes_with_its_traceback_and_as_itself(rig: Rig) -> None:
    executor = rig.start()
    ending = rig.ending(rig.launch(rig.code(fail), executor))
    assert isinstance(ending, Failed)
    assert not ending.fatal
    assert str(ending.error).startswith("ValueError: not 0")
    assert "in fail" in str(ending.error)
    assert isinstance(ending.error.__cause__, ValueError)


def test_a_value_that_cannot_be_pickled_is_named_and_fails_for_good(rig: Rig) -> None:
    executor = rig.start()
    ending = rig.ending(rig.launch(rig.code(lambda number: threading.Lock()), executor))
    assert isinstance(ending, Failed)
    assert ending.fatal
    assert "lock" in str(ending.error)


def test_a_task_for_an_executor_that_nobody_knows_is_lost_and_did_not_begin(rig: Rig) -> None:
    rig.start()
    ending = rig.ending(rig.launch(rig.code(double), "nobody"))
    assert isinstance(ending, Lost)
    assert not ending.begun


def test_a_cancelled_task_ends_whether_it_runs_or_waits(rig: Rig, open_dir: Path) -> None:
    executor = rig.start()
    code = rig.code(wait_for_file(str(open_dir / "go")))
    tasks = [rig.launch(code, executor) for _ in range(4)]
    for task in tasks:
        rig.backend.cancel(task)
    rig.backend.cancel(10_000)
    assert all(isinstance(rig.ending(task), Lost) for task in tasks)
    (open_dir / "go").touch()
    assert rig.value(rig.launch(rig.code(double), rig.executor())) == [0, 2, 4]


def test_what_is_put_can_be_read_until_it_is_dropped(rig: Rig) -> None:
    executor = rig.start()
    block = rig.backend.put("broadcast-app-1", bytes(range(256)) * 1000)
    assert block.size_bytes == 256_000
    assert block.agent_id == rig.ear.executors[executor][0]
    assert rig.backend.read(block) == bytes(range(256)) * 1000
    assert rig.backend.block_address(executor).format("broadcast-app-1") == block.url
    rig.backend.drop([block])
    gone = threading.Event()
    for _ in range(500):
        try:
            rig.backend.read(block)
        except BlockLost:
            break
        gone.wait(0.01)
    else:
        pytest.fail("the block stays")


def test_something_can_be_put_before_any_task_has_run(rig: Rig) -> None:
    rig.backend.start(rig.ear)
    block = rig.backend.put("early", b"bird")
    assert rig.backend.read(block) == b"bird"


def test_there_is_room_for_two_tasks_at_least(rig: Rig) -> None:
    assert rig.backend.default_parallelism >= 2
