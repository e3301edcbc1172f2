"""The leading master: the real shell and core. Another one takes over when it dies, or without asking."""

from typing import Final

from mesolite.errors import CommitRefused, Unavailable
from mesolite.master import MasterCore, MasterShell
from mesolite.master.allocator import HierarchicalDrfAllocator

from .actor import Actor, Process
from .fuse import Fuse, ProcessDied
from .wires import Wire
from .world import World

LOOK_MS: Final = 1000
#: What the real one waits before it tries an absent store again.
RETRY_MS: Final = 500


class MasterProcess(Process):
    """One seat of a master, and the lives that sat on it."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name)
        self._world: Final = world
        self.fuse: Final = Fuse()
        self.wire: Final = Wire(world, name, self.fuse)
        self.shell: MasterShell | None = None

    @property
    def core(self) -> MasterCore | None:
        """The core that leads, as far as this process knows."""
        if self.shell is None:
            return None
        try:
            return self.shell.view(lambda core: core)
        except Unavailable:
            return None

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        if now_ms < self.asleep_until_ms:
            self.wake_ms = self.asleep_until_ms
            return
        if self.restart_ms is not None:
            if now_ms < self.restart_ms:
                self.wake_ms = self.restart_ms
                return
            self._begin()
        assert self.shell is not None
        try:
            answered = self.shell.turn(0)
        except ProcessDied:
            self.die("died")
            return
        self.wake_ms = now_ms + (RETRY_MS if not answered else LOOK_MS)
        if answered and (core := self.core) is not None:
            self.wake_ms = max(now_ms + 1, min(self.wake_ms, core.next_deadline_ms()))

    def die(self, why: str) -> None:
        """End this life: all that is not in the store is gone."""
        self._world.note(self.name, why)
        self.wire.drop()
        self.fuse.left = None
        self.shell = None
        self.restart_ms = self._world.now_ms + self._world.pause_ms()
        self.wake_ms = self.restart_ms

    def heal(self) -> None:
        """See `Process`."""
        super().heal()
        self.fuse.left = None
        self.wire.cut_off = False

    def depose(self) -> "DeposedMaster":
        """Let another begin to lead, here, while the present one goes on without knowing."""
        assert self.shell is not None
        old = DeposedMaster(self._world, self.shell, self.wire)
        self.shell = None
        self.restart_ms = 0
        self.wake_ms = 0
        return old

    def _begin(self) -> None:
        self._world.note(self.name, "begins")
        self.shell = MasterShell(
            store=self.wire.store,
            bus=self.wire.bus,
            settings=self._world.plan.settings,
            new_allocator=HierarchicalDrfAllocator,
            clock=self._world.clock,
            check_every=1,
        )
        self.restart_ms = None


class DeposedMaster(Actor):
    """A master that another has taken over from, until it notices."""

    def __init__(self, world: World, shell: MasterShell, wire: Wire) -> None:
        super().__init__("deposed", world.now_ms + world.pause_ms())
        self._world: Final = world
        self._shell: Final = shell
        #: Its wire is the other's too: only dying is not shared, which it has nothing to lose by.
        self._wire: Final = wire

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        self.wake_ms = now_ms + LOOK_MS
        try:
            self._shell.step(0)
        except CommitRefused:
            self._world.note(self.name, "notices that another leads")
            self.wake_ms = None
        except Unavailable:
            self.wake_ms = now_ms + RETRY_MS
        except ProcessDied:
            self.wake_ms = None
