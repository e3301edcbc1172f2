"""Real worker processes under a runner, driven from a test: hand in calls, run the loop, look at how they ended."""

import hashlib
import os
import pickle
import resource
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast

import cloudpickle

from mesolite.executors.driver.loop import Loop, Timer
from mesolite.executors.python.calls import Call, End, Function, Outcome
from mesolite.executors.python.codec import unpack_raised
from mesolite.executors.python.limits import Limits
from mesolite.executors.python.runner import Runner
from mesolite.executors.python.zygote import Zygote, fork_zygote

MEBIBYTE = 1024 * 1024
NEIGHBOURS = 40


#: A zygote's whole program.
_SPAWN = """
import socket
from pathlib import Path
from mesolite.executors.python import zygote
zygote.serve(socket.socket(fileno={fd}), Path({sandbox!r}))
"""


def spawn_zygote(sandbox: Path) -> Zygote:
    """A zygote that has nothing of this process but the environment: no memory, no modules, no filters of warnings."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        its.set_inheritable(True)
        program = _SPAWN.format(fd=its.fileno(), sandbox=str(sandbox))
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    ours.setblocking(False)
    return Zygote(pid, ours)


class CallRig:
    """One executor's runner and its loop."""

    def __init__(
        self,
        sandbox: Path,
        *,
        workers: int = 2,
        limits: Limits | None = None,
        preloads: bool = False,
        zygote: Zygote | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.loop = Loop()
        self.log: list[str] = []
        self.zygote = zygote or fork_zygote(sandbox)
        self.runner = Runner(
            self.loop,
            self.zygote,
            sandbox,
            limits or Limits(64 * MEBIBYTE, MEBIBYTE),
            preloads=preloads,
            changed=self._changed,
            log=self.log.append,
        )
        self.ends: dict[object, Outcome] = {}
        #: How often `done` was called for each key; more than once is wrong.
        self.times_done: dict[object, int] = {}
        self.begun: list[object] = []
        self._keys = count(1)
        self._until: Callable[[], bool] = lambda: True
        self.runner.resize(workers)

    def submit(self, function: Callable[..., object], *args: object, **options: Any) -> object:
        """Hand in a call; options are those of `Call`. Returns its key."""
        key = options.pop("key", None) or next(self._keys)
        self.runner.submit([self.call(key, function, *args, **options)])
        return key

    def call(self, key: object, function: Callable[..., object], *args: object, **options: Any) -> Call:
        """A call, not handed in."""
        pickled: bytes = cloudpickle.dumps(function, 5)
        arguments: bytes = cloudpickle.dumps((args, {}), 5)
        digest = hashlib.sha256(pickled).digest()[:16]
        options.setdefault("begun", self._begun)
        return Call(key, Function(digest, pickled), arguments, self.done, **options)

    def run(self, function: Callable[..., object], *args: object, **options: Any) -> Outcome:
        """Hand in a call and wait for its end."""
        return self.wait(self.submit(function, *args, **options))

    def value(self, function: Callable[..., object], *args: object, **options: Any) -> Any:
        """What a call returned."""
        return value_of(self.run(function, *args, **options))

    def wait(self, key: object, *, within_s: float = 20.0) -> Outcome:
        """Run the loop until a call has ended."""
        self.until(lambda: key in self.ends, within_s=within_s)
        return self.ends[key]

    def wait_all(self, keys: list[object], *, within_s: float = 30.0) -> list[Outcome]:
        """Run the loop until these have ended."""
        self.until(lambda: all(key in self.ends for key in keys), within_s=within_s)
        return [self.ends[key] for key in keys]

    def until(self, condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Run the loop until a condition holds; it is looked at whenever something ended, and now and then."""
        if condition():
            return
        self._until = condition
        deadline_ms = self.loop.now_ms() + within_s * 1000
        timers: list[Timer] = []

        def look() -> None:
            assert self.loop.now_ms() < deadline_ms, f"not within {within_s} s; ended so far: {self.ends}"
            timers[:] = [self.loop.call_later(5, look)]
            if condition():
                self.loop.stop()

        look()
        self.loop.run()
        timers[0].cancel()
        assert condition()

    def until_ended(self, count: int) -> None:
        """Run the loop until so many calls have ended."""
        self.until(lambda: len(self.ends) >= count)

    def pids(self) -> list[int]:
        """Process ids of all workers."""
        return cast("list[int]", list(vars(self.runner)["_crew"].pids.values()))

    def close(self) -> None:
        """End everything."""
        self.runner.close()
        self.loop.close()

    def done(self, call: Call, outcome: Outcome) -> None:
        """What each call is ended by."""
        self.ends[call.key] = outcome
        self.times_done[call.key] = self.times_done.get(call.key, 0) + 1
        if self._until():
            self.loop.stop()

    def _begun(self, call: Call) -> None:
        self.begun.append(call.key)

    def _changed(self) -> None:
        if self._until():
            self.loop.stop()


@contextmanager
def call_rig(sandbox: Path, **options: Any) -> Generator[CallRig]:
    """A rig that is ended with the test."""
    rig = CallRig(sandbox, **options)
    try:
        yield rig
    finally:
        rig.close()


def value_of(outcome: Outcome) -> Any:
    """What the call returned."""
    assert outcome.end is End.RETURNED, outcome
    assert isinstance(outcome.payload, bytes)
    return pickle.loads(outcome.payload)


def raised_by(outcome: Outcome) -> tuple[BaseException | None, str, str, str]:
    """What the call raised: the exception, its type's name, message and traceback."""
    assert outcome.end is End.RAISED, outcome
    assert isinstance(outcome.payload, bytes)
    pickled, type_name, message, text = unpack_raised(outcome.payload)
    return (pickle.loads(pickled) if pickled is not None else None), type_name, message, text


def double(number: int) -> int:
    """What innocent calls do."""
    return 2 * number


def backwards(data: bytes) -> bytes:
    """As much out as in."""
    return data[::-1]


def pause(seconds: float) -> bool:
    """What a call does that is to run for a while."""
    return threading.Event().wait(seconds)


def touch_and_pause(path: Path, seconds: float) -> bool:
    """As `pause`, and shows that it has begun."""
    path.touch()
    return pause(seconds)


def run_among_neighbours(rig: CallRig, function: Callable[..., object], *args: object, **options: Any) -> Outcome:
    """Run a call in the midst of calls that are known to be short, and see that these all return what they should."""
    rig.wait_all([rig.submit(double, number) for number in range(20)])  # they prove to be short
    before = [rig.submit(double, number) for number in range(NEIGHBOURS)]
    key = rig.submit(function, *args, **options)
    after = [rig.submit(double, number) for number in range(NEIGHBOURS)]
    rig.wait_all([*before, key, *after])
    for keys in (before, after):
        assert [value_of(rig.ends[each]) for each in keys] == [2 * number for number in range(NEIGHBOURS)]
    assert set(rig.times_done.values()) == {1}
    return rig.ends[key]


def runs(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def resident_bytes(pid: int) -> int:
    """What of a process is in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
