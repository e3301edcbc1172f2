"""The standard library's own pools of two processes: `ProcessPoolExecutor`, and `multiprocessing.Pool.map` call by call."""

import multiprocessing.pool
import platform
from concurrent.futures import ProcessPoolExecutor

from .conversation import Peer, option, serve
from .work import inside, nothing


class Futures(Peer):
    """`concurrent.futures`."""

    version = f"Python {platform.python_version()}"
    setting = "ProcessPoolExecutor(2), submit and result"

    def start(self) -> None:
        """See `Peer`."""
        self._pool = ProcessPoolExecutor(2)

    def many(self, calls: int) -> None:
        """See `Peer`."""
        futures = [self._pool.submit(nothing, number) for number in range(calls)]
        for future in futures:
            future.result()

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._pool.submit(nothing, number).result()

    def stop(self) -> None:
        """See `Peer`."""
        self._pool.shutdown()


class Pool(Peer):
    """`multiprocessing`."""

    version = f"Python {platform.python_version()}"
    setting = "Pool(2).map with chunksize=1, so that calls travel one by one"

    def start(self) -> None:
        """See `Peer`."""
        self._pool: multiprocessing.pool.Pool = multiprocessing.Pool(2)

    def many(self, calls: int) -> None:
        """See `Peer`."""
        self._pool.map(nothing, range(calls), chunksize=1)

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._pool.apply(nothing, (number,))

    def pi(self, calls: int, samples: int) -> None:
        """See `Peer`."""
        self._pool.starmap(inside, [(seed, samples) for seed in range(calls)], chunksize=1)

    def stop(self) -> None:
        """See `Peer`."""
        self._pool.terminate()
        self._pool.join()


if __name__ == "__main__":
    serve(Pool() if option() == "pool" else Futures())
