"""What takes turns in the simulated world."""


class Actor:
    """A process, or something else that acts at its times."""

    def __init__(self, name: str, wake_ms: int | None) -> None:
        #: For the trace.
        self.name = name
        #: When it wants its next turn; None: when somebody wakes it.
        self.wake_ms: int | None = wake_ms
        #: It wants to be woken when there is something to read.
        self.listens = True

    def turn(self, now_ms: int) -> None:
        """Do what there is to do, and set `wake_ms`, which is None by now."""
        raise NotImplementedError
