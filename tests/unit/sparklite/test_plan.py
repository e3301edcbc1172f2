"""The plan: stages cut at shuffles, what a task reads, what is kept, and what goes with collected RDDs."""

import gc
import operator
from typing import Any

import pytest

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.results import count
from mesolite.executors.sparklite.shuffle_data import MapOutput
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.frameworks.sparklite import RDD, SparkContext
from mesolite.frameworks.sparklite.lineage import Lineage
from mesolite.frameworks.sparklite.plan import JobPlan, Plan
from mesolite.frameworks.sparklite.stage_plan import StagePlan


class Rig:
    """A plan, and RDDs that are never run."""

    def __init__(self, sc: SparkContext) -> None:
        self.sc = sc
        self.words = 0
        self.plan = Plan(self._collected)

    def numbers(self, partitions: int = 4) -> RDD[Any]:
        return self.sc.parallelize(range(partitions), partitions)

    def summed(self, rdd: RDD[Any], partitions: int = 3) -> RDD[Any]:
        return rdd.map(lambda number: (number, 1)).reduceByKey(operator.add, partitions)

    def job(self, rdd: RDD[Any]) -> JobPlan:
        return self.plan.job(lineage_of(rdd), count, "count at somewhere")

    def _collected(self) -> None:
        self.words += 1


def lineage_of(rdd: RDD[Any]) -> Lineage:
    found = vars(rdd)["_lineage"]
    assert isinstance(found, Lineage)
    return found


def block(name: str, agent_id: str = "agent-1") -> StoredBlock:
    return StoredBlock(name, 10, f"http://{agent_id}/{name}", agent_id)


def keep(rdd: RDD[Any]) -> int:
    """Persist, and return the RDD's number."""
    lineage_of(rdd).node.level = StorageLevel.DISK_ONLY
    return rdd.id()


@pytest.fixture
def rig(sc: SparkContext) -> Rig:
    return Rig(sc)


class TestStages:
    def test_narrow_steps_are_one_stage(self, rig: Rig) -> None:
        job = rig.job(rig.numbers().map(operator.neg).filter(bool).union(rig.numbers()))
        assert job.maps == ()
        assert job.result.shuffles == ()
        assert job.result.as_spec().partitions == 8
        assert job.result.shuffle_id is None

    def test_a_stage_is_cut_at_each_shuffle_and_comes_after_what_it_reads(self, rig: Rig) -> None:
        job = rig.job(rig.summed(rig.summed(rig.numbers())))
        first, second = job.maps
        assert first.shuffles == ()
        assert [each.spec.shuffle_id for each in second.shuffles] == [first.shuffle_id]
        assert [each.spec.shuffle_id for each in job.result.shuffles] == [second.shuffle_id]
        assert first.stage_id < second.stage_id < job.result.stage_id
        assert rig.plan.parents_of(job.result) == (second.stage_id,)

    def test_what_two_branches_read_is_made_by_one_stage(self, rig: Rig) -> None:
        shared = rig.summed(rig.numbers())
        job = rig.job(shared.map(lambda pair: pair).union(shared))
        assert len(job.maps) == 1
        joined = rig.job(shared.join(shared.mapValues(operator.neg), 5))
        assert job.maps[0] in joined.maps

    def test_later_jobs_share_the_stages_of_a_shuffle_and_have_results_of_their_own(self, rig: Rig) -> None:
        pairs = rig.summed(rig.numbers())
        first, second = rig.job(pairs), rig.job(pairs)
        assert first.maps == second.maps
        assert first.result.stage_id != second.result.stage_id

    def test_a_thousand_shuffles_are_planned_without_recursion(self, rig: Rig) -> None:
        chain = rig.numbers(1)
        for _ in range(1000):
            chain = rig.summed(chain, 1)
        assert len(rig.job(chain).maps) == 1000

    def test_code_is_pickled_once_and_anew_when_something_is_persisted(self, rig: Rig) -> None:
        numbers = rig.numbers()
        stage = rig.job(numbers.map(operator.neg)).result
        code = stage.code()
        assert stage.code() is code
        keep(numbers)
        assert stage.code() is not code


class TestReading:
    def test_a_task_reads_the_leaves_below_its_partition(self, rig: Rig) -> None:
        left, right = rig.numbers(2), rig.numbers(3)
        stage = rig.job(left.union(right)).result
        inputs, kept = rig.plan.inputs(stage, 3, no_outputs)
        assert list(inputs) == [(right.id(), 1)]
        assert kept == {}

    def test_a_partition_that_two_branches_read_is_sent_once(self, rig: Rig) -> None:
        numbers = rig.numbers(2)
        stage = rig.job(numbers.zip(numbers.map(operator.neg))).result
        inputs, _ = rig.plan.inputs(stage, 1, no_outputs)
        assert list(inputs) == [(numbers.id(), 1)]

    def test_segments_come_in_order_of_map_partitions_without_those_that_are_empty(self, rig: Rig) -> None:
        pairs = rig.summed(rig.numbers(3), 2)
        stage = rig.job(pairs).result
        outputs = [
            MapOutput(block("a"), (0, 5, 9), (1, 2)),
            MapOutput(block("b"), (0, 4, 4), (3, 0)),
            MapOutput(block("c"), (0, 0, 7), (0, 4)),
        ]
        inputs, _ = rig.plan.inputs(stage, 1, lambda shuffle_id: outputs)
        [segments] = inputs.values()
        assert [(each.map_partition, each.offset, each.length, each.pairs) for each in segments] == [
            (0, 5, 4, 2),
            (2, 0, 7, 4),
        ]
        assert rig.plan.shuffles_needed(stage.stage_id, 1) == (stage.shuffles[0].spec.shuffle_id,)


class TestKept:
    def test_behind_what_is_kept_nothing_is_read(self, rig: Rig) -> None:
        pairs = rig.summed(rig.numbers())
        rdd_id = keep(pairs)
        stage = rig.job(pairs.map(lambda pair: pair)).result
        assert rig.plan.keep(stage, {(rdd_id, 1): block("kept", "agent-2")}) == []
        assert rig.plan.shuffles_needed(stage.stage_id, 1) == ()
        assert rig.plan.preferred_agents(stage.stage_id, 1) == ("agent-2",)
        assert rig.plan.inputs(stage, 1, no_outputs) == ({}, {(rdd_id, 1): block("kept", "agent-2")})
        assert rig.plan.shuffles_needed(stage.stage_id, 0) != ()

    def test_a_second_copy_is_of_no_use_and_neither_is_one_that_nobody_asked_for(self, rig: Rig) -> None:
        numbers = rig.numbers()
        stage = rig.job(numbers).result
        assert rig.plan.keep(stage, {(numbers.id(), 0): block("unasked")}) == [block("unasked")]
        keep(numbers)
        rig.plan.keep(stage, {(numbers.id(), 0): block("first")})
        assert rig.plan.keep(stage, {(numbers.id(), 0): block("second")}) == [block("second")]
        assert rig.plan.keep(stage, {(numbers.id(), 0): block("first")}) == []

    @pytest.mark.parametrize("how", ["partition", "block", "agent", "unpersist"])
    def test_what_is_lost_is_made_anew(self, rig: Rig, how: str) -> None:
        pairs = rig.summed(rig.numbers())
        rdd_id = keep(pairs)
        stage = rig.job(pairs).result
        rig.plan.keep(stage, {(rdd_id, 0): block("kept"), (rdd_id, 1): block("other", "agent-2")})
        match how:
            case "partition":
                rig.plan.lost((rdd_id, 0))
            case "block":
                assert rig.plan.lost_block("kept")
                assert not rig.plan.lost_block("kept")
            case "agent":
                rig.plan.lost_agent("agent-1")
            case _:
                assert rig.plan.unpersist(rdd_id) == [block("kept"), block("other", "agent-2")]
        assert rig.plan.shuffles_needed(stage.stage_id, 0) != ()
        assert (rig.plan.shuffles_needed(stage.stage_id, 1) == ()) == (how != "unpersist")


class TestCollected:
    def test_a_shuffle_goes_when_neither_an_rdd_nor_a_job_needs_it(self, rig: Rig) -> None:
        pairs = rig.summed(rig.numbers())
        job: JobPlan | None = rig.job(pairs)
        assert job is not None
        shuffle_id = job.maps[0].shuffle_id
        del pairs
        gc.collect()
        assert rig.plan.take_gone().shuffle_ids == ()
        job = None
        gc.collect()
        assert rig.plan.take_gone().shuffle_ids == (shuffle_id,)
        assert rig.words == 1
        assert rig.plan.take_gone().shuffle_ids == ()

    def test_a_shuffle_stays_while_an_rdd_far_behind_it_is_there(self, rig: Rig) -> None:
        far = rig.summed(rig.summed(rig.numbers()).map(operator.itemgetter(0)))
        rig.job(far)
        gc.collect()
        assert rig.plan.take_gone().shuffle_ids == ()

    def test_what_is_kept_goes_with_its_rdd(self, rig: Rig) -> None:
        numbers = rig.numbers()
        rdd_id = keep(numbers)
        stage: StagePlan | None = rig.job(numbers).result
        assert stage is not None
        rig.plan.keep(stage, {(rdd_id, 0): block("kept")})
        stage = None
        del numbers
        gc.collect()
        assert rig.plan.take_gone().rdd_ids == (rdd_id,)
        assert rig.plan.unpersist(rdd_id) == [block("kept")]


def no_outputs(shuffle_id: int) -> list[MapOutput | None]:
    raise AssertionError(f"shuffle {shuffle_id} is not read")
