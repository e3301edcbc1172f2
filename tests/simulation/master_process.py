"""The leading master: the real shell and core. Another one takes over when it dies, or without asking."""

from typing import Final

from mesolite.errors import CommitRefused, Unavailable
from mesolite.master import MasterCore, MasterShell
from mesolite.master.allocator import HierarchicalDrfAllocator

from .actor import Actor
from .fuse import ProcessDied
from .process import Process
from .world import World

LOOK_MS: Final = 1000
#: What the real one waits before it tries an absent store again.
RETRY_MS: Final = 500


class MasterProcess(Process):
    """One seat of a master, and the lives that sat on it."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
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

    def begin(self, now_ms: int) -> None:
        """See `Process`."""
        self.world.note(self.name, "begins")
        self.shell = MasterShell(
            store=self.wire.store,
            bus=self.wire.bus,
            settings=self.world.plan.settings,
            new_allocator=HierarchicalDrfAllocator,
            clock=self.world.clock,
            check_every=1,
        )

    def live(self, now_ms: int) -> None:
        """See `Process`."""
        assert self.shell is not None
        answered = self.shell.turn(0)
        self.wake_ms = now_ms + (LOOK_MS if answered else RETRY_MS)
        if answered and (core := self.core) is not None:
            self.wake_ms = max(now_ms + 1, min(self.wake_ms, core.next_deadline_ms()))

    def lose_memory(self) -> None:
        """See `Process`: all that is not in the store is gone."""
        self.shell = None

    def depose(self) -> "DeposedMaster":
        """Let another begin to lead, here, while the present one goes on without knowing."""
        assert self.shell is not None
        old = DeposedMaster(self.world, self.shell)
        self.shell = None
        self.restart_ms = self.wake_ms = self.world.now_ms
        return old


class DeposedMaster(Actor):
    """A master that another has taken over from, until it notices. Its wire is the other's too."""

    def __init__(self, world: World, shell: MasterShell) -> None:
        super().__init__("deposed", world.now_ms + world.pause_ms())
        self._world: Final = world
        self._shell: Final = shell

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
