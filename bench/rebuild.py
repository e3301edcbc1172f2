"""How long a new master takes until its books are whole again: 10,000 agents with 100,000 running tasks, on one real Redis.

A master takes over a registry with so many admitted agents. It asks each back through its kombu queue, and each comes with
the list of its ten running tasks, after the spread that the master asked for (`REREGISTRATIONS_PER_S`), which is the larger
part of the time. What the agents do, and what is left out of them, is told in `bench/fleet.py`; they and Redis share the
machine with the master.

The time runs from the moment in which the new master begins to ask for the lease, which nobody holds, until its books have
every agent and every task, all of it is committed, and each agent's `Registered` is in its queue. Frameworks are known and do
not subscribe. How long the lease of a dead master takes to end is `bench/failover.py`.

The goal is what Mesos published for its release 1.5 (December 2017, a 2.8 GHz laptop with four cores): as many agents and
tasks, of 5 frameworks, with 10 labels each, in 4.3 s. There all was one process without Redis, and nothing was spread.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TypeVar, cast

import redis

from mesolite.clock import SystemClock
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.garbage import MASTERS_YOUNG, look_for_garbage_seldom
from mesolite.ids import SessionId
from mesolite.lease import LeaseKeeper, LeaseSettings
from mesolite.master import MasterSettings, MasterShell, registry
from mesolite.master.allocator import HierarchicalDrfAllocator
from mesolite.master.core import MasterCore
from mesolite.master.settings import REREGISTRATIONS_PER_S
from mesolite.transport.contract import Commit, Entry
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL, REGISTRY, key_prefix
from mesolite.transport.kombu_bus import KombuBus
from mesolite.transport.redis_store import RedisStore

from .figures import RUNS, Figure, Outcome, main
from .fleet import Fleet, admitted, agent_id, frameworks

AGENTS: Final = 10_000
TASKS_EACH: Final = 10
#: How it grows.
OTHER_SIZES: Final = (1_000, 20_000, 50_000)
GOAL_S: Final = 4.3
#: A run that takes longer is given up: something is wrong.
DEADLINE_S: Final = 120.0
#: Settled agents beat for so long before the next master begins.
PAUSE_S: Final = 1.0

_spawn: Final = multiprocessing.get_context("spawn")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """What one run took."""

    seconds: float
    #: The longest batch from its read until its words were out, and the longest of its parts.
    batch_s: float
    apply_s: float
    commit_s: float
    publish_s: float
    #: Of the lease's time, what was left when least was.
    lease_left_ms: float
    #: The master's own CPU time.
    cpu_s: float
    #: Registrations that agents sent, repeats among them.
    registrations: int = 0


class TimedStore(RedisStore):
    """Notes when a batch was read, and when its commit began and ended."""

    read_s = committing_s = committed_s = 0.0

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """See `Store`."""
        entries = super().read(after, limit=limit, wait_ms=wait_ms)
        self.read_s = self.committing_s = self.committed_s = time.perf_counter()
        return entries

    def commit(self, commit: Commit) -> None:
        """See `Store`."""
        self.committing_s = time.perf_counter()
        super().commit(commit)
        self.committed_s = time.perf_counter()

    def parts(self, now_s: float) -> tuple[float, float, float, float]:
        """The batch that is out now, and its applying, committing and publishing."""
        return (
            now_s - self.read_s,
            self.committing_s - self.read_s,
            self.committed_s - self.committing_s,
            now_s - self.committed_s,
        )


def lead(url: str, agents: int) -> Rebuild:
    """Be the new master until its books are whole."""
    clock, lease = SystemClock(), LeaseSettings()
    with ExitStack() as cleanup:
        store = cleanup.enter_context(closing(TimedStore(url, DEFAULT_CLUSTER)))
        lease_store = cleanup.enter_context(closing(RedisStore(url, DEFAULT_CLUSTER)))
        bus = cleanup.enter_context(closing(KombuBus(url)))
        keeper = LeaseKeeper(store=lease_store, clock=clock, settings=lease)
        shell = MasterShell(
            leadership=keeper,
            store=store,
            bus=bus,
            settings=MasterSettings(),
            new_allocator=HierarchicalDrfAllocator,
            clock=clock,
        )
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        keeper.start("http://127.0.0.1:5050")
        cleanup.callback(keeper.close)
        longest, left_ms = (0.0, 0.0, 0.0, 0.0), float(lease.ttl_ms)
        while time.perf_counter() - began_s < DEADLINE_S:
            assert shell.turn(100), "Redis is away"
            now_s = time.perf_counter()
            grant = keeper.grant()
            if grant is None or not shell.leads:
                continue
            longest = cast("tuple[float, float, float, float]", tuple(map(max, longest, store.parts(now_s))))
            left_ms = min(left_ms, grant.until_ms - clock.now_ms())
            if shell.view(_progress) == (agents, agents * TASKS_EACH):
                return Rebuild(
                    seconds=now_s - began_s,
                    batch_s=longest[0],
                    apply_s=longest[1],
                    commit_s=longest[2],
                    publish_s=longest[3],
                    lease_left_ms=left_ms,
                    cpu_s=time.process_time() - began_cpu_s,
                )
        raise TimeoutError(f"after {DEADLINE_S} s the books have {shell.view(_progress)}")


def _progress(core: MasterCore) -> tuple[int, int]:
    return len(core.state.agents), sum(len(each.tasks) for each in core.state.frameworks.values())


def _master_process(pipe: Connection, url: str, agents: int) -> None:
    look_for_garbage_seldom(MASTERS_YOUNG)
    pipe.send("ready")
    pipe.recv()
    pipe.send(lead(url, agents))


def _fleet_process(pipe: Connection, url: str, agents: int) -> None:
    """Make the agents, say how large a registration is, and let them live; say how many were sent whenever asked."""
    fleet = Fleet(url, agents, TASKS_EACH, seed=agents)
    pipe.send(fleet.payload_bytes)
    while True:
        fleet.step()
        if pipe.poll():
            pipe.recv()
            pipe.send(fleet.registrations)


@contextmanager
def _started(target: object, url: str, agents: int) -> Generator[Connection]:
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=target, args=(theirs, url, agents), daemon=True)  # type: ignore[arg-type]
    process.start()
    # Only the child's end is left open by it: its death ends our waiting.
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def _ask(pipe: Connection, kind: type[_T]) -> _T:
    pipe.send("go on")
    return _answer(pipe, kind)


def _answer(pipe: Connection, kind: type[_T]) -> _T:
    answer = pipe.recv()
    assert isinstance(answer, kind)
    return answer


def _admit(url: str, agents: int) -> None:
    """Fill the registry as an earlier master left it."""
    entries = {
        registry.FRAMEWORK + info.framework_id: registry.encode(
            registry.FrameworkEntry(info=info, session=SessionId("scheduler"), principal=DEFAULT_PRINCIPAL)
        )
        for info in frameworks()
    }
    entries |= {registry.AGENT + agent_id(n): registry.encode(admitted(n)) for n in range(agents)}
    with closing(redis.Redis.from_url(url)) as client:
        pairs: list[str | bytes] = [part for entry in entries.items() for part in entry]
        client.hset(key_prefix(DEFAULT_CLUSTER) + REGISTRY, items=pairs)


def rebuilds_of(agents: int, runs: int) -> tuple[list[Rebuild], int]:
    """Let one master after the other take over the same agents; gives the size of a registration, too."""
    rebuilds: list[Rebuild] = []
    with (
        tempfile.TemporaryDirectory(prefix="mesolite-bench-") as folder,
        EmbeddedRedis(Path(folder)) as server,
    ):
        _admit(server.url, agents)
        with _started(_fleet_process, server.url, agents) as fleet:
            size = _answer(fleet, int)
            for _ in range(runs):
                before = _ask(fleet, int)
                with _started(_master_process, server.url, agents) as master:
                    _answer(master, str)
                    rebuild = _ask(master, Rebuild)
                rebuild = replace(rebuild, registrations=_ask(fleet, int) - before)
                rebuilds.append(rebuild)
                print(f"  {agents:,} agents: {rebuild}", file=sys.stderr, flush=True)
                time.sleep(PAUSE_S)
    return rebuilds, size


def measure(runs: int) -> Outcome:
    """Measure the goal's size, and how it grows."""
    rebuilds, size = rebuilds_of(AGENTS, runs)
    figures = [
        Figure(
            name=f"rebuild: {AGENTS:,} agents, {AGENTS * TASKS_EACH:,} tasks",
            unit="s",
            values=[each.seconds for each in rebuilds],
            goal=GOAL_S,
        ),
        *_details(AGENTS, rebuilds),
    ]
    for agents in OTHER_SIZES if runs >= RUNS else OTHER_SIZES[:1]:
        others, _ = rebuilds_of(agents, runs)
        figures.append(
            Figure(
                name=f"{agents:,} agents, {agents * TASKS_EACH:,} tasks",
                unit="s",
                values=[each.seconds for each in others],
            )
        )
        figures += _details(agents, others)
    return Outcome(
        figures=figures,
        notes=[
            f"agents are asked to come over {AGENTS / REREGISTRATIONS_PER_S:.1f} s ({REREGISTRATIONS_PER_S:,} a second), "
            "which is part of the time; Redis and all agents run on the same cores",
            f"one registration is {size:,} bytes: {TASKS_EACH} tasks of 5 frameworks, 10 labels each",
            f"lease left: of its {LeaseSettings().ttl_ms} ms; at 0 the master would have to stop in the middle",
        ],
    )


def _details(agents: int, rebuilds: Sequence[Rebuild]) -> list[Figure]:
    return [
        Figure(name="  the master's CPU time", unit="s", values=[each.cpu_s for each in rebuilds]),
        Figure(name="  longest batch, read to sent", unit="s", values=[each.batch_s for each in rebuilds]),
        Figure(name="    applied", unit="s", values=[each.apply_s for each in rebuilds]),
        Figure(name="    committed", unit="s", values=[each.commit_s for each in rebuilds]),
        Figure(name="    published", unit="s", values=[each.publish_s for each in rebuilds]),
        Figure(name="  least lease left", unit="ms", values=[each.lease_left_ms for each in rebuilds], better="higher"),
        Figure(
            name="  registrations for each agent", unit="", values=[each.registrations / agents for each in rebuilds]
        ),
    ]


if __name__ == "__main__":
    main("rebuild", measure)
