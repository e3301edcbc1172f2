"""The simulated cluster as a stage for stories that people write: nothing happens by chance, everything by a command.

agent ID CPUS MEM_MIB            a machine with an agent
twin NAME ID CPUS MEM_MIB        another machine, called NAME here, whose agent has the same id as one before
framework ID [TIMEOUT_MS]        a scheduler that does what it is told; its failover timeout is a day where none is given
master                           a master begins to lead; an earlier one that lives is deposed
run MILLISECONDS                 let time pass; prints who said what, heartbeats and bare confirmations aside
launch FRAMEWORK AGENT TASK CPUS COMMAND...    on the offers that it holds of this agent
launch-inside FRAMEWORK AGENT EXECUTOR TASK CPUS WORDS...   the same, in an executor; what words mean: `FakeExecutors`
shutdown FRAMEWORK AGENT EXECUTOR
crash AGENT                      an executor there is killed
executors AGENT                  prints what runs in executors on the machine, and since the beginning began in them
kill FRAMEWORK TASK              reconcile FRAMEWORK TASK AGENT               teardown FRAMEWORK
gone AGENT                       an operator says so
die WHO                          at once; begins again when told to `begin`
die-after WHO COUNT              having done so many more things to the world
begin WHO                        its next life
reboot AGENT                     sleep WHO MILLISECONDS
fault NAME PROBABILITY           see `Chances` in plan.py; 1 is always, 0 never
remember                         keep what Redis holds now
forget                           go back to it
heard FRAMEWORK TASK             prints what the scheduler was told of a task, in order
books                            prints what the master believes: of agents, and of their tasks
containers AGENT                 prints what runs on the machine, and since the beginning ran
"""

import random
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from mesolite.agent.launch import LABEL_EXECUTOR, LABEL_TASK
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.master import MasterSettings
from mesolite.master.events import OperatorMarkedGone
from mesolite.protocol import CommandInfo, Filters, FrameworkInfo, Offer, ReconcileTask, TaskInfo
from mesolite.resources import scalars
from mesolite.transport.keys import agent_queue, calls_stream, framework_stream, reports_stream

from .actor import Actor
from .agent_process import AgentProcess
from .executors import executor_info
from .master_process import MasterProcess
from .plan import AgentShape, Chances, Clocks, Paces, Plan
from .process import Process
from .program import Program
from .schedulers import RecordedDriver
from .servers import Server
from .trace import Trace
from .world import World

#: Quick, so that stories are short: heartbeats each second, an agent is lost after ten.
SETTINGS: Final = MasterSettings(
    offer_timeout_ms=60_000, heartbeat_interval_ms=1000, agent_timeout_ms=10_000, agent_reregister_timeout_ms=30_000
)
_FOR_EVER_MS: Final = 1 << 50
#: Of the time at the beginning of a trace's line.
_TIME_WIDTH: Final = 10
_SMALL_TALK: Final = ("Heartbeat", "HeartbeatEvent", "AgentHeartbeat", "nothing")


class Marionette(Scheduler):
    """Keeps what it is offered, for commands to use."""

    def __init__(self) -> None:
        self.held: dict[OfferId, Offer] = {}

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self.held.update({offer.offer_id: offer for offer in offers})

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        """See `Scheduler`."""
        for offer_id in offer_ids:
            self.held.pop(offer_id, None)


class Twin(AgentProcess):
    """An agent with the id of another: that it leaves says nothing of that one."""

    _ended = False

    @property
    def left(self) -> bool:
        """See `AgentProcess`."""
        return self._ended

    def live(self, now_ms: int) -> None:
        """See `AgentProcess`."""
        super().live(now_ms)
        if self.info.agent_id in self.world.journal.left:
            self.world.journal.left.remove(self.info.agent_id)
            self._ended = True
            self.wake_ms = None


class ClusterStage:
    """Plays commands; see above."""

    def __init__(self) -> None:
        plan = Plan(
            seed=0,
            masters=1,
            lease_ttl_ms=2000,
            waits_for_replicas=False,
            check_every=1,
            agents=(),
            batches=(),
            plains=(),
            pools=(),
            settings=SETTINGS,
            reconcile_interval_ms=60_000,
            trouble_ms=0,
            chances=Chances(),
            paces=Paces(),
            clocks=Clocks(),
        )
        self._story: list[str] = []
        self._world: Final = World(plan, Trace(heard=self._hear))
        self._began_ms: Final = self._world.now_ms
        self._master: MasterProcess | None = None
        self._processes: Final[dict[str, Process]] = {}
        self._puppets: Final[dict[str, Marionette]] = {}
        self._replica: Server | None = None
        #: Sessions as they were drawn, and what they are called here.
        self._names: Final[dict[str, str]] = {}
        #: Masters, the newest last.
        self._masters: Final[list[Actor]] = []
        self._world.readers[calls_stream()] = self._world.readers[reports_stream()] = self._masters
        self._verbs: Final[dict[str, Callable[..., list[str] | None]]] = {
            "agent": self._agent,
            "twin": self._twin,
            "framework": self._framework,
            "master": self._begin_master,
            "run": self._run,
            "launch": self._launch,
            "launch-inside": self._launch_inside,
            "shutdown": self._shutdown,
            "crash": self._crash,
            "executors": self._executors,
            "kill": self._kill,
            "reconcile": self._reconcile,
            "teardown": self._teardown,
            "gone": self._gone,
            "die": self._die,
            "die-after": self._die_after,
            "begin": self._begin,
            "reboot": self._reboot,
            "sleep": self._sleep,
            "fault": self._fault,
            "remember": self._remember,
            "forget": self._forget,
            "heard": self._heard,
            "books": self._books,
            "containers": self._containers,
        }

    def play(self, command: str) -> list[str]:
        """Do one command and return what it prints."""
        verb, *words = shlex.split(command)
        self._story = []
        printed = self._verbs[verb](*words)
        return [*self._story, *(printed or ())]

    def _hear(self, line: str) -> None:
        for name, process in self._processes.items():
            session = process.session
            if session and session not in self._names:
                lives = sum(1 for known in self._names.values() if known.startswith(f"{name}/"))
                self._names[session] = f"{name}/{lives + 1}"
        for session, name in self._names.items():
            line = line.replace(session, name)
        if line.split(": ")[-1] not in _SMALL_TALK:
            since_s = float(line[:_TIME_WIDTH]) - self._began_ms / 1000
            self._story.append(f"{since_s:7.3f}{line[_TIME_WIDTH:].rstrip()}")

    # -- who there is

    def _agent(self, name: str, cpus: str, mem_mib: str) -> None:
        agent_id = AgentId(name)
        agent = AgentProcess(self._world, agent_id, AgentShape(cpus=int(cpus), mem_mib=int(mem_mib), start_ms=0))
        self._processes[name] = agent
        self._world.actors.extend((agent, agent.executors))
        self._world.readers[agent_queue(agent_id)] = [agent]
        agent.wake_ms = self._world.now_ms

    def _twin(self, name: str, agent_id: str, cpus: str, mem_mib: str) -> None:
        twin = Twin(self._world, AgentId(agent_id), AgentShape(cpus=int(cpus), mem_mib=int(mem_mib), start_ms=0))
        twin.name = name
        self._processes[name] = twin
        self._world.actors.extend((twin, twin.executors))
        self._world.readers[agent_queue(AgentId(agent_id))].append(twin)
        twin.wake_ms = self._world.now_ms

    def _framework(self, name: str, failover_timeout_ms: str = "86400000") -> None:
        framework_id = FrameworkId(name)
        puppet = self._puppets[name] = Marionette()

        def new_driver(session: SessionId, rng: random.Random) -> SchedulerDriver:
            puppet.held.clear()
            return RecordedDriver(
                puppet,
                FrameworkInfo(framework_id=framework_id, name=name, failover_timeout_ms=int(failover_timeout_ms)),
                session=session,
                rng=rng,
                settings=DriverSettings(reconcile_interval_ms=60_000),
                known_tasks=[
                    (key[1], facts.launches[-1][0] if facts.launches else None)
                    for key, facts in self._world.journal.tasks.items()
                    if key[0] == framework_id
                ],
                journal=self._world.journal,
            )

        program = Program(self._world, framework_id, new_driver, mortal=True)
        self._processes[name] = program
        self._world.actors.append(program)
        self._world.readers[framework_stream(framework_id)] = [program]
        program.wake_ms = self._world.now_ms

    def _begin_master(self) -> None:
        old = self._master
        if old is None or old.alive:
            if old is not None and old.usurper is not None:
                old.usurper.is_old = True
                old.name = "deposed"
                old.wake_ms = self._world.now_ms + 1500
            self._master = MasterProcess(self._world, "master", usurps=True)
            self._processes["master"] = self._master
            self._world.actors.append(self._master)
            self._masters[:] = [self._master]
        self._begin("master")

    # -- what they do

    def _run(self, duration_ms: str) -> None:
        until_ms = self._world.now_ms + int(duration_ms)
        while self._world.step(until_ms):
            pass

    def _launch(self, name: str, agent: str, task: str, cpus: str, *command: str) -> None:
        puppet = self._puppets[name]
        offer_ids = [offer_id for offer_id, offer in puppet.held.items() if offer.agent_id == agent]
        assert offer_ids, f"{name} holds no offers of {agent}"
        info = TaskInfo(
            task_id=TaskId(task),
            agent_id=AgentId(agent),
            resources=scalars(cpus=float(cpus), mem_mib=64).to_wire(),
            command=CommandInfo(value=" ".join(command)),
        )
        self._do(name, lambda driver: driver.launch(offer_ids, [info], Filters(refuse_ms=0)))
        for offer_id in offer_ids:
            del puppet.held[offer_id]

    def _launch_inside(self, name: str, agent: str, executor: str, task: str, cpus: str, *words: str) -> None:
        puppet = self._puppets[name]
        offer_ids = [offer_id for offer_id, offer in puppet.held.items() if offer.agent_id == agent]
        assert offer_ids, f"{name} holds no offers of {agent}"
        info = TaskInfo(
            task_id=TaskId(task),
            agent_id=AgentId(agent),
            resources=scalars(cpus=float(cpus), mem_mib=16).to_wire(),
            executor=executor_info(ExecutorId(executor)),
            data=" ".join(words).encode(),
        )
        self._do(name, lambda driver: driver.launch(offer_ids, [info], Filters(refuse_ms=0)))
        for offer_id in offer_ids:
            del puppet.held[offer_id]

    def _shutdown(self, name: str, agent: str, executor: str) -> None:
        self._do(name, lambda driver: driver.shutdown_executor(AgentId(agent), ExecutorId(executor)))

    def _crash(self, name: str) -> None:
        agent = self._processes[name]
        assert isinstance(agent, AgentProcess)
        agent.executors.crash()
        agent.wake_ms = self._world.now_ms

    def _executors(self, name: str) -> list[str]:
        agent = self._processes[name]
        assert isinstance(agent, AgentProcess)
        lines = [
            f"{self._host_label(agent, container_id)} runs {', '.join(executor.tasks) or 'nothing'}; "
            f"began {', '.join(executor.started) or 'nothing'}"
            for container_id, executor in sorted(agent.executors.running.items())
            if container_id in agent.host.containers
        ]
        return lines or ["none"]

    @staticmethod
    def _host_label(agent: AgentProcess, container_id: ContainerId) -> str:
        return agent.host.containers[container_id].spec.labels[LABEL_EXECUTOR]

    def _kill(self, name: str, task: str) -> None:
        self._do(name, lambda driver: driver.kill(TaskId(task)))

    def _reconcile(self, name: str, task: str, agent: str) -> None:
        self._do(name, lambda driver: driver.reconcile([ReconcileTask(TaskId(task), AgentId(agent))]))

    def _teardown(self, name: str) -> None:
        self._do(name, lambda driver: driver.teardown())

    def _gone(self, agent: str) -> None:
        assert self._master is not None
        assert self._master.shell is not None
        self._master.shell.ask(OperatorMarkedGone(now_ms=self._world.now_ms, agent_id=AgentId(agent)))
        self._master.wake_ms = self._world.now_ms

    def _do(self, name: str, action: Callable[[SchedulerDriver], None]) -> None:
        program = self._processes[name]
        assert isinstance(program, Program)
        program.actions.append(action)
        program.wake_ms = self._world.now_ms

    def _die(self, name: str) -> None:
        process = self._processes[name]
        process.die("dies")
        process.restart_ms = process.wake_ms = _FOR_EVER_MS

    def _die_after(self, name: str, count: str) -> None:
        process = self._processes[name]
        process.fuse.left = int(count)
        process.rest_ms = _FOR_EVER_MS

    def _begin(self, name: str) -> None:
        self._processes[name].heal()
        self._processes[name].wake_ms = self._world.now_ms

    def _sleep(self, name: str, duration_ms: str) -> None:
        self._processes[name].sleep(self._world.now_ms + int(duration_ms))

    def _reboot(self, name: str) -> None:
        agent = self._processes[name]
        assert isinstance(agent, AgentProcess)
        agent.reboot()
        agent.restart_ms = agent.wake_ms = _FOR_EVER_MS

    # -- what befalls them

    def _fault(self, name: str, probability: str) -> None:
        assert hasattr(self._world.chances, name), f"no such fault: {name}"
        setattr(self._world.chances, name, float(probability))

    def _remember(self) -> None:
        self._replica = self._world.servers.replica()

    def _forget(self) -> None:
        assert self._replica is not None, "remember first"
        self._world.servers.end(self._world.servers.promote(self._replica))
        for wire in self._world.wires:
            wire.connect()
        self._replica = None

    # -- what came of it

    def _heard(self, name: str, task: str) -> list[str]:
        facts = self._world.journal.tasks.get((FrameworkId(name), TaskId(task)))
        words = [each.status for each in facts.delivered] if facts is not None else []
        return [
            f"{status.state.name} by {status.source.name.lower()}" + (f": {status.message}" if status.message else "")
            for status in words
        ] or ["nothing"]

    def _books(self) -> list[str]:
        core = self._master.core if self._master is not None else None
        if core is None:
            return ["nobody leads"]
        state = core.state
        lines = [f"{lost.agent_id} is {lost.absence.value}" for lost in state.lost_agents.values()]
        for agent_id, agent in state.agents.items():
            tasks = ", ".join(f"{task_id} {task.state.name}" for (_, task_id), task in agent.tasks.items())
            held = "".join(f", executor {key[1]} by {each.launched_by}" for key, each in agent.executors.items())
            lines.append(f"{agent_id} is {'active' if agent.active else 'quiet'} with {tasks or 'no tasks'}{held}")
        for framework_id, framework in state.frameworks.items():
            word = "ending" if framework.ending else "connected" if framework.active else "silent"
            unseen = ", ".join(framework.unreachable)
            lines.append(f"{framework_id} is {word}" + (f"; out of sight: {unseen}" if unseen else ""))
        lines.extend(f"{framework_id} has ended" for framework_id in state.completed_frameworks)
        return lines

    def _containers(self, name: str) -> list[str]:
        agent = self._processes[name]
        assert isinstance(agent, AgentProcess)
        running = sorted(
            each.spec.labels.get(LABEL_TASK) or each.spec.labels[LABEL_EXECUTOR]
            for each in agent.host.containers.values()
        )
        launched = [
            task_id
            for (_, task_id), facts in self._world.journal.tasks.items()
            for agent_id, _ in facts.launches
            if agent_id == name
        ]
        return [f"running {', '.join(running) or 'nothing'}; launched {', '.join(launched) or 'nothing'}"]
