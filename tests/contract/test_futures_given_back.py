"""Workers that a pool gives back, to the cluster or to calls of another kind, take no call with them."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesolite.frameworks.futures import Executor
from mesolite.frameworks.futures.settings import EXECUTOR_IDLE_MS
from tests.waiting import eventually

from .futures_pools import MEM_MIB

pytestmark = pytest.mark.redis

PATIENCE_S = 60.0
#: So much of an agent's four that no two workers are on one.
CPUS = 3


def wait_for(begun: str, gate: str) -> int:
    """Return the id of the process that started the worker's parent: the executor."""
    with open(begun, "w"):  # noqa: PTH123 - sent by value: the less it names the better
        pass
    while not os.path.exists(gate):  # noqa: PTH110
        threading.Event().wait(0.02)
    with open(f"/proc/{os.getppid()}/stat") as stat:  # noqa: PTH123
        return int(stat.read().rpartition(")")[2].split()[1])


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that workers, whoever they are, may write to."""
    with tempfile.TemporaryDirectory(prefix="mesolite-given-back-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("longer", [0, 1])
def test_of_two_executors_the_one_goes_whose_worker_has_no_call(
    process_cluster_url: str, shared: Path, longer: int
) -> None:
    """Whichever of them that is; and long before it would for nothing but its idleness."""
    with Executor(process_cluster_url, cpus=CPUS, mem_mib=MEM_MIB, idle_timeout=0.5) as executor:
        gates = [shared / f"gate-{number}" for number in range(2)]
        begun = [shared / f"begun-{number}" for number in range(2)]
        calls = [executor.submit(wait_for, str(begun[number]), str(gates[number])) for number in range(2)]
        eventually(lambda: all(each.exists() for each in begun), within_s=PATIENCE_S)
        gates[1 - longer].touch()
        idle = Path(f"/proc/{calls[1 - longer].result(PATIENCE_S)}")
        eventually(lambda: not idle.exists(), within_s=EXECUTOR_IDLE_MS / 1000 - 5)
        assert not calls[longer].done()
        gates[longer].touch()
        assert calls[longer].result(PATIENCE_S) > 0


def test_calls_of_a_second_kind_do_not_wait_until_all_of_the_first_have_ended(process_cluster_url: str) -> None:
    with Executor(process_cluster_url, cpus=CPUS, mem_mib=MEM_MIB) as executor:
        executor.submit(time.sleep, 0).result(PATIENCE_S)
        many = [executor.submit(time.sleep, 0.2) for _ in range(1_000)]
        executor.options(cpus=CPUS, mem_mib=MEM_MIB + 1).submit(time.sleep, 0).result(PATIENCE_S)
        assert not many[-1].done()
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(each.cancelled() or each.exception(PATIENCE_S) is None for each in many), "no call was lost by it"
