"""What befalls whole processes, at the paces of the plan."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Final

from mesolite.master.events import OperatorKilled

from .actor import Actor
from .agent_process import AgentProcess
from .master_process import MasterProcess
from .plan import Paces
from .process import Process
from .program import Program
from .snapshot import Snapshot
from .world import World

_MINUTE_MS: Final = 60_000
#: A process told to die does so within so many things that it does.
_LONGEST_FUSE: Final = 12
#: Redis is away for at most so long: a Sentinel failover and then some.
_LONGEST_OUTAGE_MS: Final = 30_000
#: A replica lags behind by at most so much.
_LONGEST_LAG_MS: Final = 1000


class Chaos(Actor):
    """An actor that harms the others until it is told to stop."""

    def __init__(
        self, world: World, master: MasterProcess, agents: Sequence[AgentProcess], programs: Sequence[Program]
    ) -> None:
        super().__init__("chaos", world.now_ms)
        self._world: Final = world
        self._master: Final = master
        self._agents: Final = agents
        self._programs: Final = programs
        self._leaving = 0
        self._deeds: Final[dict[str, Callable[[], None]]] = {
            "agent_dies": self._agent_dies,
            "host_reboots": lambda: self._any_agent().reboot(),
            "agent_sleeps": lambda: self._sleep(self._any_agent()),
            "agent_cut_off": lambda: self._cut_off(self._any_agent()),
            "disk_fails": self._disk_fails,
            "agent_leaves": self._agent_leaves,
            "framework_dies": self._framework_dies,
            "framework_sleeps": lambda: self._sleep(self._any_program()),
            "framework_cut_off": lambda: self._cut_off(self._any_program()),
            "framework_ends": self._framework_ends,
            "master_dies": self._master_dies,
            "master_deposed": self._master_deposed,
            "master_sleeps": lambda: self._sleep(self._master),
            "operator_kills": self._operator_kills,
            "store_away": self._store_away,
            "store_forgets": self._store_forgets,
        }
        assert list(self._deeds) == [each.name for each in fields(Paces)], "each pace has its deed"
        self._due_ms: Final = {name: self._next_ms(name) for name in self._deeds if self._pace(name) > 0}

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        for name, due_ms in self._due_ms.items():
            if due_ms <= now_ms:
                self._deeds[name]()
                self._due_ms[name] = self._next_ms(name)
        self.wake_ms = min(self._due_ms.values(), default=None)

    def stop(self) -> None:
        """Do no more harm. What is broken is healed by others."""
        self._due_ms.clear()
        self.wake_ms = None

    def _pace(self, name: str) -> float:
        pace: float = getattr(self._world.plan.paces, name)
        return pace

    def _next_ms(self, name: str) -> int:
        return self._world.now_ms + 1 + int(self._world.rng.expovariate(self._pace(name)) * _MINUTE_MS)

    def _any_agent(self) -> AgentProcess:
        return self._world.rng.choice([agent for agent in self._agents if not agent.left])

    def _any_program(self) -> Program:
        return self._world.rng.choice(self._programs)

    def _agent_dies(self) -> None:
        self._any_agent().fuse.left = self._world.rng.randrange(_LONGEST_FUSE)

    def _agent_leaves(self) -> None:
        """Never the last one: somebody must finish the work."""
        if self._leaving < len(self._agents) - 1:
            self._leaving += 1
            agent = self._any_agent()
            self._world.note("chaos", f"{agent.name} is to leave")
            agent.leave()

    def _framework_dies(self) -> None:
        program = self._any_program()
        if program.mortal:
            program.fuse.left = self._world.rng.randrange(_LONGEST_FUSE)

    def _master_dies(self) -> None:
        self._master.fuse.left = self._world.rng.randrange(_LONGEST_FUSE)

    def _master_deposed(self) -> None:
        if self._master.core is not None:
            self._world.note("chaos", "another master begins to lead")
            self._world.actors.append(self._master.depose())

    def _sleep(self, process: Process) -> None:
        pause_ms = self._world.pause_ms()
        self._world.note("chaos", f"{process.name} sleeps for {pause_ms} ms")
        process.sleep(self._world.now_ms + pause_ms)

    def _cut_off(self, process: Process) -> None:
        pause_ms = self._world.pause_ms()
        self._world.note("chaos", f"{process.name} is cut off for {pause_ms} ms")
        process.wire.cut_off = True

        def mend() -> None:
            process.wire.cut_off = False

        self._world.later(pause_ms, mend)

    def _disk_fails(self) -> None:
        agent = self._any_agent()
        pause_ms = self._world.pause_ms()
        self._world.note("chaos", f"the disk of {agent.name} is full for {pause_ms} ms")
        agent.disk.full = True

        def mend() -> None:
            agent.disk.full = False

        self._world.later(pause_ms, mend)

    def _framework_ends(self) -> None:
        program = self._any_program()
        if program.mortal and program.driver is not None and not program.driver.ended:
            self._world.note("chaos", f"{program.name} is torn down")
            program.actions.append(lambda driver: None if driver.ended else driver.teardown())

    def _operator_kills(self) -> None:
        agent = self._any_agent()
        tasks = list(agent.shell.core.book.tasks) if agent.shell is not None else []
        if not tasks:
            return
        framework_id, task_id = key = self._world.rng.choice(tasks)
        self._world.journal.task(key).may_be_killed = True
        self._world.note("chaos", f"an operator kills {task_id}")
        if self._world.rng.random() < 0.5:
            agent.end_task(framework_id, task_id)
        elif self._master.shell is not None:
            now_ms = self._world.now_ms
            self._master.shell.ask(OperatorKilled(now_ms=now_ms, framework_id=framework_id, task_id=task_id))

    def _store_forgets(self) -> None:
        """Go back to what there is now, some moments from now."""
        world = self._world
        snapshot = Snapshot(world.broker)

        def take_over() -> None:
            world.note("chaos", "a Redis takes over that forgot the newest writes")
            snapshot.restore()

        world.later(world.rng.randint(1, _LONGEST_LAG_MS), take_over)

    def _store_away(self) -> None:
        pause_ms = self._world.rng.randint(500, _LONGEST_OUTAGE_MS)
        self._world.note("chaos", f"Redis is away for {pause_ms} ms")
        self._world.broker.available = False

        def mend() -> None:
            self._world.broker.available = True

        self._world.later(pause_ms, mend)
