"""How a process dies between any two things that it does: each thing it does to the world burns a bit of its fuse."""


class ProcessDied(Exception):
    """The process is no more. Nothing in the system catches this; the simulator does."""


class Fuse:
    """One process's. Everything that a process does outside itself goes through something that calls `burn`."""

    def __init__(self) -> None:
        #: How many more things it does; None: it lives.
        self.left: int | None = None

    def burn(self) -> None:
        """Do one more thing, or die before it.

        Raises:
            ProcessDied: This was the end.
        """
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise ProcessDied
