"""dramatiq over Redis, results included: two processes of eight threads, its default."""

# pyright: reportMissingImports=false

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from .conversation import Peer, Workers, redis_url, serve
from .work import nothing

#: For a result; longer, and something hangs.
TIMEOUT_MS = 60_000

broker = RedisBroker(url=redis_url())
broker.add_middleware(Results(backend=RedisBackend(url=redis_url()), store_results=True))
dramatiq.set_broker(broker)
called = dramatiq.actor(nothing)


class Dramatiq(Peer):
    """Workers of its own command."""

    version = f"dramatiq {dramatiq.__version__}"
    setting = "2 processes of 8 threads, results in Redis"

    def __init__(self) -> None:
        self._workers = Workers()

    def start(self) -> None:
        """See `Peer`."""
        self._workers.start(["dramatiq", "bench.peers.dramatiq_peer", "--processes", "2", "--threads", "8"])

    def many(self, calls: int) -> None:
        """See `Peer`."""
        for message in [called.send(number) for number in range(calls)]:
            message.get_result(block=True, timeout=TIMEOUT_MS)

    def one(self, number: int) -> None:
        """See `Peer`."""
        called.send(number).get_result(block=True, timeout=TIMEOUT_MS)

    def stop(self) -> None:
        """See `Peer`."""
        self._workers.stop()


if __name__ == "__main__":
    serve(Dramatiq())
