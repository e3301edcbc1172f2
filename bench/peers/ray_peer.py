"""Ray on two CPUs."""

# pyright: reportMissingImports=false

import ray

from .conversation import Peer, folder, serve
from .work import nothing


class Ray(Peer):
    """A local Ray."""

    version = f"Ray {ray.__version__}"
    setting = "num_cpus=2, no dashboard, a task for each call"

    def start(self) -> None:
        """See `Peer`."""
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=256 * 2**20,
            _temp_dir=str(folder()),
        )
        self._called = ray.remote(nothing)

    def many(self, calls: int) -> None:
        """See `Peer`."""
        ray.get([self._called.remote(number) for number in range(calls)])

    def one(self, number: int) -> None:
        """See `Peer`."""
        ray.get(self._called.remote(number))

    def stop(self) -> None:
        """See `Peer`."""
        ray.shutdown()


if __name__ == "__main__":
    serve(Ray())
