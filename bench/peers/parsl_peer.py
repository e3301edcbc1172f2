"""parsl: its high-throughput executor with two workers on this machine."""

# pyright: reportMissingImports=false

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from .conversation import Peer, folder, serve
from .work import nothing


class Parsl(Peer):
    """A block of two workers."""

    version = f"parsl {parsl.__version__}"
    setting = "HighThroughputExecutor, 2 workers, no usage tracking"

    def start(self) -> None:
        """See `Peer`."""
        executor = HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=2,
            encrypted=False,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        self._kernel = parsl.load(Config(executors=[executor], run_dir=str(folder()), usage_tracking=0))
        self._called = parsl.python_app(nothing)

    def many(self, calls: int) -> None:
        """See `Peer`."""
        for future in [self._called(number) for number in range(calls)]:
            future.result()

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._called(number).result()

    def stop(self) -> None:
        """See `Peer`."""
        self._kernel.cleanup()


if __name__ == "__main__":
    serve(Parsl())
