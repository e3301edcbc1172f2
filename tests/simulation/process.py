"""What may come to harm: a process with a wire to Redis and kombu, through all its lives."""

from typing import Final

from .actor import Actor
from .fuse import Fuse, ProcessDied
from .wires import Wire
from .world import World


class Process(Actor):
    """Something that may die, sleep and be cut off; the kinds of processes say what they do while they live."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name, world.now_ms)
        self.world: Final = world
        self.fuse: Final = Fuse()
        self.wire: Final = Wire(world, name, self.fuse)
        #: What this life calls itself, where it does.
        self.session = ""
        #: When it begins its next life; None while it lives.
        self.restart_ms: int | None = world.now_ms
        #: How long it is dead between two lives; None: as the dice fall.
        self.rest_ms: int | None = None
        #: It does nothing until then.
        self.asleep_until_ms = 0

    @property
    def alive(self) -> bool:
        """Whether it lives, be it asleep."""
        return self.restart_ms is None

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        not_before_ms = max(self.asleep_until_ms, self.restart_ms or 0)
        if now_ms < not_before_ms:
            self.wake_ms = not_before_ms
            return
        try:
            if self.restart_ms is not None:
                self.restart_ms = None
                self.begin(now_ms)
            self.live(now_ms)
        except ProcessDied:
            self.die("died")

    def begin(self, now_ms: int) -> None:
        """Begin a life."""
        raise NotImplementedError

    def live(self, now_ms: int) -> None:
        """Do what there is to do, and set `wake_ms`."""
        raise NotImplementedError

    def lose_memory(self) -> None:
        """Let go of everything that dies with the process."""
        raise NotImplementedError

    def die(self, why: str) -> None:
        """End this life. What the process keeps in a safe place stays."""
        self.world.note(self.name, why)
        self.wire.drop()
        self.fuse.left = None
        self.lose_memory()
        rest_ms = self.world.pause_ms() if self.rest_ms is None else self.rest_ms
        self.restart_ms = self.wake_ms = self.world.now_ms + rest_ms

    def sleep(self, until_ms: int) -> None:
        """Do nothing for a while, as in a stopped virtual machine."""
        self.asleep_until_ms = max(self.asleep_until_ms, until_ms)

    def heal(self) -> None:
        """Wake up, or begin to live, at once; and be reached by everybody."""
        self.asleep_until_ms = 0
        self.fuse.left = None
        self.wire.cut_off = False
        self.wake_ms = self.world.now_ms
        if self.restart_ms is not None:
            self.restart_ms = self.world.now_ms
