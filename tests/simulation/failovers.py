"""How the store fails: it is away; a replica takes over that lacks the newest writes; or the old primary goes on beside it."""

from functools import partial
from typing import Final

from .servers import Server
from .world import World

#: Redis is away for at most so long: a Sentinel failover and then some.
_LONGEST_OUTAGE_MS: Final = 30_000
#: A replica lags behind by at most so much.
_LONGEST_LAG_MS: Final = 1000
#: From the promotion until the last connection has noticed: `down-after-milliseconds`, pub/sub, a client's own timeouts.
_LONGEST_SPLIT_MS: Final = 15_000


class Failovers:
    """Does them."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        #: A replica is about to take over; Sentinels do one failover at a time.
        self._under_way = False

    def away(self) -> None:
        """Let nothing answer for a while."""
        world = self._world
        pause_ms, primary = world.rng.randint(500, _LONGEST_OUTAGE_MS), world.servers.primary
        world.note("chaos", f"Redis is away for {pause_ms} ms")
        primary.broker.available = False

        def mend() -> None:
            primary.broker.available = primary is world.servers.primary or primary in world.servers.replaced

        world.later(pause_ms, mend)

    def forgets(self) -> None:
        """Let a replica take over that had got no further than now, some moments from now; everybody notices at once."""
        world = self._world
        if self._under_way:
            return
        self._under_way, replica = True, world.servers.replica()

        def take_over() -> None:
            self._under_way = False
            if world.peace_ms is not None:
                return
            world.note("chaos", "a Redis takes over that forgot the newest writes")
            old = world.servers.promote(replica)
            world.servers.end(old)
            self._move(old, 0)

        world.later(world.rng.randint(1, _LONGEST_LAG_MS), take_over)

    def splits(self) -> None:
        """Cut the primary off from its replicas and the Sentinels, so that one of them takes over, but not from its clients.

        It takes writes until it notices that it has too few replicas, if it is told to look; each connection moves over at
        its own time.
        """
        world = self._world
        if self._under_way:
            return
        self._under_way, replica = True, world.servers.replica()
        refuses_ms = world.rng.choice((None, world.rng.randint(1, _LONGEST_SPLIT_MS)))

        def take_over() -> None:
            self._under_way = False
            if world.peace_ms is not None:
                return
            old = world.servers.promote(replica)
            world.note("chaos", f"a second Redis takes over beside the first, which refuses writes: {refuses_ms}")
            self._move(old, _LONGEST_SPLIT_MS)
            if refuses_ms is not None:
                world.later(refuses_ms, old.refuse_writes)
            world.later(_LONGEST_SPLIT_MS, partial(world.servers.end, old))

        world.later(world.rng.randint(1, _LONGEST_LAG_MS), take_over)

    def _move(self, old: Server, within_ms: int) -> None:
        """Let each connection to the old server find the new one, in its time."""
        world = self._world
        for wire in world.wires:
            world.later(world.rng.randint(0, within_ms), partial(wire.leave_store, old))
            world.later(world.rng.randint(0, within_ms), partial(wire.leave_bus, old))
