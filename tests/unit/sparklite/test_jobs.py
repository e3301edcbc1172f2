"""Jobs from the call to the results: on pretended executors that can be told to be lost, with agents and blocks."""

import gc
import operator
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from mesolite.errors import ConfigError
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.frameworks.sparklite import RDD, SparkConf, SparkContext
from mesolite.frameworks.sparklite.errors import ClosureError, ContextStopped, JobCancelled, JobFailed, TaskError
from mesolite.frameworks.sparklite.listener import (
    JobBegan,
    JobFinished,
    SparkEvent,
    StageBegan,
    StageWasSkipped,
    TaskFinished,
)
from mesolite.frameworks.sparklite.local_backend import LocalBackend
from mesolite.frameworks.sparklite.local_executor import LocalAgent
from tests.waiting import eventually


class Witness:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[SparkEvent] = []
        self.closed = False

    def heard(self, event: SparkEvent) -> None:
        """See `SparkListener`."""
        self.events.append(event)

    def close(self) -> None:
        """See `SparkListener`."""
        self.closed = True

    def named(self, kind: type[Any]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def sc() -> Iterator[SparkContext]:
    """Two agents with an executor of two workers each."""
    with SparkContext("local-cluster[2,2,1024]", "jobs", conf=SparkConf().set("spark.task.maxFailures", "4")) as made:
        yield made


@pytest.fixture
def witness(sc: SparkContext) -> Witness:
    heard = Witness()
    sc.add_listener(heard)
    return heard


def backend_of(sc: SparkContext) -> LocalBackend:
    return cast("LocalBackend", vars(sc)["_backend"])


def counted(sc: SparkContext) -> RDD[Any]:
    """How often each of five keys comes in a hundred pairs, behind a shuffle."""
    return sc.parallelize(range(100), 6).map(lambda number: (number % 5, 1)).reduceByKey(operator.add, 3)


COUNTED = [(key, 20) for key in range(5)]


def gate(path: Path) -> Callable[[Any], Any]:
    """A function that marks that it runs, and waits until it may go on."""
    began, go = str(path / "began"), str(path / "go")

    def wait(value: Any) -> Any:
        open(began, "a").close()  # noqa: PTH123 - sent by value: the less it names the better
        while not os.path.exists(go):  # noqa: PTH110 - as above
            threading.Event().wait(0.005)
        return value

    return wait


class TestResults:
    def test_values_come_in_the_order_of_partitions(self, sc: SparkContext) -> None:
        assert sc.parallelize(range(100), 17).map(lambda number: number + 1).collect() == list(range(1, 101))

    def test_a_job_on_no_partitions_has_no_results(self, sc: SparkContext) -> None:
        assert sc.runJob(sc.parallelize(range(10), 3), list, []) == []

    def test_runjob_runs_on_the_partitions_that_are_named(self, sc: SparkContext) -> None:
        assert sc.runJob(sc.parallelize(range(6), 3), lambda part: [each * each for each in part]) == [
            0,
            1,
            4,
            9,
            16,
            25,
        ]
        assert sc.runJob(sc.parallelize(range(6), 3), lambda part: [each * each for each in part], [0, 2], True) == [
            0,
            1,
            16,
            25,
        ]

    def test_a_shuffle_is_made_once_and_found_by_later_jobs(self, sc: SparkContext, witness: Witness) -> None:
        pairs = counted(sc)
        assert sorted(pairs.collect()) == COUNTED
        assert pairs.count() == 5
        assert len(witness.named(StageWasSkipped)) == 1
        assert len(witness.named(StageBegan)) == 3

    def test_many_threads_submit_jobs_at_once(self, sc: SparkContext) -> None:
        shared = counted(sc)
        with ThreadPoolExecutor(8) as threads:

            def numbers(stop: int) -> list[int]:
                return sc.parallelize(range(stop), 4).map(lambda each: each).collect()

            lists = threads.map(numbers, range(20))
            counts = [threads.submit(shared.collect) for _ in range(20)]
            assert list(lists) == [list(range(stop)) for stop in range(20)]
            assert all(sorted(each.result()) == COUNTED for each in counts)

    def test_results_above_the_limit_are_refused_with_the_name_of_the_setting(self) -> None:
        with SparkContext("local[2]", conf=SparkConf().set("spark.driver.maxResultSize", "1m")) as sc:
            large = sc.parallelize(range(8), 8).map(lambda number: os.urandom(300_000))
            with pytest.raises(JobFailed, match=r"1 MiB in all.*spark\.driver\.maxResultSize"):
                large.collect()
            assert large.count() == 8


class TestFailures:
    def test_the_error_says_where_and_how_often_and_has_the_users_exception_as_its_cause(self) -> None:
        with SparkContext("local[2]") as sc:
            with pytest.raises(JobFailed) as caught:
                sc.parallelize(range(4), 4).map(lambda number: 1 // (number - 2)).collect()
            text = str(caught.value)
            for part in (
                "collect at test_jobs.py:",
                "partition 2 of stage",
                "on localhost",
                "ZeroDivisionError",
                "Traceback",
            ):
                assert part in text
            task_error = caught.value.__cause__
            assert isinstance(task_error, TaskError)
            assert (task_error.partition, task_error.attempt, task_error.host) == (2, 0, "localhost")
            assert isinstance(task_error.__cause__, ZeroDivisionError)
            assert sc.parallelize([1]).collect() == [1], "and the context goes on"

    def test_the_traceback_begins_where_the_program_can_do_something_about_it(self) -> None:
        with SparkContext("local[2]") as sc, pytest.raises(JobFailed) as caught:
            sc.parallelize([1], 1).map(lambda number: 1 // 0).collect()
        files = [line for line in str(caught.value).splitlines() if line.startswith("  File")]
        assert not any("worker_state.py" in line or "task.py" in line for line in files)
        assert "<lambda>" in files[-1]

    def test_a_task_is_tried_as_often_as_is_set(self, sc: SparkContext, witness: Witness) -> None:
        with pytest.raises(JobFailed, match="tried 4 times"):
            sc.parallelize([1], 1).map(lambda number: 1 // 0).collect()
        assert len([each for each in witness.named(TaskFinished) if each.outcome == "failed"]) == 4

    def test_a_task_that_fails_once_and_then_goes_through_is_no_failure(self, sc: SparkContext, tmp_path: Path) -> None:
        mark = str(tmp_path / "failed")

        def once(number: int) -> int:
            if number == 3 and not os.path.exists(mark):  # noqa: PTH110
                open(mark, "a").close()  # noqa: PTH123
                raise OSError("the first time")
            return number

        assert sc.parallelize(range(6), 3).map(once).collect() == list(range(6))

    def test_a_closure_over_the_context_is_refused_when_the_job_is_submitted(self, sc: SparkContext) -> None:
        with pytest.raises(ClosureError, match="SparkContext cannot be used inside"):
            sc.parallelize([1]).map(lambda number: sc.appName).collect()

    def test_a_closure_over_an_rdd_is_refused(self, sc: SparkContext) -> None:
        other = sc.parallelize([1])
        with pytest.raises(ClosureError, match="RDD cannot be used inside"):
            sc.parallelize([1]).map(lambda number: other.count()).collect()

    def test_functions_that_hold_too_much_are_refused_with_what_to_do(self, sc: SparkContext) -> None:
        ballast = bytes(40_000_000)
        with pytest.raises(ClosureError, match="broadcast large values"):
            sc.parallelize([1]).map(lambda number: len(ballast)).collect()


class TestLosses:
    def test_outputs_whose_blocks_are_lost_are_made_again(self, sc: SparkContext) -> None:
        pairs = counted(sc)
        assert sorted(pairs.collect()) == COUNTED
        assert backend_of(sc).lose_blocks("shuffle-") > 0
        assert sorted(pairs.collect()) == COUNTED

    def test_a_lost_agent_takes_its_outputs_along_and_they_are_made_elsewhere(
        self, sc: SparkContext, witness: Witness
    ) -> None:
        pairs = counted(sc)
        assert sorted(pairs.collect()) == COUNTED
        backend_of(sc).lose_agent("local-0")
        assert sorted(pairs.collect()) == COUNTED
        assert sorted(sc.parallelize(range(8), 8).collect()) == list(range(8))

    def test_an_agent_that_was_given_up_and_comes_back_is_used_again(self, sc: SparkContext) -> None:
        backend = backend_of(sc)
        assert sc.parallelize(range(4), 4).collect() == [0, 1, 2, 3]
        for agent_id in ("local-0", "local-1"):
            backend.lose_agent(agent_id)
        backend.return_agent("local-0")
        assert sorted(counted(sc).collect()) == COUNTED

    def test_an_executor_whose_store_takes_nothing_rests_while_others_do_its_tasks(
        self, sc: SparkContext, witness: Witness
    ) -> None:
        """Method: the directory of one agent's blocks is taken away. Its workers find out, and are sent nothing more."""
        agent = cast("dict[str, LocalAgent]", vars(backend_of(sc))["_agents"])["local-0"]
        agent.blocks_directory.rmdir()
        slow = sc.parallelize(range(100), 40).map(lambda number: (threading.Event().wait(0.01), number)[1])
        assert sorted(slow.map(lambda number: (number % 5, 1)).reduceByKey(operator.add, 3).collect()) == COUNTED
        missed = [each for each in witness.named(TaskFinished) if each.outcome == "missed"]
        assert 1 <= len(missed) <= 10, "only what was sent before the first had missed, of some twenty"
        assert {each.metrics.agent_id for each in missed} == {"local-0"}
        assert "cannot be stored" in missed[0].reason

    def test_tasks_of_a_lost_executor_run_again(self, sc: SparkContext, tmp_path: Path) -> None:
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: sc.parallelize(range(4), 4).map(gate(tmp_path)).collect())
            eventually((tmp_path / "began").exists, within_s=20)
            backend_of(sc).lose_executor(backend_of(sc).executor_ids[0])
            (tmp_path / "go").touch()
            assert waiting.result(30) == [0, 1, 2, 3]

    def test_a_chain_of_shuffles_is_made_again_from_its_beginning(self, sc: SparkContext) -> None:
        chain = counted(sc)
        for _ in range(4):
            chain = chain.map(lambda pair: (pair[0] + 1, pair[1])).reduceByKey(operator.add, 3)
        expected = [(key + 4, 20) for key in range(5)]
        assert sorted(chain.collect()) == expected
        backend_of(sc).lose_blocks("shuffle-")
        assert sorted(chain.map(lambda pair: pair).collect()) == expected


class TestKept:
    def test_a_persisted_partition_is_computed_once_and_again_where_it_was_lost(
        self, sc: SparkContext, tmp_path: Path
    ) -> None:
        journal = str(tmp_path / "computed")

        def noted(number: int) -> int:
            with open(journal, "a") as file:  # noqa: PTH123
                file.write(f"{number}\n")
            return number

        kept = sc.parallelize(range(4), 2).map(noted)
        node = vars(kept)["_lineage"].node
        node.level = StorageLevel.DISK_ONLY
        for _ in range(3):
            assert kept.map(lambda number: number).collect() == [0, 1, 2, 3]
        assert Path(journal).read_text().split() == sorted("0123") or len(Path(journal).read_text().split()) == 4

    def test_what_is_kept_of_a_collected_rdd_goes_from_the_stores(self, sc: SparkContext) -> None:
        kept = sc.parallelize(range(4), 2)
        vars(kept)["_lineage"].node.level = StorageLevel.DISK_ONLY
        kept.count()
        folder = Path(vars(backend_of(sc))["_directory"].name)
        assert list(folder.rglob("rdd-*"))
        del kept
        gc.collect()
        eventually(lambda: not list(folder.rglob("rdd-*")), within_s=20)

    def test_outputs_of_a_shuffle_that_nobody_can_name_go_from_the_stores(self, sc: SparkContext) -> None:
        pairs = counted(sc)
        pairs.collect()
        folder = Path(vars(backend_of(sc))["_directory"].name)
        assert list(folder.rglob("shuffle-*"))
        del pairs
        gc.collect()
        eventually(lambda: not list(folder.rglob("shuffle-*")), within_s=20)


class TestCancelling:
    def test_a_group_is_cancelled_and_other_jobs_go_on(self, sc: SparkContext, tmp_path: Path) -> None:
        def run() -> Any:
            sc.setJobGroup("slow", "waits")
            return sc.parallelize([1], 1).map(gate(tmp_path)).collect()

        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(run)
            eventually((tmp_path / "began").exists, within_s=20)
            sc.cancelJobGroup("another")
            assert sc.parallelize([2]).collect() == [2]
            sc.cancelJobGroup("slow")
            with pytest.raises(JobCancelled, match="job group 'slow' was cancelled"):
                waiting.result(30)
            (tmp_path / "go").touch()

    def test_jobs_are_cancelled_by_their_tag(self, sc: SparkContext, tmp_path: Path) -> None:
        def run() -> Any:
            sc.addJobTag("a")
            sc.addJobTag("b")
            assert sc.getJobTags() == {"a", "b"}
            sc.removeJobTag("a")
            return sc.parallelize([1], 1).map(gate(tmp_path)).collect()

        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(run)
            eventually((tmp_path / "began").exists, within_s=20)
            assert sc.getJobTags() == set(), "tags are a thread's own"
            sc.cancelJobsWithTag("a")
            sc.cancelJobsWithTag("b")
            with pytest.raises(JobCancelled, match="tagged 'b'"):
                waiting.result(30)
            (tmp_path / "go").touch()

    def test_stopping_the_context_cancels_what_runs(self, sc: SparkContext, tmp_path: Path, witness: Witness) -> None:
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: sc.parallelize([1], 1).map(gate(tmp_path)).collect())
            eventually((tmp_path / "began").exists, within_s=20)
            sc.stop()
            with pytest.raises(JobCancelled, match="was stopped"):
                waiting.result(30)
            (tmp_path / "go").touch()
        assert witness.closed
        with pytest.raises(ContextStopped):
            sc.parallelize([1], 1).collect()

    def test_an_interrupt_of_the_program_cancels_the_job_that_it_waits_for(
        self, sc: SparkContext, tmp_path: Path, witness: Witness
    ) -> None:
        waiter = threading.get_ident()

        def interrupt() -> None:
            eventually((tmp_path / "began").exists, within_s=20)
            signal.pthread_kill(waiter, signal.SIGINT)

        with ThreadPoolExecutor(1) as thread:
            interrupted = thread.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                sc.parallelize([1], 1).map(gate(tmp_path)).collect()
            interrupted.result(20)
        (tmp_path / "go").touch()
        assert sc.parallelize([2]).collect() == [2]
        assert "was interrupted" in witness.named(JobFinished)[0].error


class TestSpeculation:
    def test_a_slow_task_gets_a_second_copy_and_the_first_to_end_counts(self, tmp_path: Path) -> None:
        conf = SparkConf().setAll([("spark.speculation", "true"), ("spark.speculation.quantile", "0.5")])
        stuck = gate(tmp_path)

        def slow_once(number: int) -> Any:
            if number == 5 and not os.path.exists(mark):  # noqa: PTH110
                os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
                return stuck(-1)
            return number

        mark = str(tmp_path / "first")
        with SparkContext("local-cluster[2,2,1024]", conf=conf) as sc:
            assert sc.parallelize(range(8), 8).map(slow_once).collect() == list(range(8))
            (tmp_path / "go").touch()


class TestListeners:
    def test_they_hear_of_a_job_from_its_beginning_to_its_end(self, sc: SparkContext, witness: Witness) -> None:
        sc.setJobGroup("group", "what it is")
        counted(sc).collect()
        [began] = witness.named(JobBegan)
        assert (began.group, began.description) == ("group", "what it is")
        assert began.name.startswith("collect at test_jobs.py:")
        first, second = witness.named(StageBegan)
        assert (first.tasks, second.tasks) == (6, 3)
        assert second.parents == (first.stage_id,)
        assert began.stage_ids == (first.stage_id, second.stage_id)
        done = [each for each in witness.named(TaskFinished) if each.outcome == "done"]
        assert len(done) == 9
        assert {each.metrics.agent_id for each in done} <= {"local-0", "local-1"}
        [finished] = witness.named(JobFinished)
        assert finished.error == ""

    def test_one_that_raises_does_no_harm(self, sc: SparkContext) -> None:
        class Bad(Witness):
            def heard(self, event: SparkEvent) -> None:
                raise RuntimeError("bad")

        sc.add_listener(Bad())
        assert sc.parallelize([1]).collect() == [1]


class TestContext:
    def test_it_says_what_it_is(self) -> None:
        with SparkContext("local[3]", "a name") as sc:
            assert (sc.master, sc.appName, sc.defaultParallelism, sc.defaultMinPartitions) == (
                "local[3]",
                "a name",
                3,
                2,
            )
            assert sc.applicationId.startswith("local-")
            assert sc.uiWebUrl is None
            assert repr(sc) == "<SparkContext master=local[3] appName=a name>"
            assert sc.getConf().get("spark.app.name") == "a name"
            assert sc.startTime > 0
            assert sc.version.count(".") == 2

    def test_what_is_given_beside_the_configuration_comes_first(self) -> None:
        conf = SparkConf().setMaster("local[7]").setAppName("conf").set("spark.default.parallelism", "5")
        with SparkContext("local[2]", conf=conf) as sc:
            assert (sc.master, sc.appName, sc.defaultParallelism) == ("local[2]", "conf", 5)

    def test_getorcreate_returns_the_one_that_is_there(self) -> None:
        with SparkContext("local[1]") as sc:
            assert SparkContext.getOrCreate() is sc
        made = SparkContext.getOrCreate(SparkConf().setMaster("local[1]"))
        assert made is not sc
        made.stop()
        made.stop()

    @pytest.mark.parametrize(
        "master", ["yarn", "spark://host:7077", "k8s://host", "local[0]", "local[x]", "mesos://host"]
    )
    def test_a_master_of_another_kind_is_refused_with_what_to_use(self, master: str) -> None:
        with pytest.raises(ConfigError, match=r"local|workers"):
            SparkContext(master)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("spark.executor.memory", "lots"),
            ("spark.task.maxFailures", "0"),
            ("spark.locality.wait", "soon"),
            ("spark.scheduler.mode", "LIFO"),
            ("spark.speculation", "maybe"),
            ("spark.driver.maxResultSize", "-1"),
            ("spark.speculation.multiplier", "0"),
        ],
    )
    def test_a_setting_that_makes_no_sense_is_named(self, key: str, value: str) -> None:
        conf = SparkConf().set(key, value)
        master = "mesolite" if key == "spark.executor.memory" else "local[1]"
        with pytest.raises(ConfigError, match=key):
            SparkContext(master, conf=conf)

    def test_properties_are_a_threads_own_and_reach_tasks(self, sc: SparkContext) -> None:
        sc.setLocalProperty("color", "red")
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(sc.getLocalProperty, "color").result() is None
        assert sc.getLocalProperty("color") == "red"
        sc.setLocalProperty("color", None)
        assert sc.getLocalProperty("color") is None

    def test_levels_of_logs_are_sparks(self, sc: SparkContext) -> None:
        sc.setLogLevel("warn")
        with pytest.raises(ValueError, match="did not match"):
            sc.setLogLevel("LOUD")
