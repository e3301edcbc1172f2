"""Mesolite's futures on a running cluster; the option is the mode of the executor: `coarse` or `fine`."""

import os
import time
from typing import Final, Literal

import cloudpickle

from mesolite.frameworks.futures import Executor

from ..clusters import wait_until_idle
from . import work
from .conversation import Peer, option, serve

#: For the cluster to be idle again.
IDLE_TIMEOUT_S: Final = 30.0
#: Workers are held for as long as the benchmark measures others, as theirs are.
HELD_S: Final = 3600.0


class Ours(Peer):
    """An executor, on agents with two CPUs in all."""

    def __init__(self, mode: Literal["coarse", "fine"]) -> None:
        self._mode: Literal["coarse", "fine"] = mode
        self.version = f"{mode}-grained"
        # A call that is a task takes as little as there is, so that hundreds are on their way while two run.
        self._cpus, self._mem_mib = (1.0, 128) if mode == "coarse" else (0.01, 8)
        what = "worker" if mode == "coarse" else "call, a task of its own"
        self.setting = f"2 worker processes, {self._cpus:g} CPUs and {self._mem_mib} MiB for each {what}"

    def start(self) -> None:
        """See `Peer`."""
        # Workers need not have this benchmark, as they need not have the program of any caller.
        cloudpickle.register_pickle_by_value(work)
        self._executor = self._made()

    def many(self, calls: int) -> None:
        """See `Peer`."""
        submitted = [self._executor.submit(work.nothing, number) for number in range(calls)]
        for future in submitted:
            future.result()

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._executor.submit(work.nothing, number).result()

    def pi(self, calls: int, samples: int) -> None:
        """See `Peer`."""
        submitted = [self._executor.submit(work.inside, seed, samples) for seed in range(calls)]
        for future in submitted:
            future.result()

    def cold(self) -> float:
        """See `Peer`."""
        self.stop()
        assert wait_until_idle(os.environ["BENCH_MASTER_URL"], within_s=IDLE_TIMEOUT_S), (
            "a shutdown leaves something behind"
        )
        began_s = time.perf_counter()
        self._executor = self._made()
        self._executor.submit(work.nothing, 0).result()
        return time.perf_counter() - began_s

    def stop(self) -> None:
        """See `Peer`."""
        self._executor.shutdown()

    def _made(self) -> Executor:
        return Executor(
            os.environ["BENCH_NEAREST_REDIS_URL"],
            os.environ["BENCH_CLUSTER"],
            mode=self._mode,
            cpus=self._cpus,
            mem_mib=self._mem_mib,
            idle_timeout=HELD_S,
            name="bench",
        )


if __name__ == "__main__":
    serve(Ours("fine" if option() == "fine" else "coarse"))
