"""What a future raises where its call has no result, and no exception of its own.

    MesoliteError
    +-- CallError                      one call has no result; others go on
    |   +-- CallLost                   nobody knows how far it came: its executor or agent is gone
    |   +-- WorkerDied                 its worker process ended under it
    |   +-- OutOfMemory                it went over its memory limit
    |   +-- CallTimedOut               it ran longer than its `timeout` (a TimeoutError as well)
    |   +-- CallKilled                 `Future.kill` ended it
    |   +-- NotPicklable               function, argument or result does not travel (a pickle.PicklingError as well)
    |   +-- ResultTooLarge             raise `max_result_bytes`, or return less
    |   +-- ArgumentsTooLarge          raise `max_argument_bytes`, or send less along
    |   +-- BlockLost                  a large argument or result was on an agent that is gone
    |   +-- RemoteError                it raised something that cannot be brought back; the text of it can
    |   +-- CannotRun                  no executor can run it: correct the options
    |       +-- TooLargeForCluster     no agent has so much
    |       +-- PythonMismatch         another minor version of Python
    |       +-- ImageWithoutPython     there is no interpreter in the image
    +-- ExecutorBroken                 the pool cannot go on (broken.py)

All can be pickled: they may well be raised in a call of another pool.
"""

import pickle
from typing import Self

from mesolite.errors import MesoliteError


class CallError(MesoliteError):
    """The call has no result."""


class CallLost(CallError):
    """The executor or agent that ran the call is gone, and nobody knows how far it came; retries=N lets such calls run again."""


class WorkerDied(CallError):
    """The worker process ended while it ran the call; see the call's log for its last words."""


class OutOfMemory(CallError):
    """The call went over its memory limit; give it more with mem_mib."""

    def __init__(self, message: str | None = None, limit_bytes: int = 0, peak_bytes: int = 0) -> None:
        super().__init__(message)
        #: 0 where it is not known.
        self.limit_bytes = limit_bytes
        #: The most that was seen; 0 where it is not known.
        self.peak_bytes = peak_bytes

    def __reduce__(self) -> tuple[type[Self], tuple[str, int, int]]:
        return type(self), (str(self), self.limit_bytes, self.peak_bytes)


class CallTimedOut(CallError, TimeoutError):
    """The call ran longer than its timeout and was ended."""


class CallKilled(CallError):
    """The call was killed by its caller."""


class NotPicklable(CallError, pickle.PicklingError):
    """The function, an argument or the result cannot be pickled."""


class ResultTooLarge(CallError):
    """The result is larger than max_result_bytes of the executor; raise that, or write it where others can read it."""


class ArgumentsTooLarge(CallError):
    """The arguments, or the function, are larger than what can be sent; the message says what allows more."""


class BlockLost(CallError):
    """A large argument or result lay on an agent that is gone; submit the call again."""


class RemoteError(CallError):
    """The call raised an exception that cannot be brought here; its text and traceback are in the cause."""


class CannotRun(CallError):
    """No executor can run the call; correct its options."""


class TooLargeForCluster(CannotRun):
    """No agent has what the call asks for; ask for less, or add a larger agent."""


class PythonMismatch(CannotRun):
    """The executor's Python has another minor version than this program's; choose an image or a `python` that matches."""


class ImageWithoutPython(CannotRun):
    """The image has no Python interpreter, or not where `python` says; choose another one."""


class RemoteTraceback(Exception):
    """The traceback of an exception where it was raised, as text: the cause of the exception that a future raises."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.text,)
