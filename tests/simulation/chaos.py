"""What befalls whole processes, at the paces of the plan."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Final

from mesolite.agent.executor_links.fake_executors import Manners
from mesolite.master.events import OperatorKilled

from .actor import Actor
from .agent_process import AgentProcess
from .failovers import Failovers
from .master_process import MasterProcess
from .plan import LONGEST_JUMP_MS, Paces
from .process import Process
from .program import Program
from .wires import CUTS, Wire
from .world import World

_MINUTE_MS: Final = 60_000
#: A process told to die does so within so many things that it does.
_LONGEST_FUSE: Final = 12


class Chaos(Actor):
    """An actor that harms the others until it is told to stop."""

    def __init__(
        self,
        world: World,
        masters: Sequence[MasterProcess],
        agents: Sequence[AgentProcess],
        programs: Sequence[Program],
        double: Callable[[Program], None],
    ) -> None:
        super().__init__("chaos", world.now_ms)
        self._world: Final = world
        self._masters: Final = masters
        self._agents: Final = agents
        self._programs: Final = programs
        self._leaving = 0
        failovers = Failovers(world)
        self._deeds: Final[dict[str, Callable[[], None]]] = {
            "agent_dies": lambda: self._dies(self._any_agent()),
            "host_reboots": lambda: self._any_agent().reboot(),
            "agent_sleeps": lambda: self._sleep(self._any_agent()),
            "agent_cut_off": lambda: self._cut_off(self._any_agent()),
            "disk_fails": self._disk_fails,
            "agent_leaves": self._agent_leaves,
            "framework_dies": self._framework_dies,
            "framework_sleeps": lambda: self._sleep(self._any_program()),
            "framework_cut_off": lambda: self._cut_off(self._any_program()),
            "framework_ends": self._framework_ends,
            "framework_doubled": lambda: double(self._any_program()),
            "master_dies": lambda: self._dies(self._any_master()),
            "master_sleeps": lambda: self._sleep(self._any_master()),
            "master_cut_off": self._master_cut_off,
            "process_stops": self._process_stops,
            "machine_suspended": self._machine_suspended,
            "clock_jumps": self._clock_jumps,
            "operator_kills": self._operator_kills,
            "executor_dies": lambda: self._any_agent().executors.crash(),
            "executor_hangs_up": lambda: self._any_agent().executors.hang_up(),
            "executors_tardy": self._executors_tardy,
            "store_away": failovers.away,
            "store_forgets": failovers.forgets,
            "store_splits": failovers.splits,
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

    def _any_master(self) -> MasterProcess:
        """Mostly the one that leads."""
        leading = [master for master in self._masters if master.core is not None]
        if leading and self._world.rng.random() < 0.7:
            return leading[0]
        return self._world.rng.choice(self._masters)

    def _any_process(self) -> Process:
        kind = self._world.rng.random()
        return self._any_master() if kind < 0.4 else self._any_agent() if kind < 0.7 else self._any_program()

    def _dies(self, process: Process) -> None:
        process.fuse.left = self._world.rng.randrange(_LONGEST_FUSE)

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
            self._dies(program)

    def _sleep(self, process: Process) -> None:
        pause_ms = self._world.pause_ms()
        self._world.note("chaos", f"{process.name} sleeps for {pause_ms} ms")
        process.sleep(self._world.now_ms + pause_ms)

    def _process_stops(self) -> None:
        process = self._any_process()
        process.stop_ms = self._world.pause_ms()
        process.fuse.left_to_stop = self._world.rng.randrange(_LONGEST_FUSE)

    def _machine_suspended(self) -> None:
        process = self._any_process()
        self._sleep(process)
        process.clock.stop()
        self._world.later(max(1, process.asleep_until_ms - self._world.now_ms), process.clock.go_on)

    def _clock_jumps(self) -> None:
        by_ms = self._world.rng.randint(1, LONGEST_JUMP_MS)
        if self._world.rng.random() < 0.3:
            by_ms = self._world.rng.choice((by_ms, -by_ms))
            self._world.note("chaos", f"the primary's clock jumps by {by_ms} ms")
            self._world.servers.primary.clock.jump(by_ms)
        else:
            process = self._any_process()
            self._world.note("chaos", f"the clock of {process.name} jumps by {by_ms} ms")
            process.clock.jump(by_ms)

    def _cut_off(self, process: Process) -> None:
        self._cut(process.wires)

    def _master_cut_off(self) -> None:
        wires = self._any_master().wires
        self._cut(wires if self._world.rng.random() < 0.5 else [self._world.rng.choice(wires)])

    def _cut(self, wires: Sequence[Wire]) -> None:
        pause_ms, cut = self._world.pause_ms(), self._world.rng.choice(CUTS)
        ways = ", ".join(sorted(way.value for way in cut))
        self._world.note("chaos", f"{wires[0].who} is cut off from {ways} for {pause_ms} ms")
        for wire in wires:
            wire.cuts.append(cut)

        def mend() -> None:
            for wire in wires:
                if cut in wire.cuts:
                    wire.cuts.remove(cut)

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

    def _executors_tardy(self) -> None:
        agent = self._any_agent()
        subscribe_ms = self._world.rng.choice((0, 100, 5_000, 50_000, 70_000))
        self._world.note("chaos", f"executors on {agent.name} take {subscribe_ms} ms to subscribe")
        agent.executors.behave(Manners(subscribe_ms=subscribe_ms, return_ms=self._world.rng.choice((50, 3_000))))

    def _operator_kills(self) -> None:
        agent = self._any_agent()
        tasks = list(agent.shell.core.book.tasks) if agent.shell is not None else []
        if not tasks:
            return
        framework_id, task_id = key = self._world.rng.choice(tasks)
        self._world.journal.task(key).may_be_killed = True
        self._world.note("chaos", f"an operator kills {task_id}")
        master = self._any_master()
        if self._world.rng.random() < 0.5:
            agent.end_task(framework_id, task_id)
        elif master.shell is not None:
            now_ms = master.clock.now_ms()
            master.shell.ask(OperatorKilled(now_ms=now_ms, framework_id=framework_id, task_id=task_id))
