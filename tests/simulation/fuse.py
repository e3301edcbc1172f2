"""How a process dies or stops between any two things that it does: each thing it does to the world burns a bit of its fuse."""

from collections.abc import Callable


class ProcessDied(Exception):
    """The process is no more. Nothing in the system catches this; the simulator does."""


class Fuse:
    """One process's. Everything that a process does outside itself goes through something that calls `burn`."""

    def __init__(self) -> None:
        #: How many more things it does; None: it lives.
        self.left: int | None = None
        #: How many more things it does before it is stopped, and what stops it, where it can be stopped now.
        self.left_to_stop: int | None = None
        self.stop: Callable[[], None] | None = None

    def burn(self) -> None:
        """Do one more thing, or die before it, or stand still before it.

        Raises:
            ProcessDied: This was the end.
        """
        if self.left_to_stop is not None and self.stop is not None:
            self.left_to_stop -= 1
            if self.left_to_stop < 0:
                self.left_to_stop = None
                self.stop()
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise ProcessDied
