"""What an executor raises that cannot go on. Apart from the other errors, which what decides may import."""

from concurrent.futures import BrokenExecutor

from mesolite.errors import MesoliteError


class ExecutorBroken(BrokenExecutor, MesoliteError):
    """The pool cannot go on; make a new Executor."""
