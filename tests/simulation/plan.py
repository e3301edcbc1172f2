"""What a seed means: the shape of a cluster, and which faults it will suffer how often.

Some kinds of fault are off in a run, some are light, some heavy. With all of them at once nothing would ever get far enough
for the interesting cases, and with few runs would be alike.
"""

import random
from dataclasses import dataclass, field, fields
from typing import Final, TypeVar

from mesolite.master import MasterSettings
from mesolite.master.settings import OFFER_DELAY_MS

#: Virtual time under faults.
MIN_TROUBLE_MS: Final = 60_000
MAX_TROUBLE_MS: Final = 180_000
#: Clocks jump by at most so much.
LONGEST_JUMP_MS: Final = 60_000
ROLES: Final = ("*", "a", "b")


def _chance(*, light: float, heavy: float) -> float:
    """A kind of fault that hits single messages, by its probability for each."""
    return field(default=0.0, metadata={"light": light, "heavy": heavy})


def _pace(*, light: float, heavy: float) -> float:
    """A kind of fault that hits processes, by how often it comes in a minute of the whole cluster."""
    return field(default=0.0, metadata={"light": light, "heavy": heavy})


@dataclass(slots=True)
class Chances:
    """Probabilities of faults of single messages. All 0: everything arrives, once and in order."""

    #: kombu: a message vanishes, comes twice, or comes seconds later than its successors.
    command_lost: float = _chance(light=0.03, heavy=0.3)
    command_twice: float = _chance(light=0.03, heavy=0.3)
    command_late: float = _chance(light=0.05, heavy=0.4)
    #: An append, put or commit raises: and nothing was written, or it was, or it will be in a moment.
    write_lost: float = _chance(light=0.02, heavy=0.15)
    write_unanswered: float = _chance(light=0.02, heavy=0.15)
    write_late: float = _chance(light=0.02, heavy=0.1)
    #: A read raises.
    read_failed: float = _chance(light=0.01, heavy=0.08)
    #: A framework's reader misses an entry of its stream; or sees what is there only seconds later.
    events_skipped: float = _chance(light=0.03, heavy=0.2)
    events_late: float = _chance(light=0.05, heavy=0.3)


@dataclass(slots=True)
class Clocks:
    """How wrong clocks are. All 0: all are right."""

    #: Each life of a process begins so far from the true time at most.
    skew_ms: float = _chance(light=200, heavy=60_000)
    #: It counts so much too fast or too slowly at most, as a share.
    drift: float = _chance(light=0.001, heavy=0.03)
    #: The same for servers, whose clocks stamp entries and end leases.
    server_skew_ms: float = _chance(light=100, heavy=20_000)


@dataclass(slots=True)
class Paces:
    """How often processes suffer, in a minute."""

    #: It dies between any two things that it does, and its containers run on.
    agent_dies: float = _pace(light=0.5, heavy=4)
    #: The machine dies, and the containers with it.
    host_reboots: float = _pace(light=0.2, heavy=1)
    #: It does nothing for a while, often longer than the master waits.
    agent_sleeps: float = _pace(light=0.3, heavy=2)
    #: It goes on, but Redis or kombu do not answer it, or do not hear it, or the one but not the other.
    agent_cut_off: float = _pace(light=0.3, heavy=2)
    #: Its disk takes no checkpoint, so its process ends.
    disk_fails: float = _pace(light=0.2, heavy=1)
    #: It ends its tasks and leaves the cluster for good; another stays.
    agent_leaves: float = _pace(light=0.1, heavy=0.4)
    framework_dies: float = _pace(light=0.5, heavy=3)
    framework_sleeps: float = _pace(light=0.3, heavy=2)
    framework_cut_off: float = _pace(light=0.3, heavy=2)
    #: A framework is torn down by its scheduler.
    framework_ends: float = _pace(light=0.2, heavy=0.5)
    #: A second scheduler begins under the same id while the first goes on.
    framework_doubled: float = _pace(light=0.2, heavy=1)
    #: It dies between any two things that it does.
    master_dies: float = _pace(light=0.5, heavy=3)
    master_sleeps: float = _pace(light=0.3, heavy=1.5)
    #: As agents; or only the connection of its lease.
    master_cut_off: float = _pace(light=0.3, heavy=2)
    #: Any process stands still in the middle of something, as by SIGSTOP, and goes on later with what it had in its hands.
    process_stops: float = _pace(light=0.5, heavy=4)
    #: Any machine is suspended: nothing of it runs, and its clock stands still.
    machine_suspended: float = _pace(light=0.2, heavy=1.5)
    #: Any process's clock jumps forward, or the primary's in any direction.
    clock_jumps: float = _pace(light=0.2, heavy=1.5)
    #: An operator kills a task, through the master or on its machine.
    operator_kills: float = _pace(light=1, heavy=5)
    #: An executor is killed, or its connection breaks, for longer than its agent waits now and then.
    executor_dies: float = _pace(light=1, heavy=6)
    executor_hangs_up: float = _pace(light=1, heavy=6)
    #: From then on, executors of one machine are slow to subscribe: some never do within the time they have.
    executors_tardy: float = _pace(light=0.3, heavy=2)
    #: Nothing answers anybody.
    store_away: float = _pace(light=0.3, heavy=1.5)
    #: Another Redis takes over, which lacks the newest writes that the old one had acknowledged (asynchronous replication).
    store_forgets: float = _pace(light=0.3, heavy=2)
    #: The same, and the old one goes on for some seconds for those who have not noticed.
    store_splits: float = _pace(light=0.3, heavy=1.5)


_Kinds = TypeVar("_Kinds", Chances, Paces, Clocks)


@dataclass(frozen=True, slots=True)
class AgentShape:
    """A machine."""

    cpus: int
    mem_mib: int
    start_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    masters: int
    lease_ttl_ms: int
    #: Claims and renewals of the lease wait for a replica (WAIT).
    waits_for_replicas: bool
    #: A master's invariants are checked at each so-manieth of its steps: at each one costs a quarter of the run.
    check_every: int
    agents: tuple[AgentShape, ...]
    #: Roles of each batch framework.
    batches: tuple[tuple[str, ...], ...]
    #: Roles of each plain framework.
    plains: tuple[tuple[str, ...], ...]
    #: Roles of each framework with executors.
    pools: tuple[tuple[str, ...], ...]
    settings: MasterSettings
    reconcile_interval_ms: int
    trouble_ms: int
    chances: Chances
    paces: Paces
    clocks: Clocks

    @property
    def leases_are_exact(self) -> bool:
        """Whether nothing in this run can make two masters believe that they lead: no server forgets, no clock is far off."""
        return (
            self.waits_for_replicas
            and self.clocks.server_skew_ms == 0
            and self.paces.machine_suspended == 0
            and self.paces.clock_jumps == 0
        )

    @property
    def leaderless_ms(self) -> int:
        """How long nobody may lead once the faults have stopped.

        A dead leader's lease must run out, by the clock of a server that may have taken it over with its own idea of the time
        (Redis replicates the moment at which a key expires); writes may still arrive late.
        """
        jumps_ms = LONGEST_JUMP_MS if self.paces.clock_jumps else 0
        return 3 * self.lease_ttl_ms + 5_000 + 2 * int(self.clocks.server_skew_ms) + jumps_ms


def draw(seed: int) -> Plan:
    """Draw a run."""
    rng = random.Random(f"plan {seed}")
    heartbeat_ms = rng.choice((1000, 2000, 5000))
    return Plan(
        seed=seed,
        masters=_of(seed, "masters").choice((1, 2, 2, 3)),
        lease_ttl_ms=_of(seed, "lease_ttl_ms").choice((1000, 2000, 2000, 5000)),
        waits_for_replicas=_of(seed, "waits_for_replicas").random() < 0.7,
        check_every=_of(seed, "check_every").choice((1, *(20,) * 7)),
        agents=tuple(
            AgentShape(
                cpus=rng.choice((1, 2, 4, 8)), mem_mib=rng.choice((512, 1024, 4096)), start_ms=rng.choice((0, 200))
            )
            for _ in range(rng.randint(1, 4))
        ),
        batches=tuple(_roles(rng) for _ in range(rng.choice((1, 1, 1, 2)))),
        plains=tuple(_roles(rng) for _ in range(rng.choice((0, 1, 1, 2)))),
        pools=tuple(_roles(_of(seed, f"pool{number}")) for number in range(_of(seed, "pools").choice((0, 1, 1, 2)))),
        settings=MasterSettings(
            offer_timeout_ms=rng.choice((5_000, 20_000, 60_000)),
            offer_delay_ms=_of(seed, "offer_delay").choice((0, OFFER_DELAY_MS)),
            heartbeat_interval_ms=heartbeat_ms,
            agent_timeout_ms=rng.choice((4, 8, 15)) * heartbeat_ms,
            agent_reregister_timeout_ms=rng.choice((15_000, 60_000, 600_000)),
            weights_milli=(("a", rng.choice((500, 1000, 3000))),),
        ),
        reconcile_interval_ms=rng.choice((30_000, 120_000, 600_000)),
        trouble_ms=rng.randint(MIN_TROUBLE_MS, MAX_TROUBLE_MS),
        chances=_draw(seed, Chances()),
        paces=_draw(seed, Paces()),
        clocks=_draw(seed, Clocks()),
    )


def suffering(plan: Plan, *names: str) -> Plan:
    """Make these kinds of faults heavy in a plan, and return it."""
    for name in names:
        for kinds in (plan.chances, plan.paces, plan.clocks):
            for each in fields(kinds):
                if each.name == name:
                    setattr(kinds, name, each.metadata["heavy"])
    return plan


def all_faults() -> tuple[str, ...]:
    """Return the names of all kinds of faults."""
    return tuple(each.name for kinds in (Chances, Paces, Clocks) for each in fields(kinds))


def _of(seed: int, name: str) -> random.Random:
    """Return the dice of one choice: a new choice changes nothing about the others in the plans of old seeds."""
    return random.Random(f"{name} {seed}")


def _roles(rng: random.Random) -> tuple[str, ...]:
    return tuple(sorted(rng.sample(ROLES, rng.choice((1, 1, 2)))))


def _draw(seed: int, kinds: _Kinds) -> _Kinds:
    """Set each kind to nothing, light or heavy; one run in ten has no fault of these kinds at all.

    Each has dice of its own, so that a new kind changes nothing about the others in the plans of old seeds.
    """
    if _of(seed, type(kinds).__name__).random() < 0.1:
        return kinds
    for each in fields(kinds):
        strength = _of(seed, each.name).choices(("off", "light", "heavy"), (6, 3, 1))[0]
        if strength != "off":
            setattr(kinds, each.name, each.metadata[strength])
    return kinds
