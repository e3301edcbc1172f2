"""What goes wrong with a call on a cluster costs that call alone, and is said as what it is."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.errors import RedisUnavailable
from mesolite.frameworks.futures import (
    ArgumentsTooLarge,
    CallLost,
    Executor,
    ImageWithoutPython,
    OutOfMemory,
    PythonMismatch,
    TooLargeForCluster,
    WorkerDied,
)
from mesolite.frameworks.futures import connection as futures_connection
from mesolite.frameworks.futures.executor import Mode
from mesolite.operator import OperatorClient
from tests.waiting import eventually

from .futures_pools import CPUS, MEM_MIB, process_cluster

pytestmark = pytest.mark.redis

PATIENCE_S = 60.0


def square(number: int) -> int:
    return number * number


def die(code: int) -> None:
    os._exit(code)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hoard(mib: int) -> int:
    """Fill memory, page by page."""
    held = bytearray(mib * 1024 * 1024)
    for place in range(0, len(held), 4096):
        held[place] = 1
    return len(held)


def stored_mib(cluster: ClusterAddress) -> int:
    """What lies in the block stores of a cluster's agents."""
    total = 0
    for row in OperatorClient(cluster.master_url).agents():
        with urllib.request.urlopen(f"{row.url}/state") as answer:
            total += json.load(answer)["blocks"]["used_mib"]
    return total


def interpreter(path: Path, version: tuple[int, int]) -> Path:
    """An interpreter that is this one, and says that it has another version."""
    path.write_text(
        f"""#!{sys.executable}
import collections, runpy, sys
Version = collections.namedtuple("Version", "major minor micro releaselevel serial")
bundle = sys.argv[1]
sys.path.insert(0, bundle)
import asyncio, cloudpickle, dataclasses, http.client, logging, typing  # what asks for the version when it is imported
sys.version_info = Version({version[0]}, {version[1]}, 0, "final", 0)
runpy.run_path(bundle, run_name="__main__")
"""
    )
    path.chmod(0o755)
    return path


def kill_executor() -> None:
    """End the process that started the worker's parent: the executor."""
    zygote = os.getppid()
    with open(f"/proc/{zygote}/stat") as stat:  # noqa: PTH123 - sent by value: the less it names the better
        executor = int(stat.read().rpartition(")")[2].split()[1])
    os.kill(executor, signal.SIGKILL)


@pytest.mark.parametrize("make_executor", ["coarse", "fine"], indirect=True)
class TestRealWorkers:
    def test_a_worker_that_dies_takes_no_other_call_with_it(self, executor: Executor) -> None:
        others = [executor.submit(square, number) for number in range(20)]
        with pytest.raises(WorkerDied, match="code 3"):
            executor.submit(die, 3).result(PATIENCE_S)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            executor.submit(kill_myself).result(PATIENCE_S)
        assert [each.result(PATIENCE_S) for each in others] == [number * number for number in range(20)]

    def test_a_call_over_its_memory_limit_says_limit_and_peak(self, executor: Executor) -> None:
        with pytest.raises(OutOfMemory) as caught:
            executor.submit(hoard, 2 * MEM_MIB).result(PATIENCE_S)
        # Either the executor sees it first, or the kernel, whose limit is that of the executor's whole container.
        assert caught.value.limit_bytes >= MEM_MIB * 1024 * 1024
        assert caught.value.peak_bytes >= MEM_MIB * 1024 * 1024
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_a_call_whose_executor_died_is_lost_and_the_pool_goes_on(self, executor: Executor) -> None:
        with pytest.raises(CallLost):
            executor.submit(kill_executor).result(PATIENCE_S)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_more_than_any_agent_has_is_refused(self, executor: Executor) -> None:
        with pytest.raises(TooLargeForCluster, match="cpus:4"):
            executor.options(cpus=64).submit(square, 3).result(PATIENCE_S)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_an_interpreter_that_is_not_there_is_named(self, executor: Executor) -> None:
        with pytest.raises(ImageWithoutPython):
            executor.options(python="/no/such/python").submit(square, 3).result(PATIENCE_S)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_another_version_of_python_is_named(self, make_executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(futures_connection, "OWN_PYTHON_VERSION", "2.7")
        with make_executor() as executor, pytest.raises(PythonMismatch, match=r"2\.7"):
            executor.submit(square, 3).result(PATIENCE_S)

    def test_blocks_of_arguments_go_with_their_calls(
        self, executor: Executor, process_cluster_address: ClusterAddress
    ) -> None:
        before = stored_mib(process_cluster_address)
        calls = [executor.submit(len, bytes(9 * 1024 * 1024)) for _ in range(3)]
        assert [each.result(PATIENCE_S) for each in calls] == [9 * 1024 * 1024] * 3
        eventually(lambda: stored_mib(process_cluster_address) <= before, within_s=PATIENCE_S)

    def test_a_call_can_be_cancelled_or_killed_while_its_arguments_travel(self, executor: Executor) -> None:
        data = bytes(30 * 1024 * 1024)
        cancelled, killed, other = (executor.submit(len, data) for _ in range(3))
        was_cancelled = cancelled.cancel()
        assert cancelled.cancelled() == was_cancelled
        killed.kill()
        futures.wait([killed], PATIENCE_S)
        assert killed.done()
        assert other.result(PATIENCE_S) == len(data)

    @pytest.mark.parametrize(("version", "words"), [((3, 99), "has Python 3.99"), ((3, 9), "is older than 3.11")])
    def test_an_interpreter_of_another_version_is_named_before_anything_runs(
        self, executor: Executor, open_dir: Path, version: tuple[int, int], words: str
    ) -> None:
        python = str(interpreter(open_dir / "python", version))
        with pytest.raises(PythonMismatch, match=words):
            executor.options(python=python).submit(square, 3).result(PATIENCE_S)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_large_results_come_by_way_of_their_agent(self, executor: Executor) -> None:
        size = 3 * 1024 * 1024
        assert executor.submit(bytes, size).result(PATIENCE_S) == bytes(size)

    def test_calls_begin_on_several_workers(self, executor: Executor) -> None:
        first = [executor.submit(time.sleep, 0.5) for _ in range(2)]
        eventually(lambda: all(each.running() or each.done() for each in first), within_s=PATIENCE_S)
        assert futures.wait(first, PATIENCE_S).not_done == set()


@pytest.mark.parametrize("mode", ["coarse", "fine"])
def test_a_program_that_just_ends_gets_its_results_and_leaves_nothing(process_cluster_url: str, mode: str) -> None:
    program = f"""
import sys
from mesolite.frameworks.futures import Executor
executor = Executor(sys.argv[1], mode={mode!r}, cpus={CPUS}, mem_mib={MEM_MIB}, name="passing-{mode}")
for number in range(3):
    executor.submit(pow, number, 2).add_done_callback(lambda future: print(future.result(), flush=True))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, process_cluster_url], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(ran.stdout.split()) == ["0", "1", "4"]


@pytest.fixture(scope="module")
def cluster_whose_agents_are_out_of_reach() -> Iterator[str]:
    """Its agents say that they are at an address where nobody listens."""
    with process_cluster('[agent]\nhttp_advertise_host = "127.0.0.2"\n') as address:
        yield address.redis_url


@pytest.mark.parametrize(("mode", "mib"), [("coarse", 40), ("fine", 2)])
def test_arguments_that_cannot_reach_an_agent_say_where_it_was_looked_for(
    cluster_whose_agents_are_out_of_reach: str, mode: Mode, mib: int
) -> None:
    with Executor(cluster_whose_agents_are_out_of_reach, mode=mode, cpus=CPUS, mem_mib=MEM_MIB) as executor:
        with pytest.raises(ArgumentsTooLarge, match=r"cannot be reached") as caught:
            executor.submit(len, bytes(mib * 1024 * 1024)).result(PATIENCE_S)
        assert "http://127.0.0.2:" in str(caught.value)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9


def test_a_redis_that_does_not_answer_is_said_at_once() -> None:
    with pytest.raises(RedisUnavailable):
        Executor("redis://127.0.0.1:1/0")
