"""What may come to harm: a process with a clock and wires to Redis and kombu, through all its lives."""

from typing import Final

from .actor import Actor
from .clocks import SkewedClock
from .fuse import Fuse, ProcessDied
from .stoppable import StoppableTurn
from .wires import Wire
from .world import World


class Process(Actor):
    """Something that may die, sleep, stop and be cut off; the kinds of processes say what they do while they live."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name, world.now_ms)
        self.world: Final = world
        self.fuse: Final = Fuse()
        #: What it takes for the time; cores and shells are told nothing else.
        self.clock: Final = SkewedClock(world.clock)
        #: All its connections, and the one that each process has.
        self.wires: Final[list[Wire]] = []
        self.wire: Final = self.new_wire()
        #: What this life calls itself, where it does.
        self.session = ""
        #: When it begins its next life; None while it lives.
        self.restart_ms: int | None = world.now_ms
        #: How long it is dead between two lives; None: as the dice fall.
        self.rest_ms: int | None = None
        #: It does nothing until then.
        self.asleep_until_ms = 0
        #: How long it stands still when its fuse says so.
        self.stop_ms = 0
        #: A turn that stands still in its middle.
        self._stopped: StoppableTurn | None = None

    @property
    def alive(self) -> bool:
        """Whether it lives, be it asleep."""
        return self.restart_ms is None

    def new_wire(self) -> Wire:
        """Make one more connection of this process, which dies with it."""
        wire = Wire(self.world, self.name, self.fuse)
        self.wires.append(wire)
        self.world.wires.append(wire)
        return wire

    def turn(self, now_ms: int) -> None:
        """See `Actor`."""
        not_before_ms = max(self.asleep_until_ms, self.restart_ms or 0)
        if now_ms < not_before_ms:
            self.wake_ms = not_before_ms
            return
        try:
            if self._stopped is not None or self.fuse.left_to_stop is not None:
                self._stoppable_turn()
            else:
                self._whole_turn()
        except ProcessDied:
            self.die("died")

    def begin(self, now_ms: int) -> None:
        """Begin a life, at this time by the process's clock."""
        raise NotImplementedError

    def live(self, now_ms: int) -> None:
        """Do what there is to do, and call `wake_at`."""
        raise NotImplementedError

    def lose_memory(self) -> None:
        """Let go of everything that dies with the process."""
        raise NotImplementedError

    def wake_at(self, *at_ms: int | None) -> None:
        """Want the next turn at the first of these times by the process's clock, and not in this millisecond."""
        first_ms = min(each for each in at_ms if each is not None)
        self.wake_ms = max(self.world.now_ms + 1, self.clock.true_ms(first_ms))

    def die(self, why: str) -> None:
        """End this life. What the process keeps in a safe place stays."""
        self.world.note(self.name, why)
        self.end_turn()
        for wire in self.wires:
            wire.drop()
        self.fuse.left = self.fuse.left_to_stop = None
        self.lose_memory()
        rest_ms = self.world.pause_ms() if self.rest_ms is None else self.rest_ms
        self.restart_ms = self.wake_ms = self.world.now_ms + rest_ms

    def sleep(self, until_ms: int) -> None:
        """Do nothing for a while, as in a stopped virtual machine."""
        self.asleep_until_ms = max(self.asleep_until_ms, until_ms)

    def heal(self) -> None:
        """Wake up, or begin to live, at once; and be reached by everybody."""
        self.asleep_until_ms = 0
        self.fuse.left = self.fuse.left_to_stop = None
        self.clock.go_on()
        for wire in self.wires:
            wire.cuts.clear()
        self.wake_ms = self.world.now_ms
        if self.restart_ms is not None:
            self.restart_ms = self.world.now_ms

    def end_turn(self) -> None:
        """Let a turn that stands still be over where it stands."""
        stopped, self._stopped, self.fuse.stop = self._stopped, None, None
        if stopped is not None:
            stopped.end()

    def _whole_turn(self) -> None:
        if self.restart_ms is not None:
            self.restart_ms = None
            rng, clocks = self.world.rng, self.world.plan.clocks
            self.clock.begin(
                off_by_ms=int(rng.uniform(-clocks.skew_ms, clocks.skew_ms)),
                rate=rng.uniform(1 - clocks.drift, 1 + clocks.drift),
            )
            self.begin(self.clock.now_ms())
        self.live(self.clock.now_ms())

    def _stoppable_turn(self) -> None:
        turn = self._stopped if self._stopped is not None else StoppableTurn(self._whole_turn)
        self._stopped, self.fuse.stop = turn, turn.stop
        try:
            turn.go_on()
        finally:
            if turn.over:
                self._stopped = self.fuse.stop = None
        if not turn.over:
            self.world.note(self.name, f"is stopped in the middle of something for {self.stop_ms} ms")
            self.sleep(self.world.now_ms + self.stop_ms)
            self.wake_ms = self.asleep_until_ms
