"""What takes turns in the simulated world."""


class Actor:
    """A process, or something else that acts at its times."""

    def __init__(self, name: str, wake_ms: int | None) -> None:
        #: For the trace.
        self.name = name
        #: When it wants its next turn; None: when somebody wakes it.
        self.wake_ms = wake_ms

    def turn(self, now_ms: int) -> None:
        """Do what there is to do, and set `wake_ms`, which is None by now."""
        raise NotImplementedError


class Process(Actor):
    """Something that may die, sleep and be cut off; the kinds of processes add what they do while they live."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 0)
        #: When it begins its next life; None while it lives.
        self.restart_ms: int | None = 0
        #: It does nothing until then.
        self.asleep_until_ms = 0

    @property
    def alive(self) -> bool:
        """Whether it lives, be it asleep."""
        return self.restart_ms is None

    def sleep(self, until_ms: int) -> None:
        """Do nothing for a while, as in a stopped virtual machine."""
        self.asleep_until_ms = max(self.asleep_until_ms, until_ms)

    def heal(self) -> None:
        """Wake up, or begin to live, at the next turn."""
        self.asleep_until_ms = 0
        if self.restart_ms is not None:
            self.restart_ms = 0
        self.wake_ms = 0
