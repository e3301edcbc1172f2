"""Dask distributed: a scheduler in this process, two worker processes of one thread."""

# pyright: reportMissingImports=false

import distributed

from .conversation import Peer, folder, serve
from .work import nothing


class Dask(Peer):
    """A local cluster."""

    version = f"distributed {distributed.__version__}"
    setting = "LocalCluster(n_workers=2, threads_per_worker=1, processes=True), map and gather, no dashboard"

    def start(self) -> None:
        """See `Peer`."""
        self._cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(folder()),
        )
        self._client = distributed.Client(self._cluster)
        self._client.wait_for_workers(2)

    def many(self, calls: int) -> None:
        """See `Peer`."""
        self._client.gather(self._client.map(nothing, range(calls), pure=False))

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._client.submit(nothing, number, pure=False).result()

    def stop(self) -> None:
        """See `Peer`."""
        self._client.close()
        self._cluster.close()


if __name__ == "__main__":
    serve(Dask())
