"""The simulated world: one true time, one source of chance, the Redis servers, and whoever takes turns in it, one at a time.

Nothing here runs by itself. The next turn is that of whoever wants it earliest; the clock jumps there.
"""

import heapq
import random
from collections.abc import Callable
from typing import Final

from mesolite.clock import ManualClock
from mesolite.transport.memory_broker import MemoryBroker

from .actor import Actor
from .clocks import SkewedClock
from .journal import Journal
from .plan import Chances, Plan
from .servers import Servers
from .trace import Trace
from .wires import Wire

#: From a write to the moment at which its reader has it.
MAX_LATENCY_MS: Final = 20


class World:
    """What all processes share.

    Args:
        plan: The run.
        trace: Where its story goes.
    """

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan: Final = plan
        self.trace: Final = trace
        self.rng: Final = random.Random(f"run {plan.seed}")
        #: The true time, which nobody in the system knows.
        self.clock: Final = ManualClock()
        self.servers: Final = Servers(self._server_clock)
        self.journal: Final = Journal()
        self.chances = plan.chances
        self.actors: Final[list[Actor]] = []
        #: Who took the last turn; None where something else happened.
        self.moved: Actor | None = None
        #: Who reads a stream or queue.
        self.readers: Final[dict[str, list[Actor]]] = {}
        #: The connections of all processes.
        self.wires: Final[list[Wire]] = []
        #: Since when there are no more faults; None while there are.
        self.peace_ms: int | None = None
        #: What is to be done when, in order of time, then of planning.
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.clock.now_ms()

    @property
    def broker(self) -> MemoryBroker:
        """What the present primary holds."""
        return self.servers.primary.broker

    @property
    def waits_for_replicas(self) -> bool:
        """Whether claims and renewals of the lease use WAIT."""
        return self.plan.waits_for_replicas

    def note(self, who: str, what: str, payload: bytes = b"") -> None:
        """Add a line to the trace, with a message where it is about one."""
        self.trace.note(self.now_ms, who, what, payload)

    def later(self, delay_ms: int, do: Callable[[], None]) -> None:
        """Do something after a while."""
        self._planned += 1
        heapq.heappush(self._agenda, (self.now_ms + delay_ms, self._planned, do))

    def written(self, name: str) -> None:
        """Wake the readers of a stream or queue, some milliseconds from now."""
        for reader in self.readers.get(name, ()):
            if not reader.listens:
                continue
            at_ms = self.now_ms + self.rng.randint(1, MAX_LATENCY_MS)
            reader.wake_ms = at_ms if reader.wake_ms is None else min(reader.wake_ms, at_ms)

    def pause_ms(self) -> int:
        """Draw how long something is away: mostly seconds, now and then longer than anybody waits for an agent."""
        if self.rng.random() < 0.2:
            return self.rng.randint(self.plan.settings.agent_timeout_ms // 2, self.plan.settings.agent_timeout_ms * 2)
        return self.rng.randint(100, 8_000)

    def peace(self) -> None:
        """From now on every message arrives, and everybody talks to the one primary."""
        self.chances = Chances()
        self.peace_ms = self.now_ms
        for server in list(self.servers.replaced):
            self.servers.end(server)
        self.servers.primary.broker.available = True
        self.servers.primary.refuses_writes = self.servers.primary.alone = False
        for wire in self.wires:
            wire.connect()

    def step(self, until_ms: int) -> bool:
        """Let the next one take its turn, or the next planned thing happen; the clock stands at its time afterwards.

        Returns:
            False if nobody wants a turn by then; the clock stands at `until_ms`.
        """
        agenda_ms = self._agenda[0][0] if self._agenda else until_ms + 1
        actor, actor_ms = None, until_ms + 1
        for each in self.actors:
            if each.wake_ms is not None and each.wake_ms < actor_ms:
                actor, actor_ms = each, each.wake_ms
        self.moved = None
        if agenda_ms <= actor_ms and agenda_ms <= until_ms:
            self._move_to(agenda_ms)
            heapq.heappop(self._agenda)[2]()
            return True
        if actor is None:
            self._move_to(until_ms)
            return False
        self._move_to(actor_ms)
        self.moved = actor
        actor.wake_ms = None
        actor.turn(self.now_ms)
        return True

    def _move_to(self, at_ms: int) -> None:
        self.clock.advance(max(0, at_ms - self.now_ms))

    def _server_clock(self) -> SkewedClock:
        clock, skew_ms = SkewedClock(self.clock), self.plan.clocks.server_skew_ms
        clock.begin(off_by_ms=int(self.rng.uniform(-skew_ms, skew_ms)), rate=1.0)
        return clock
