"""The peers: all that is timed, Mesolite in both of its modes included, and how."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class PeerSpec:
    """One of them."""

    #: For people.
    name: str
    #: In this folder.
    module: str
    #: Tells apart peers of one module.
    option: str = ""
    #: What to install, and so whose environment to run in; empty: the benchmark's own.
    requirements: tuple[str, ...] = ()
    #: Submitted at once: what takes a second or two.
    calls: int = 10_000
    uses_redis: bool = False


COARSE: Final = PeerSpec(name="Mesolite, coarse-grained", module="ours_peer", option="coarse")
FINE: Final = PeerSpec(name="Mesolite, fine-grained", module="ours_peer", option="fine")

#: Without a scheduler, a store or a retry between caller and worker: the floor.
FUTURES: Final = PeerSpec(name="ProcessPoolExecutor(2)", module="standard", option="futures")
POOL: Final = PeerSpec(name="multiprocessing.Pool(2).map", module="standard", option="pool")
LISTS: Final = PeerSpec(name="2 bare processes over Redis lists", module="lists", uses_redis=True)
LISTS_IN_BATCHES: Final = PeerSpec(
    name="2 bare processes over Redis lists, 32 to an item", module="lists", option="batches", uses_redis=True
)

_CELERY: Final = ("celery[redis]",)
CELERY: Final = PeerSpec(
    name="Celery, prefork", module="celery_peer", option="prefork", requirements=_CELERY, calls=2000, uses_redis=True
)

#: Task queues and clusters, without the one above.
OTHERS: Final = (
    PeerSpec(
        name="Celery, threads",
        module="celery_peer",
        option="threads",
        requirements=_CELERY,
        calls=1000,
        uses_redis=True,
    ),
    PeerSpec(name="Dask distributed", module="dask_peer", requirements=("distributed",), calls=2000),
    PeerSpec(name="Ray", module="ray_peer", requirements=("ray",), calls=3000),
    PeerSpec(name="dramatiq", module="dramatiq_peer", requirements=("dramatiq[redis]",), calls=3000, uses_redis=True),
    PeerSpec(name="RQ", module="rq_peer", requirements=("rq",), calls=1000, uses_redis=True),
    PeerSpec(name="arq", module="arq_peer", requirements=("arq",), calls=2000, uses_redis=True),
    PeerSpec(name="taskiq", module="taskiq_peer", requirements=("taskiq", "taskiq-redis"), calls=2000, uses_redis=True),
    PeerSpec(name="parsl", module="parsl_peer", requirements=("parsl",), calls=2000),
)
