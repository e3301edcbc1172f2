"""A stage's code on its way to a worker, and in a bare Python that has nothing but the bundle."""

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mesolite.agent.bundle import assemble_bundle
from mesolite.executors.sparklite import entry
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.nodes import Items, Step
from mesolite.executors.sparklite.results import as_list
from mesolite.executors.sparklite.shuffle_data import ShuffleSpec
from mesolite.executors.sparklite.stage_runner import StageRunner, StageUnreadable
from mesolite.executors.sparklite.steps import Map
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskMetrics, TaskMissed, TaskSpec
from mesolite.executors.sparklite.worker_state import WorkerState
from mesolite.frameworks.sparklite import SparkContext
from mesolite.frameworks.sparklite.errors import ClosureError, SparkError
from mesolite.frameworks.sparklite.stage_function import arguments, function_of, pack, pickled, result


def twice(value: int) -> int:
    """A function of the user's: of no installed package, so it travels by value."""
    return value * 2


def stage(function: Any) -> StageCode:
    """A stage of one `map`, collected."""
    return StageCode(Step(1, Items(0, 1), Map(function)), result=as_list)


def spec_of(items: list[Any], **fields: Any) -> TaskSpec:
    """A task on these items."""
    return TaskSpec("app", 0, 0, 0, 7, 0, {(0, 0): pickle.dumps(items)}, **fields)


BARE_WORKER = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
function = pickle.loads(sys.stdin.buffer.read(int(sys.argv[2])))
args, kwargs = pickle.loads(sys.stdin.buffer.read())
value = function(*args, **kwargs)
assert not any(name.split(".")[0] in ("msgspec", "redis") for name in sys.modules)
sys.stdout.buffer.write(pickle.dumps(value))
"""


def run_bare(directory: Path, function: bytes, args: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Run a call as a worker does, in a Python that knows the bundle and nothing else of Mesolite."""
    command = [sys.executable, "-I", "-S", "-c", BARE_WORKER, str(assemble_bundle(directory)), str(len(function))]
    return subprocess.run(
        command, cwd=directory, env={}, input=function + args, capture_output=True, check=False, timeout=60
    )


def test_a_task_runs_in_a_bare_python_with_the_bundle(tmp_path: Path) -> None:
    function = pack(stage(twice))
    assert isinstance(function.pickled, bytes)
    ran = run_bare(tmp_path, function.pickled, arguments(spec_of([1, 2, 3])))
    assert ran.stderr.decode() == ""
    done = result(pickle.loads(ran.stdout), len(ran.stdout))
    assert isinstance(done, TaskDone)
    assert (done.value, done.metrics.result_bytes) == ([2, 4, 6], len(ran.stdout))


def test_a_map_task_says_that_there_is_no_store_where_there_is_none(tmp_path: Path) -> None:
    function = pack(StageCode(Items(0, 1), shuffle=ShuffleSpec(3, 2, portable_hash)))
    assert isinstance(function.pickled, bytes)
    ran = run_bare(tmp_path, function.pickled, arguments(spec_of([(1, "a"), (2, "b"), (3, "c")])))
    missed = result(pickle.loads(ran.stdout), len(ran.stdout))
    assert isinstance(missed, TaskMissed)
    assert (missed.segment, missed.lost) == (None, None), "its own agent's store is what it missed"
    assert "this executor's agent has no block store" in missed.reason


def what_functions_may_name(_value: object) -> tuple[int, str]:
    """Import what programs import, in the worker."""
    from mesolite.frameworks.sparklite import SparkContext, TaskContext

    # No assertion: pytest would make it name a module of its own.
    context = TaskContext.get()
    try:
        SparkContext()
    except RuntimeError as error:
        return context.taskAttemptId() if context else -2, str(error)
    return -1, "made"


def test_a_function_may_import_the_package_of_the_driver_where_there_is_none(tmp_path: Path) -> None:
    function = pack(stage(what_functions_may_name))
    assert isinstance(function.pickled, bytes)
    ran = run_bare(tmp_path, function.pickled, arguments(spec_of([0])))
    assert ran.stderr.decode() == ""
    [(attempt, said)] = pickle.loads(ran.stdout).value
    assert attempt == 7
    assert said.startswith("SparkContext can only be made and used on the driver")


def test_the_same_code_is_the_same_function_and_other_code_is_not() -> None:
    assert pack(stage(twice)) == pack(stage(twice))
    assert pack(stage(twice)).digest != pack(stage(abs)).digest


def test_a_lock_in_a_closure_is_named_with_the_way_to_it() -> None:
    lock = threading.Lock()

    def guarded(value: int) -> tuple[object, int]:
        return lock, value

    with pytest.raises(ClosureError, match=r"RDD 1.*function.*lock.*cannot pickle '_thread.lock' object"):
        pack(stage(guarded))


def test_an_rdd_or_the_context_in_a_closure_is_named_with_what_to_do(sc: SparkContext) -> None:
    rdd = sc.parallelize([1])
    holder = {"deep": [sc]}

    def count(value: int) -> int:
        return rdd.count() + value

    def use(value: int) -> object:
        return holder["deep"], value

    with pytest.raises(ClosureError, match=r"\(its variable rdd\): an RDD cannot be used inside a function"):
        pack(stage(count))
    with pytest.raises(
        ClosureError, match=r"\(its variable holder\)\['deep'\]\[0\]: the SparkContext cannot be used inside"
    ):
        pack(stage(use))


def test_a_module_that_the_worker_lacks_is_named_with_what_to_do(tmp_path: Path) -> None:
    runner = StageRunner(b"cno_such_module\nname\n.")
    with pytest.raises(StageUnreadable, match=r"No module named 'no_such_module'.*sc\.addPyFile"):
        runner.run(spec_of([]), WorkerState(DirectoryBlocks(tmp_path), tmp_path))


def test_within_this_process_the_same_bytes_run_in_a_state_that_the_caller_gives(tmp_path: Path) -> None:
    runner = entry.load(pickled(stage(twice)))
    done = runner.run(spec_of([5]), WorkerState(DirectoryBlocks(tmp_path), tmp_path))
    assert done.value == [10]


def test_a_value_that_is_no_end_of_a_task_is_refused() -> None:
    with pytest.raises(SparkError, match="same version of Mesolite"):
        result("something else")


def test_an_end_is_told_how_large_it_was() -> None:
    done = TaskDone(1, None, {}, {}, (), TaskMetrics())
    assert result(done, 99).metrics.result_bytes == 99


def test_a_large_code_is_carried_whole() -> None:
    function = function_of(b"x" * 70_000)
    assert isinstance(function.pickled, bytes)
    assert function.pickled.count(b"x") >= 70_000
