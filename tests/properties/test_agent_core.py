"""The agent's core under everything that can happen, in any order, with deaths of its process in between.

Safety, after every step:
- the core's own invariants hold (no over-commitment, one outstanding update per task, ...);
- what it wrote so far recovers to the same durable state;
- no task id is launched twice, over all lives;
- the updates of a task are seen in order, without holes: each new one only after the one before was acknowledged;
- no task is told to an executor twice, over all lives and connections, and none that has ended is told at all.

Liveness, at the end: when every container ends and every update is acknowledged, nothing is left of any task, and each
task that was commanded has had exactly one terminal word; and so has each executor that was charged, under the name of the task
that was to launch it.
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
from mesolite.agent.effects import LaunchContainers, LaunchExecutors, SendReports, TellExecutor
from mesolite.agent.executor_lifecycle import ExecutorPhase
from mesolite.agent.lifecycle import Phase
from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    REPORTABLE_STATES,
    TERMINAL_STATES,
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    Command,
    ExecutorAcknowledgement,
    ExecutorCall,
    ExecutorEvent,
    ExecutorExited,
    ExecutorLaunch,
    ExecutorLaunchGroup,
    ExecutorTask,
    ExecutorUpdate,
    KillPolicy,
    KillTask,
    Reregister,
    ShutdownExecutor,
    StatusAcknowledgement,
    StatusUpdate,
    TaskState,
)
from tests.unit.agent.world import World, executor_info, group, run, under

EXECUTORS = st.sampled_from(["e", "x"])
REPORTABLE = sorted(REPORTABLE_STATES, key=lambda state: state.value)
NAMES = st.sampled_from(["a", "b", "c", "d"])
#: Phases in which a launch can still fail.
_LAUNCHING = (ExecutorPhase.LAUNCHING, ExecutorPhase.ENDING)
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
        #: Executors that the master charged, each by the task that was to launch it; and those whose end it heard.
        self.charged: set[tuple[str, str]] = set()
        self.ended: set[tuple[str, str]] = set()
        #: Tasks that executors were told to launch.
        self.told: list[tuple[str, str]] = []
        #: Names updates.
        self.said = 0

    # -- the master

    @rule(name=NAMES, framework=FRAMEWORKS, cpus=st.sampled_from([1, 2, 4]), limit=st.sampled_from([None, 5000]))
    def launch(self, name: str, framework: str, cpus: int, limit: int | None) -> None:
        self.commanded.add((framework, name))
        self._command(run(name, framework=framework, cpus=cpus, limit_ms=limit))

    @rule(
        names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
        framework=FRAMEWORKS,
        executor=EXECUTORS,
        launch=st.booleans(),
        grouped=st.booleans(),
        limit=st.sampled_from([None, 5000]),
    )
    def launch_under(
        self, names: list[str], framework: str, executor: str, launch: bool, grouped: bool, limit: int | None
    ) -> None:
        """What the master believes of the executor may be wrong."""
        book = self.world.core.book
        framework = "f" if grouped else framework
        known = any((FrameworkId(framework), TaskId(name)) in book.tasks for name in names)
        if launch and known:
            return  # no launch at all, and so no charge
        info = executor_info(executor)
        self.commanded |= {(framework, name) for name in names}
        self.charged |= {(framework, names[0])} if launch else set()
        if grouped:
            self._command(group(*names, executor=info, launch=launch))
            return
        self._command(under(*names, executor=info, launch=launch, framework=framework, cpus=0.5, limit_ms=limit))

    @rule(framework=FRAMEWORKS, executor=EXECUTORS)
    def shut_an_executor_down(self, framework: str, executor: str) -> None:
        self._command(ShutdownExecutor(FrameworkId(framework), ExecutorId(executor)))

    @precondition(lambda self: self.world.core.executors.executors)
    @rule(data=st.data())
    def acknowledge_an_end(self, data: st.DataObject) -> None:
        """Perhaps of one that lives."""
        executors = self.world.core.executors.executors
        executor = executors[data.draw(st.sampled_from(sorted(executors)))]
        if not executor.living and (executor.framework_id, executor.launched_by) not in self.ended:
            return  # no master has heard of it
        self._command(
            AcknowledgeExecutors(
                (ExecutorAcknowledgement(executor.framework_id, executor.info.executor_id, executor.container_id),)
            )
        )

    # -- the executors

    @precondition(lambda self: self.world.core.executors.living)
    @rule(data=st.data(), names=st.lists(NAMES, max_size=2), states=st.lists(st.sampled_from(REPORTABLE), max_size=2))
    def subscribe(self, data: st.DataObject, names: list[str], states: list[TaskState]) -> None:
        """It has whatever it has: tasks that nobody knows, and updates that are long known."""
        executor = self._draw_executor(data)
        updates = tuple(self._update(data.draw(NAMES), state) for state in states)
        self.world.subscribe(self.world.core.executors.executors[executor], *updates, tasks=names)
        self._look()

    @precondition(lambda self: self.world.core.executors.living)
    @rule(data=st.data(), name=NAMES, state=st.sampled_from(REPORTABLE), again=st.booleans(), old=st.booleans())
    def speak(self, data: st.DataObject, name: str, state: TaskState, again: bool, old: bool) -> None:
        executor = self.world.core.executors.executors[self._draw_executor(data)]
        calls: list[ExecutorCall] = [self._update(name, state)]
        self.world.speak(executor, *(calls * 2 if again else calls), connection=executor.connection - old)
        self._look()

    @precondition(lambda self: self.world.core.executors.living)
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        executor = self.world.core.executors.executors[self._draw_executor(data)]
        self.world.hang_up(executor, connection=executor.connection)
        self._look()

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
        executor = self.world.core.executors.executors.get(container_id)
        impossible |= what == "failed" and executor is not None and executor.phase not in _LAUNCHING
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
            self._acknowledge_all_ends()
            if not self.world.core.book.tasks and not self.world.core.executors.executors:
                break
        assert self.world.core.book.tasks == {}
        assert self.world.core.executors.executors == {}
        assert self.world.core.book.frameworks == {}
        assert self.ended == self.charged, "each that was charged is said to have ended"
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

    def _acknowledge_all_ends(self) -> None:
        ended = [executor for executor in self.world.core.executors.executors.values() if not executor.living]
        for executor in ended:
            self._command(
                AcknowledgeExecutors(
                    (ExecutorAcknowledgement(executor.framework_id, executor.info.executor_id, executor.container_id),)
                )
            )

    def _draw_executor(self, data: st.DataObject) -> ContainerId:
        return data.draw(st.sampled_from(sorted(self.world.core.executors.living_containers())))

    def _update(self, name: str, state: TaskState) -> ExecutorUpdate:
        self.said += 1
        return ExecutorUpdate(task_id=TaskId(name), state=state, update_id=f"u{self.said}")

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
            elif isinstance(effect, LaunchExecutors):
                self.containers |= {spec.container_id for spec in effect.specs}
            elif isinstance(effect, TellExecutor):
                executor = self.world.core.executors.executors.get(effect.container_id)
                assert executor is not None, "nobody speaks to an executor that is forgotten"
                for event in effect.events:
                    self._follow(executor.framework_id, event)
            elif isinstance(effect, SendReports):
                for report in effect.reports:
                    if isinstance(report, StatusUpdate):
                        self._hear(report)
                    elif isinstance(report, ExecutorExited):
                        self.ended.add((report.framework_id, report.launched_by))
        self.read = len(self.world.effects)

    def _follow(self, framework_id: FrameworkId, event: ExecutorEvent) -> None:
        tasks: tuple[ExecutorTask, ...] = ()
        if isinstance(event, ExecutorLaunch):
            tasks = (event.task,)
        elif isinstance(event, ExecutorLaunchGroup):
            tasks = event.tasks
        for task in tasks:
            key = (framework_id, task.task_id)
            assert key not in self.told, f"{key} was told twice"
            self.told.append(key)
            states = self.heard.get(key, {}).values()
            assert not TERMINAL_STATES.intersection(states), f"{key} was told after its end: {states}"

    def _hear(self, update: StatusUpdate) -> None:
        assert update.status.uuid is not None
        heard = self.heard.setdefault((update.framework_id, update.status.task_id), {})
        if update.status.uuid not in heard:
            assert all(uuid in self.acknowledged for uuid in heard), "the next travels only after the one before"
            heard[update.status.uuid] = update.status.state
        else:
            assert list(heard)[-1] == update.status.uuid, "an older update is not said again"


AgentMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAgentCore = AgentMachine.TestCase
