"""The agent's core under everything that can happen, in any order, with deaths of its process in between.

Safety, after every step:
- the core's own invariants hold (no over-commitment, one outstanding update per task, ...);
- what it wrote so far recovers to the same durable state;
- no task id is launched twice, over all lives;
- the updates of a task are seen in order, without holes: each new one only after the one before was acknowledged.

Liveness, at the end: when every container ends and every update is acknowledged, nothing is left of any task, and each
task that was commanded has had exactly one terminal word.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerStarted,
)
from mesolite.agent.effects import LaunchContainers, SendReports
from mesolite.agent.lifecycle import Phase
from mesolite.ids import ContainerId, FrameworkId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    AcknowledgeStatuses,
    Command,
    KillPolicy,
    KillTask,
    Reregister,
    StatusAcknowledgement,
    StatusUpdate,
    TaskState,
)
from tests.unit.agent.world import World, run

NAMES = st.sampled_from(["a", "b", "c", "d"])
FRAMEWORKS = st.sampled_from(["f", "g"])


class AgentMachine(RuleBasedStateMachine):
    """One agent, a sloppy master and a lively containerizer."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(cpus=3)
        self.read = 0
        #: Containers that exist, as the containerizer sees it.
        self.containers: set[ContainerId] = set()
        self.launched: list[tuple[str, str]] = []
        #: Per task: every update's uuid in order of first appearance, and its state.
        self.heard: dict[tuple[str, str], dict[bytes, TaskState]] = {}
        self.acknowledged: set[bytes] = set()
        #: Frameworks' generations of ids: a shut down framework's ids may be used again.
        self.commanded: set[tuple[str, str]] = set()

    # -- the master

    @rule(name=NAMES, framework=FRAMEWORKS, cpus=st.sampled_from([1, 2, 4]), limit=st.sampled_from([None, 5000]))
    def launch(self, name: str, framework: str, cpus: int, limit: int | None) -> None:
        self.commanded.add((framework, name))
        self._command(run(name, framework=framework, cpus=cpus, limit_ms=limit))

    @rule(name=NAMES, framework=FRAMEWORKS, grace=st.sampled_from([None, 0, 9000]))
    def kill(self, name: str, framework: str, grace: int | None) -> None:
        policy = KillPolicy(grace_period_ms=grace) if grace is not None else None
        self._command(KillTask(FrameworkId(framework), TaskId(name), policy))

    @precondition(lambda self: self._unacknowledged())
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self._acknowledge(data.draw(st.sampled_from(self._unacknowledged())))

    @rule()
    def resend_the_last_batch(self) -> None:
        self.world.command(run("a"), first=max(1, self.world.next_number - 1))
        self._look()

    @rule()
    def lose_a_batch(self) -> None:
        self.world.command(run("d"), first=self.world.next_number + 1)
        self._look()

    @rule()
    def ask_to_register(self) -> None:
        self.world.command(Reregister(), first=0)
        self.world.tick(1000)
        self.world.join()
        self._look()

    @rule()
    def change_master(self) -> None:
        self.world.epoch += 1
        self.world.next_number = 1
        self.world.join()
        self._look()

    # -- the machine

    @precondition(lambda self: self.containers)
    @rule(data=st.data(), what=st.sampled_from(["preparing", "started", "failed", "exited", "oom", "killed"]))
    def container(self, data: st.DataObject, what: str) -> None:
        container_id = data.draw(st.sampled_from(sorted(self.containers)))
        event: ContainerEvent
        if what == "preparing":
            event = ContainerPreparing(container_id=container_id, message="")
        elif what == "started":
            event = ContainerStarted(container_id=container_id)
        elif what == "failed":
            event = ContainerLaunchFailed(container_id=container_id, stage="start", message="no")
        else:
            code = {"exited": 0, "oom": 137, "killed": None}[what]
            event = ContainerExited(
                container_id=container_id, exit_code=code, oom_killed=what == "oom", peak_mem_bytes=None
            )
        task = self.world.core.book.containers.get(container_id)
        impossible = what == "failed" and task is not None and task.phase in (Phase.RUNNING, Phase.KILLING)
        if what not in ("preparing", "started") and not impossible:
            self.containers.discard(container_id)
        self.world.news(event)
        self._look()

    @rule(after_ms=st.sampled_from([0, 100, 5000, 20_000, 600_000]), random=st.floats(0, 0.999))
    def time_passes(self, after_ms: int, random: float) -> None:
        self.world.tick(after_ms, random)
        self._look()

    @rule(data=st.data(), reboot=st.booleans())
    def die(self, data: st.DataObject, reboot: bool) -> None:
        lost = data.draw(st.sets(st.sampled_from(sorted(self.containers)))) if self.containers else set[ContainerId]()
        self.containers -= lost
        boot_id = f"boot-{self.world.life + 1}" if reboot else None
        self.world = self.world.next_life(survivors=sorted(self.containers), boot_id=boot_id)
        self.read = 0
        self._look()

    def teardown(self) -> None:
        """Let everything come to its end."""
        for _ in range(100):
            for container_id in sorted(self.containers):
                self.containers.discard(container_id)
                self.world.news(
                    ContainerExited(container_id=container_id, exit_code=0, oom_killed=False, peak_mem_bytes=None)
                )
            self._look()
            if not self.world.core.link.registered:
                self.world.join()  # nothing was said to it for long, so it asked
            for update in self._unacknowledged():
                self._acknowledge(update)
            if not self.world.core.book.tasks:
                break
        assert self.world.core.book.tasks == {}
        assert set(self.world.core.book.ledger.held.values()) == {0}
        for key, heard in self.heard.items():
            states = list(heard.values())
            last_words = [number for number, state in enumerate(states) if state in TERMINAL_STATES]
            assert last_words, f"{key} has a last word: {heard}"
            # A launch of an id that is over is refused each time, and nothing else comes after the last word.
            after = states[last_words[0] + 1 :]
            assert set(after) <= {TaskState.ERROR}, f"{key} says nothing but refusals after its last word: {heard}"
        assert set(self.heard) == self.commanded

    def _command(self, command: Command) -> None:
        self.world.command(command)
        self._look()

    def _acknowledge(self, update: StatusUpdate) -> None:
        assert update.status.uuid is not None
        self.acknowledged.add(update.status.uuid)
        acknowledgement = StatusAcknowledgement(update.framework_id, update.status.task_id, update.status.uuid)
        self._command(AcknowledgeStatuses((acknowledgement,)))

    def _unacknowledged(self) -> list[StatusUpdate]:
        return [task.update() for task in self.world.core.book.tasks.values() if task.outstanding]

    def _look(self) -> None:
        """Follow what the agent did since the last look."""
        for effect in self.world.effects[self.read :]:
            if isinstance(effect, LaunchContainers):
                for spec in effect.specs:
                    key = (spec.labels["mesolite.framework_id"], spec.labels["mesolite.task_id"])
                    assert key not in self.launched, f"{key} was launched twice"
                    self.launched.append(key)
                    self.containers.add(spec.container_id)
            elif isinstance(effect, SendReports):
                for report in effect.reports:
                    if isinstance(report, StatusUpdate):
                        self._hear(report)
        self.read = len(self.world.effects)

    def _hear(self, update: StatusUpdate) -> None:
        assert update.status.uuid is not None
        heard = self.heard.setdefault((update.framework_id, update.status.task_id), {})
        if update.status.uuid not in heard:
            assert all(uuid in self.acknowledged for uuid in heard), "the next travels only after the one before"
            heard[update.status.uuid] = update.status.state
        else:
            assert list(heard)[-1] == update.status.uuid, "an older update is not said again"


AgentMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgentCore = AgentMachine.TestCase
