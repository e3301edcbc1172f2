"""`SparkContext`: put together from its parts; each is a file of its own.

reading.py     where RDDs begin
control.py     groups and properties of jobs, cancelling
reporting.py   what happens in it: progress, reports, status
shared_variables.py  broadcast values, accumulators, files
context.py     its life
"""

import atexit
import getpass
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from mesolite.executors.sparklite.run_job import RunJob
from mesolite.executors.sparklite.task import Task

from ..futures.connection import ClusterPlace
from .backend import Backend
from .call_site import call_site
from .conf import SparkConf
from .conf_settings import dag_settings, default_parallelism, framework_name, max_result_bytes, task_limits
from .conf_values import truth
from .control import Control
from .job_scheduler import JobScheduler
from .lineage import Lineage
from .listener import SparkListener
from .local_backend import LocalBackend
from .master_url import LocalMaster, master_of, shown_master
from .opening import agents_of, fit_to, open_cluster, worker_memory_bytes
from .rdd import RDD
from .reading import Reading
from .reporting import Reporting
from .shared_data import SharedData
from .shared_variables import SharedVariables

#: In Spark's local mode a task that fails once fails its job.
LOCAL_MAX_FAILURES: Final = 1


class SparkContext(Reading, Control, Reporting, SharedVariables):
    """Main entry point: a connection to a cluster, which makes RDDs and runs their jobs; see `pyspark.SparkContext`.

    Args:
        master: The cluster: left out, that of `mesolite up`; "mesolite://HOST:PORT" of a Redis; "local[N]" for threads here.
        appName: The application's name, for people.
        sparkHome: Kept for programs that give it.
        pyFiles: Files that tasks import from (`addPyFile`).
        environment: Variables of executors' environment.
        batchSize: Kept for programs that give it: items are batched by their size.
        serializer: As `batchSize`.
        conf: Settings; what is given beside them comes first.

    Raises:
        ConfigError: A setting makes no sense, or the master is of another kind.
        MasterUnavailable: No cluster was found.
        RedisUnavailable: Its Redis does not answer.
    """

    #: The one that `getOrCreate` returns: the newest that was not stopped.
    _active: ClassVar["SparkContext | None"] = None
    _active_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        master: str | None = None,
        appName: str | None = None,
        sparkHome: str | None = None,
        pyFiles: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
        batchSize: int = 0,
        serializer: object = None,
        conf: SparkConf | None = None,
    ) -> None:
        super().__init__(_settings(master, appName, sparkHome, environment, conf))
        self.startTime: Final = int(time.time() * 1000)
        self.appName: Final = self._conf.get("spark.app.name") or ""
        self.environment: Final = dict(environment or {})
        self._compress: Final = truth(self._conf, "spark.shuffle.compress", True)
        self._parallelism: Final = default_parallelism(self._conf)
        given = self._conf.get("spark.master")
        self.master: Final = shown_master(given)
        self._backend, self._jobs, self._data = self._started(given)
        for path in pyFiles or ():
            self.addPyFile(path)
        with SparkContext._active_lock:
            SparkContext._active = self
            _open.add(self)

    def _started(self, master: str | None) -> tuple[Backend, JobScheduler, SharedData]:
        place = master_of(master)
        backend: Backend
        flower_place: ClusterPlace | None = None
        most_bytes = max_result_bytes(self._conf)
        if isinstance(place, LocalMaster):
            limits = task_limits(self._conf, 0)
            settings = dag_settings(self._conf, place.max_failures or LOCAL_MAX_FAILURES)
            backend = LocalBackend(place.workers, place.agents)
            self._app_id = f"local-{self.startTime}"
        else:
            agents = agents_of(place)
            fit_to(agents, self._conf)
            limits = task_limits(self._conf, worker_memory_bytes(self._conf))
            settings = dag_settings(self._conf)
            cluster = open_cluster(place, self._conf, self.appName, agents)
            backend, self._app_id = cluster, cluster.framework_id
            flower_place = cluster.place
        app_id = framework_name(self._app_id)
        data = SharedData(backend, app_id)
        jobs = JobScheduler(backend, app_id, data, settings, limits, most_bytes)
        # Reports show settings.
        self._conf.set("spark.app.id", self._app_id).set("spark.master", self.master)
        for listener in self.own_listeners(flower_place, self._app_id):
            jobs.add_listener(listener)
        jobs.start()
        return backend, jobs, data

    # Its life

    @classmethod
    def getOrCreate(cls, conf: SparkConf | None = None) -> "SparkContext":
        """Get the context that is there, or make a new one."""
        with SparkContext._active_lock:
            active = SparkContext._active
        return active if active is not None else SparkContext(conf=conf)

    def stop(self) -> None:
        """Shut down the context: jobs are cancelled, executors end, and what is kept in stores goes with them."""
        with SparkContext._active_lock:
            if SparkContext._active is self:
                SparkContext._active = None
            _open.discard(self)
        self._jobs.stop("the SparkContext was stopped; make a new one")
        self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<SparkContext master={self.master} appName={self.appName}>"

    # What it is

    def getConf(self) -> SparkConf:
        """Return a copy of its settings."""
        return SparkConf().setAll(self._conf.getAll())

    @property
    def version(self) -> str:
        """The version of Mesolite on which this application is running."""
        return version("mesolite")

    @property
    def applicationId(self) -> str:
        """A unique identifier for the application: on a cluster the framework's id."""
        return self._app_id

    @property
    def uiWebUrl(self) -> str | None:
        """None: there is no page of its own; tasks are shown in Flower, jobs in reports."""
        return None

    @property
    def defaultParallelism(self) -> int:
        """See `ContextBase`."""
        return self._parallelism or self._backend.default_parallelism

    @property
    def shuffle_compress(self) -> bool:
        """See `ContextBase`."""
        return self._compress

    def sparkUser(self) -> str:
        """Get the user who is running this context."""
        return getpass.getuser()

    # Running

    def run(
        self, lineage: Lineage, function: Callable[[Task, Iterator[Any]], Any], partitions: tuple[int, ...], name: str
    ) -> list[Any]:
        """See `ContextBase`."""
        return self._jobs.run(lineage, function, partitions, name, self._properties.all())

    def runJob(
        self,
        rdd: RDD[Any],
        partitionFunc: Callable[[Iterator[Any]], Iterable[Any]],
        partitions: Sequence[int] | None = None,
        allowLocal: bool = False,
    ) -> list[Any]:
        """Execute a function on the given partitions, all of them if None; return what it yields, in one list."""
        wanted = range(rdd.getNumPartitions()) if partitions is None else partitions
        results = self.run(rdd.lineage, RunJob(partitionFunc), tuple(wanted), call_site())
        self.checkpoints.save_marked(rdd.lineage, self)
        return list(chain.from_iterable(results))

    def add_listener(self, listener: SparkListener) -> None:
        """Tell somebody what happens here from now on, on a thread of the context's; see listener.py."""
        self._jobs.add_listener(listener)

    def unpersist(self, rdd_id: int) -> None:
        """Drop what is kept of an RDD: `RDD.unpersist` has said that it is not persisted any more."""
        self._jobs.unpersist(rdd_id)

    @property
    def _scheduler(self) -> JobScheduler:
        return self._jobs

    @property
    def _shared(self) -> SharedData:
        return self._data


def _settings(
    master: str | None,
    app_name: str | None,
    spark_home: str | None,
    environment: dict[str, str] | None,
    conf: SparkConf | None,
) -> SparkConf:
    """A copy of the settings, with what was given beside them."""
    settings = SparkConf().setAll([] if conf is None else conf.getAll())
    for key, value in (("spark.master", master), ("spark.app.name", app_name), ("spark.home", spark_home)):
        if value:
            settings.set(key, value)
    for name, value in (environment or {}).items():
        settings.setExecutorEnv(name, value)
    return settings.setIfMissing("spark.app.name", "sparklite")


#: Contexts that were not stopped.
_open: Final[set[SparkContext]] = set()


def _at_exit() -> None:
    """Leave nothing on the cluster."""
    for context in list(_open):
        context.stop()


# Before threads are joined: what stops a context are threads.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
