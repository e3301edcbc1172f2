"""The simulated world: one clock, one source of chance, one Redis, and whoever takes turns in it, one at a time.

Nothing here runs by itself. The next turn is that of whoever wants it earliest; the clock jumps there.
"""

import heapq
import random
from collections.abc import Callable
from typing import Final

from mesolite.clock import ManualClock
from mesolite.transport.memory_broker import MemoryBroker

from .actor import Actor
from .journal import Journal
from .plan import Chances, Plan
from .trace import Trace

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
        self.clock: Final = ManualClock()
        self.broker: Final = MemoryBroker(self.clock)
        self.journal: Final = Journal()
        self.chances = plan.chances
        self.actors: Final[list[Actor]] = []
        #: Who reads a stream or queue.
        self.readers: Final[dict[str, Actor]] = {}
        #: What is to be done when, in order of time, then of planning.
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.clock.now_ms()

    def note(self, who: str, what: str, payload: bytes = b"") -> None:
        """Add a line to the trace, with a message where it is about one."""
        self.trace.note(self.now_ms, who, what, payload)

    def later(self, delay_ms: int, do: Callable[[], None]) -> None:
        """Do something after a while."""
        self._planned += 1
        heapq.heappush(self._agenda, (self.now_ms + delay_ms, self._planned, do))

    def written(self, name: str) -> None:
        """Wake the reader of a stream or queue, some milliseconds from now."""
        reader = self.readers.get(name)
        if reader is not None:
            at_ms = self.now_ms + self.rng.randint(1, MAX_LATENCY_MS)
            reader.wake_ms = at_ms if reader.wake_ms is None else min(reader.wake_ms, at_ms)

    def pause_ms(self) -> int:
        """Draw how long something is away: mostly seconds, now and then longer than anybody waits for an agent."""
        if self.rng.random() < 0.2:
            return self.rng.randint(self.plan.settings.agent_timeout_ms // 2, self.plan.settings.agent_timeout_ms * 2)
        return self.rng.randint(100, 8_000)

    def peace(self) -> None:
        """From now on every message arrives."""
        self.chances = Chances()
        self.broker.available = True

    def step(self, until_ms: int) -> bool:
        """Let the next one take its turn, or the next planned thing happen; the clock stands at its time afterwards.

        Returns:
            False if nobody wants a turn by then; the clock stands at `until_ms`.
        """
        agenda_ms = self._agenda[0][0] if self._agenda else until_ms + 1
        actor = min(
            (each for each in self.actors if each.wake_ms is not None), key=lambda each: each.wake_ms or 0, default=None
        )
        actor_ms = actor.wake_ms if actor is not None and actor.wake_ms is not None else until_ms + 1
        if min(agenda_ms, actor_ms) > until_ms:
            self._move_to(until_ms)
            return False
        if agenda_ms <= actor_ms or actor is None:
            self._move_to(agenda_ms)
            heapq.heappop(self._agenda)[2]()
            return True
        self._move_to(actor_ms)
        actor.wake_ms = None
        actor.turn(self.now_ms)
        return True

    def _move_to(self, at_ms: int) -> None:
        self.clock.advance(max(0, at_ms - self.now_ms))
