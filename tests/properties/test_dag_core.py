"""Whatever happens to executors, agents and tasks: each result counts once, nothing runs without its input, every job ends.

Safety is judged at each effect by `DagCluster`; at the end faults stop, and every job must have come to its end.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mesolite.frameworks.sparklite.dag.events import JobsCancelled, ShufflesForgotten
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from tests.properties.dag_cluster import MAPS, WANTED, DagCluster

AGENTS = st.sampled_from(["A", "B", "C", "D", "E", "F"])
ENDINGS = st.sampled_from(
    ["succeeds", "succeeds", "succeeds", "succeeds", "begins", "begins", "fails", "misses input", "is refused"]
)


class DagUnderFaults(RuleBasedStateMachine):
    """One context on a bad cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = DagCluster(DagSettings())
        self.dead: set[str] = set()
        self.is_patient = False

    @initialize(patient=st.booleans(), fair=st.booleans(), speculation=st.booleans(), ahead=st.integers(0, 2))
    def start(self, patient: bool, fair: bool, speculation: bool, ahead: int) -> None:
        """With `patient` limits that no run reaches: then no job may fail."""
        limit = 10_000 if patient else 3
        self.is_patient = patient
        self.cluster = DagCluster(
            DagSettings(
                max_failures=limit,
                max_stage_attempts=limit,
                barrier_wait_ms=limit * 10_000,
                fair=fair,
                speculation=speculation,
                speculation_quantile=0.3,
                ahead=ahead,
            )
        )
        self.cluster.join("A", 2)
        self.cluster.join("B", 2)
        self.cluster.submit(WANTED[-1], 4, "p", barrier=False)

    # The driver

    @precondition(lambda self: len(self.cluster.jobs) < 4)
    @rule(
        reads=st.sampled_from(WANTED), partitions=st.integers(0, 4), pool=st.sampled_from("pq"), barrier=st.booleans()
    )
    def submit(self, reads: tuple[int, ...], partitions: int, pool: str, barrier: bool) -> None:
        self.cluster.submit(reads, partitions, pool, barrier=barrier and partitions < 4)

    @precondition(lambda self: self.cluster.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.cluster.jobs)))
        self.cluster.apply(JobsCancelled(now_ms=self.cluster.now_ms, job_ids=(job_id,), reason="cancelled"))

    @precondition(lambda self: not self.cluster.jobs)
    @rule(shuffle_id=st.sampled_from(sorted(MAPS)))
    def forget(self, shuffle_id: int) -> None:
        """From now on the number means another shuffle."""
        self.cluster.apply(ShufflesForgotten(now_ms=self.cluster.now_ms, shuffle_ids=(shuffle_id,)))
        self.cluster.attempts = {key for key in self.cluster.attempts if key[0] != shuffle_id}

    @rule(stage_id=st.sampled_from(sorted(MAPS)), partition=st.integers(0, 3), agent_id=AGENTS, keep=st.booleans())
    def keep(self, stage_id: int, partition: int, agent_id: str, keep: bool) -> None:
        """What is kept comes and goes, and nobody tells the core."""
        if keep and agent_id not in self.dead:
            self.cluster.kept[stage_id, partition] = agent_id
        else:
            self.cluster.kept.pop((stage_id, partition), None)

    # The cluster

    @precondition(lambda self: len(self.cluster.executors) < 5)
    @rule(agent_id=AGENTS, workers=st.integers(1, 3))
    def executor_joins(self, agent_id: str, workers: int) -> None:
        if agent_id not in self.dead:
            self.cluster.join(agent_id, workers)

    @precondition(lambda self: self.cluster.executors)
    @rule(data=st.data(), workers=st.integers(0, 3))
    def executor_changes(self, data: st.DataObject, workers: int) -> None:
        self.cluster.resize(data.draw(st.sampled_from(sorted(self.cluster.executors))), workers)

    @precondition(lambda self: self.cluster.executors)
    @rule(data=st.data(), told_first=st.booleans())
    def executor_dies(self, data: st.DataObject, told_first: bool) -> None:
        self.cluster.executor_dies(data.draw(st.sampled_from(sorted(self.cluster.executors))), told_first=told_first)

    @rule(agent_id=AGENTS, told=st.booleans())
    def agent_dies(self, agent_id: str, told: bool) -> None:
        self.dead.add(agent_id)
        self.cluster.agent_dies(agent_id, told=told)

    @precondition(lambda self: self.cluster.blocks)
    @rule(data=st.data())
    def block_is_lost(self, data: st.DataObject) -> None:
        self.cluster.blocks.discard(data.draw(st.sampled_from(sorted(self.cluster.blocks))))

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data(), ending=ENDINGS)
    def task_goes_on(self, data: st.DataObject, ending: str) -> None:
        self.cluster.run(*data.draw(st.sampled_from(self.cluster.running())), ending)

    @precondition(lambda self: self.cluster.running())
    @rule(count=st.integers(1, 12))
    def many_succeed(self, count: int) -> None:
        for _ in range(count):
            if running := self.cluster.running():
                self.cluster.run(*running[0], "succeeds")

    @precondition(lambda self: len(self.cluster.running()) > 1)
    @rule(later_ms=st.sampled_from([1, 1_000]))
    def one_succeeds_and_the_others_are_slow(self, later_ms: int) -> None:
        """With speculation these get second copies, where a worker is idle."""
        for name, task_id in self.cluster.running():
            self.cluster.run(name, task_id, "begins")
        self.cluster.tick(later_ms)
        self.cluster.run(*self.cluster.running()[-1], "succeeds")
        self.cluster.tick(60_000)

    @precondition(lambda self: self.cluster.running() and not self.is_patient)
    @rule(data=st.data())
    def task_fails_for_good(self, data: st.DataObject) -> None:
        self.cluster.run(*data.draw(st.sampled_from(self.cluster.running())), "fails for good")

    @precondition(lambda self: self.cluster.launched)
    @rule(data=st.data())
    def late_word(self, data: st.DataObject) -> None:
        """A task that has ended succeeds once more."""
        running = {task_id for _, task_id in self.cluster.running()}
        over = sorted(set(self.cluster.launched) - running - set(self.cluster.open))
        if over:
            self.cluster.apply(self.cluster.success_of(data.draw(st.sampled_from(over))))

    @rule(later_ms=st.sampled_from([1, 50, 200, 3_000, 60_000]))
    def time_passes(self, later_ms: int) -> None:
        self.cluster.tick(later_ms)

    def teardown(self) -> None:
        self.cluster.heal()
        if self.is_patient:
            assert self.cluster.unexpected() == []
        assert not self.cluster.open, "success that was neither taken nor dropped"


TestDagUnderFaults = DagUnderFaults.TestCase
TestDagUnderFaults.settings = settings(max_examples=60, stateful_step_count=60)
