"""How the benchmark speaks with a peer: a JSON object to a line, in on standard input, out on what was standard output.

    in   {"do": "many", "calls": 2000}              out  {"seconds": [1.31]}
         {"do": "singles", "calls": 500}                 {"seconds": [0.0021, ...]}
         {"do": "pi", "calls": 8, "samples": 1000000}    {"seconds": [0.9]}
         {"do": "cold", "calls": 1}                      {"seconds": [0.4]}

The first line out is {"version": ..., "setting": ...}, said when workers are up and have run calls. At the end of the input,
which comes too when the benchmark was killed, the peer stops what it started.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

#: Calls before anything is timed, so that both workers have started and have imported or received the function.
WARM_UP_CALLS: Final = 200
#: For workers to end by themselves.
GRACE_S: Final = 5.0


class Peer:
    """One way to call functions. What it returns from is timed, so everything is there when a method returns."""

    #: For people: of the library.
    version = ""
    #: For people: how it is set up, where there was a choice.
    setting = ""

    def start(self) -> None:
        """Bring up two worker processes."""

    def many(self, calls: int) -> None:
        """Submit `work.nothing` so many times, and receive all results."""
        raise NotImplementedError

    def one(self, number: int) -> None:
        """Call `work.nothing`, and await its result."""
        raise NotImplementedError

    def pi(self, calls: int, samples: int) -> None:
        """Submit `work.inside` so many times, and receive all results."""
        raise NotImplementedError

    def cold(self) -> float:
        """Return the seconds from nothing to the first result. It times itself: what ended before is to be gone, untimed."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what `start` began."""


class Workers:
    """Worker processes that a peer starts by their own command."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, arguments: Sequence[str], **environment: str) -> None:
        """Run a module of this interpreter; what it prints goes where this process's own notes go."""
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **environment}
        )
        self._processes.append(process)

    def stop(self) -> None:
        """End all, by force where asking does not help."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def redis_url() -> str:
    """The benchmark's Redis."""
    return os.environ["BENCH_REDIS_URL"]


def folder() -> Path:
    """A folder that the peer may litter."""
    return Path(os.environ["BENCH_FOLDER"])


def option() -> str:
    """What tells apart peers of one module; empty where there is only one."""
    return os.environ.get("BENCH_OPTION", "")


def serve(peer: Peer) -> None:
    """Do what the benchmark asks for until it has enough."""
    # Libraries print; this conversation is not for them.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            peer.start()
            _warm_up(peer)
            _say(out.write, version=peer.version, setting=peer.setting)
            out.flush()
            for line in sys.stdin:
                _say(out.write, seconds=list(_timed(peer, json.loads(line))))
                out.flush()
        finally:
            peer.stop()


def _warm_up(peer: Peer) -> None:
    peer.many(WARM_UP_CALLS)
    peer.one(0)


def _say(write: Callable[[str], object], **answer: Any) -> None:
    write(json.dumps(answer) + "\n")


def _timed(peer: Peer, order: dict[str, Any]) -> Iterator[float]:
    calls: int = order["calls"]
    match order["do"]:
        case "many":
            yield _seconds(partial(peer.many, calls))
        case "singles":
            for number in range(calls):
                yield _seconds(partial(peer.one, number))
        case "pi":
            yield _seconds(partial(peer.pi, calls, order["samples"]))
        case "cold":
            for _ in range(calls):
                yield peer.cold()
        case other:
            raise ValueError(f"nobody knows how to do {other!r}")


def _seconds(do: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    do()
    return time.perf_counter() - began_s
