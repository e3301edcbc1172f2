"""A whole cluster in one thread: masters, agents on their machines, frameworks, and what a run of it is.

A run has two phases. Under faults, only safety is asked for. Then the faults stop, everything is healed, schedulers want
nothing more, and within a bounded time everything must come to rest.
"""

import random
from typing import Final

from mesolite.agent.executor_links.fake_executors import Manners
from mesolite.frameworks.batch.core import BatchCore
from mesolite.frameworks.batch.job import JobSpec
from mesolite.frameworks.batch.retry import RetryPolicy
from mesolite.frameworks.batch.scheduler import BatchScheduler
from mesolite.frameworks.batch.task import TaskSpec
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.ids import AgentId, FrameworkId, SessionId
from mesolite.protocol import FrameworkInfo, decode_dead_letter
from mesolite.transport.keys import (
    DEAD_LETTERS,
    agent_queue,
    calls_stream,
    framework_stream,
    reports_stream,
)
from mesolite.transport.memory import MemoryStore

from .agent_process import AgentProcess
from .chaos import Chaos
from .master_process import MasterProcess
from .plan import Plan
from .pool_scheduler import PoolScheduler
from .process import Process
from .program import Program
from .schedulers import Memory, PlainScheduler, RecordedDriver, Results, any_command
from .trace import Trace
from .world import World

#: A day, so that no framework is given up because its program was away.
_FAILOVER_MS: Final = 86_400_000


class Cluster:
    """Everything of one run."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.world: Final = World(plan, trace)
        self.masters: Final = [
            MasterProcess(self.world, f"m{number}", check_every=plan.check_every)
            for number in range(1, plan.masters + 1)
        ]
        self.agents: Final = [
            AgentProcess(self.world, AgentId(f"a{number}"), shape) for number, shape in enumerate(plan.agents, 1)
        ]
        self.results: Final[dict[FrameworkId, Results]] = {}
        self.memories: Final[dict[FrameworkId, Memory]] = {}
        self.programs: Final = [
            *(self._batch(FrameworkId(f"batch{number}"), roles) for number, roles in enumerate(plan.batches, 1)),
            *(self._plain(FrameworkId(f"plain{number}"), roles) for number, roles in enumerate(plan.plains, 1)),
            *(
                self._plain(FrameworkId(f"pool{number}"), roles, PoolScheduler)
                for number, roles in enumerate(plan.pools, 1)
            ),
        ]
        self.chaos: Final = Chaos(self.world, self.masters, self.agents, self.programs, self.double)
        keepers = [master.keeping for master in self.masters]
        self.world.actors.extend((*self.masters, *keepers, *self.agents, *self.programs, self.chaos))
        self.world.actors.extend(agent.executors for agent in self.agents)
        self.world.readers[calls_stream()] = self.world.readers[reports_stream()] = list(self.masters)
        for agent in self.agents:
            self.world.readers[agent_queue(agent.info.agent_id)] = [agent]
        for program in self.programs:
            self.world.readers[framework_stream(program.framework_id)] = [program]

    @property
    def leading(self) -> list[MasterProcess]:
        """Those that lead, as far as they know."""
        return [master for master in self.masters if master.core is not None]

    def double(self, program: Program) -> None:
        """Let a second process of a framework begin while the first goes on."""
        if not program.mortal or any(each.name == program.twin_name for each in self.programs):
            return
        twin = program.twin()
        self.world.note("chaos", f"{twin.name} begins under the id of {program.name}")
        self.world.journal.doubled.add(program.framework_id)
        self.programs.append(twin)
        self.world.actors.append(twin)
        self.world.readers[framework_stream(program.framework_id)].append(twin)

    def close(self) -> None:
        """End what stands still in its middle."""
        for process in self.processes:
            process.end_turn()

    @property
    def processes(self) -> list[Process]:
        """All that may come to harm."""
        return [*self.masters, *self.agents, *self.programs]

    def heal(self) -> None:
        """Stop all harm and mend what is broken; schedulers want nothing more than they have."""
        self.world.note("world", "peace")
        self.chaos.stop()
        self.world.peace()
        for process in self.processes:
            process.heal()
        for agent in self.agents:
            agent.executors.behave(Manners())
        for memory in self.memories.values():
            memory.closing = True
        for program in self.programs:
            if program.framework_id in self.world.journal.ended:
                # A store that forgets may have forgotten the end, and nobody else would ever say it again.
                program.die("is torn down once more")
                program.heal()

    def unrest(self) -> str | None:
        """Say what is not at rest yet, or None."""
        journal = self.world.journal
        for framework_id, results in self.results.items():
            if results.open:
                return f"jobs of {framework_id} that have not ended: {list(results.open)}"
        for framework_id, memory in self.memories.items():
            live = [
                task_id
                for task_id in memory.live
                if not journal.is_out_of_sight((framework_id, task_id))
                and not journal.never_was((framework_id, task_id))
            ]
            if live and framework_id not in journal.ended:
                return f"tasks of {framework_id} that have not ended: {live}"
        for program in self.programs:
            if program.driver is None:
                return f"{program.name} does not live"
            if program.driver.ended:
                continue
            rivals = [each for each in self.programs if each.framework_id == program.framework_id]
            if sum(1 for each in rivals if each.driver is not None and not each.driver.ended) > 1:
                return f"several processes of {program.framework_id} live"
            remembered = [
                task_id
                for task_id in program.driver.core.tasks
                if not journal.is_out_of_sight((program.framework_id, task_id))
            ]
            if remembered:
                return f"{program.name} remembers tasks: {remembered}"
        for agent in (each for each in self.agents if not each.left):
            if agent.host.containers:
                return (
                    f"containers on {agent.name}: {[str(each.spec.labels) for each in agent.host.containers.values()]}"
                )
            if agent.shell is None or not agent.shell.core.link.registered:
                return f"{agent.name} is not registered"
            if agent.shell.core.executors.executors:
                return f"{agent.name} remembers executors: {list(agent.shell.core.executors.executors)}"
            if agent.shell.core.book.tasks:
                return f"{agent.name} remembers tasks: {list(agent.shell.core.book.tasks)}"
        return self._unrest_of_books()

    def dead_letters(self) -> list[str]:
        """Return what was set aside, and why."""
        entries = MemoryStore(self.world.broker).read({DEAD_LETTERS: "0-0"}, limit=5, wait_ms=0)
        return [
            f"{letter.source}: {letter.reason}" for letter in (decode_dead_letter(each.payload) for each in entries)
        ]

    def _unrest_of_books(self) -> str | None:
        if not self.leading:
            return "nobody leads"
        core = self.leading[0].core
        assert core is not None
        for framework in core.state.frameworks.values():
            lost = [task for task in framework.unreachable.values() if task.agent_id not in self.world.journal.left]
            books = [*framework.tasks.values(), *lost]
            if books:
                listed = [f"{task.info.task_id} {task.state.name}, said {task.status.state.name}" for task in books]
                return f"{framework.info.framework_id} has tasks in the master's books: {listed}"
            if framework.ending or framework.info.framework_id in self.world.journal.ended:
                return f"{framework.info.framework_id} has not quite ended"
        if core.state.agents.keys() != {agent.info.agent_id for agent in self.agents if not agent.left}:
            return "agents are missing in the master's books"
        for agent in core.state.agents.values():
            if len(agent.commands):
                return f"commands to {agent.info.agent_id} that it has not confirmed"
            if agent.offered or agent.used:
                return f"{agent.info.agent_id} is booked out: {agent.offered} {agent.used}"
        return None

    # -- frameworks

    def _info(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> FrameworkInfo:
        return FrameworkInfo(
            framework_id=framework_id, name=framework_id, roles=roles, failover_timeout_ms=_FAILOVER_MS
        )

    def _settings(self) -> DriverSettings:
        return DriverSettings(reconcile_interval_ms=self.world.plan.reconcile_interval_ms)

    def _batch(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> Program:
        journal = self.world.journal
        results = self.results[framework_id] = Results(framework_id, journal)
        scheduler = BatchScheduler(BatchCore(framework_id), results)

        def new_driver(session: SessionId, rng: random.Random) -> SchedulerDriver:
            return RecordedDriver(
                scheduler,
                self._info(framework_id, roles),
                session=session,
                rng=rng,
                settings=self._settings(),
                known_tasks=(),
                journal=journal,
            )

        program = Program(self.world, framework_id, new_driver, mortal=False)
        times = sorted(
            self.world.rng.randint(0, self.world.plan.trouble_ms) for _ in range(self.world.rng.randint(1, 3))
        )
        for number, at_ms in enumerate(times, 1):
            self._plan_job(
                program, scheduler, _any_job(self.world.rng, f"{framework_id}-j{number}", roles, results), at_ms
            )
        return program

    def _plan_job(self, program: Program, scheduler: BatchScheduler, job: JobSpec, at_ms: int) -> None:
        rng = self.world.rng
        self.world.journal.jobs[program.framework_id, job.job_id] = job
        self.results[program.framework_id].open[job.job_id] = None

        def submit() -> None:
            self.world.note(
                program.name, f"{job.job_id}: {job.count} tasks of {job.task.cpus} CPUs: {job.task.command}"
            )
            program.actions.append(lambda driver: scheduler.submit(driver, job))

        def cancel() -> None:
            self.world.note(program.name, f"{job.job_id} is cancelled")
            program.actions.append(lambda driver: scheduler.cancel(driver, job.job_id))

        self.world.later(at_ms, submit)
        if rng.random() < 0.15:
            self.world.later(at_ms + rng.randint(0, 60_000), cancel)

    def _plain(
        self, framework_id: FrameworkId, roles: tuple[str, ...], kind: type[PlainScheduler] = PlainScheduler
    ) -> Program:
        memory = self.memories[framework_id] = Memory()

        def new_driver(session: SessionId, rng: random.Random) -> SchedulerDriver:
            return RecordedDriver(
                kind(framework_id, roles, memory, rng),
                self._info(framework_id, roles),
                session=session,
                rng=rng,
                settings=self._settings(),
                known_tasks=tuple(memory.live.items()),
                journal=self.world.journal,
            )

        return Program(self.world, framework_id, new_driver, mortal=True)


def _any_job(rng: random.Random, job_id: str, roles: tuple[str, ...], earlier: Results) -> JobSpec:
    command = any_command(rng, for_ever=False)
    assert command.value is not None
    return JobSpec(
        job_id=job_id,
        task=TaskSpec(
            command=command.value,
            uris=command.uris,
            # No agent is large enough for the largest, and not every one for the next.
            cpus=rng.choices((0.1, 0.5, 1, 2, 4, 64), (4, 4, 4, 2, 1, 1))[0],
            mem_mib=rng.choice((32, 128, 500)),
            max_time_ms=rng.choice((None, None, None, 8_000)),
            role=rng.choice(roles),
        ),
        count=rng.randint(1, 12),
        retry=RetryPolicy(
            max_attempts=rng.choice((1, 1, 3)),
            unreachable_ms=rng.choice((0, 5_000, 300_000)),
            backoff_ms=rng.choice((0, 1000)),
        ),
        after=tuple(earlier.open) if rng.random() < 0.2 else (),
    )
