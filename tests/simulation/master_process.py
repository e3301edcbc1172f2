"""Masters that compete for the lease: the real keeper, shell and core, in two threads as in a real process."""

from collections.abc import Callable
from typing import Final

from mesolite.errors import Unavailable
from mesolite.lease import Grant, LeaseKeeper, LeaseSettings
from mesolite.master import MasterCore, MasterShell
from mesolite.master.allocator import HierarchicalDrfAllocator
from mesolite.transport.contract import Lease, Store

from .actor import Actor
from .fuse import ProcessDied
from .process import Process
from .world import World

LOOK_MS: Final = 1000
#: What the real one waits before it tries an absent store again.
RETRY_MS: Final = 100


class MasterProcess(Process):
    """One seat of a master, and the lives that sat on it.

    Args:
        world: Where it lives.
        name: Its name in the story.
        check_every: See `MasterShell`.
        usurps: It leads from its first moment on, whoever else does: a lease would not let it.
    """

    def __init__(self, world: World, name: str, *, check_every: int = 1, usurps: bool = False) -> None:
        super().__init__(world, name)
        #: The other thread of this process; it takes turns of its own.
        self.keeping: Final = KeeperThread(self)
        self._lease_wire: Final = self.new_wire()
        self._check_every: Final = check_every
        self._usurps: Final = usurps
        self.shell: MasterShell | None = None
        self.usurper: Usurper | None = None
        self.keeper: LeaseKeeper | None = None
        self._core: MasterCore | None = None
        self.grant: Callable[[], Grant | None] = lambda: None

    @property
    def core(self) -> MasterCore | None:
        """The core that leads, as far as this process knows."""
        if self.shell is None:
            return None
        try:
            return self.shell.view(lambda core: core)
        except Unavailable:
            return None

    def begin(self, now_ms: int) -> None:
        """See `Process`."""
        self.session = f"{self.name}-{self.world.rng.getrandbits(32):08x}"
        self.world.note(self.name, "begins")
        leadership: LeaseKeeper | Usurper
        if self._usurps:
            leadership = self.usurper = Usurper(self._lease_wire.store, self.session)
        else:
            leadership = self.keeper = LeaseKeeper(
                store=self._lease_wire.store,
                clock=self.clock,
                settings=LeaseSettings(ttl_ms=self.world.plan.lease_ttl_ms),
                holder=self.session,
            )
            self.keeping.wake_ms = self.world.now_ms
        self.grant = leadership.grant
        self.shell = MasterShell(
            leadership=leadership,
            store=self.wire.store,
            bus=self.wire.bus,
            settings=self.world.plan.settings,
            new_allocator=HierarchicalDrfAllocator,
            clock=self.clock,
            check_every=self._check_every,
        )

    def live(self, now_ms: int) -> None:
        """See `Process`."""
        shell = self.shell
        assert shell is not None
        answered = shell.turn(0)
        core = self.core
        self.listens = core is not None
        deadline_ms = core.next_deadline_ms() if core is not None else None
        self.keeping.look()
        self.wake_at(self.clock.now_ms() + (LOOK_MS if answered else RETRY_MS), deadline_ms if answered else None)

    def lose_memory(self) -> None:
        """See `Process`: all that is not in the store is gone."""
        self.listens = True
        self.shell = self.keeper = self.usurper = None
        self.grant = lambda: None
        self.keeping.wake_ms = None

    def heal(self) -> None:
        """See `Process`."""
        super().heal()
        self.keeping.stuck_until_ms = 0
        if self.keeper is not None:
            self.keeping.wake_ms = self.world.now_ms


class KeeperThread(Actor):
    """The thread that renews the lease. It stands still when its process does, and may stand still by itself."""

    def __init__(self, process: MasterProcess) -> None:
        super().__init__(f"{process.name}'s keeper", None)
        self._process: Final = process
        #: It waits until then for a store that says nothing.
        self.stuck_until_ms = 0

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        process, keeper = self._process, self._process.keeper
        not_before_ms = max(process.asleep_until_ms, self.stuck_until_ms)
        if now_ms < not_before_ms:
            self.wake_ms = not_before_ms
            return
        if keeper is None:
            return
        led = keeper.grant()
        try:
            keeper.step()
        except ProcessDied:
            process.die("died")
            return
        self.look()
        if led is None and keeper.grant() is not None:
            # The shell waits for just this.
            process.wake_ms = now_ms + 1

    def look(self) -> None:
        """Want the next turn when the keeper has something to do; it may have been told to do it earlier."""
        keeper = self._process.keeper
        deadline_ms = keeper.next_deadline_ms() if keeper is not None else None
        if deadline_ms is not None:
            at_ms = max(self._process.world.now_ms + 1, self._process.clock.true_ms(deadline_ms))
            self.wake_ms = at_ms if self.wake_ms is None else min(self.wake_ms, at_ms)


class Usurper:
    """Leads without asking: what the lease prevents nearly always, and what fencing must bear when it does not."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store: Final = store
        self._holder: Final = holder
        self._lives = 0
        self._epoch: int | None = None
        self._at_least = 1
        #: It gives up once it notices that another leads.
        self.is_old = False

    def grant(self) -> Grant | None:
        """See `Leadership`."""
        if self._epoch is None and self.is_old:
            return None
        if self._epoch is None:
            self._lives += 1
            state = self._store.claim_lease(
                holder=f"{self._holder}-{self._lives}", address="nowhere", ttl_ms=0, at_least=self._at_least
            )
            assert state.lease is not None
            self._epoch = state.lease.epoch
        return Grant(epoch=self._epoch, until_ms=1 << 60)

    def leader(self) -> Lease | None:
        """See `Leadership`."""
        return None

    def spoil(self, epoch: int, at_least: int) -> None:
        """See `Leadership`."""
        self._epoch, self._at_least = None, at_least

    def wait(self, timeout_s: float) -> None:
        """See `Leadership`."""
