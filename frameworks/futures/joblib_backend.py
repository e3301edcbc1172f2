"""joblib on a cluster, and so scikit-learn's `n_jobs`. Needs joblib here and in the workers.

import joblib
from mesolite.frameworks.futures import Executor, joblib_backend

joblib_backend.register()
with Executor() as executor, joblib.parallel_config("mesolite", executor=executor):
    GridSearchCV(model, parameters, n_jobs=-1).fit(data, target)
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from joblib import parallel as joblib_parallel
from joblib import register_parallel_backend

from .executor import Calls, Executor
from .remote import run_argument

#: The backend's name, unless another is given.
NAME: Final = "mesolite"
#: What n_jobs=-1 means where the pool has no `max_workers`: joblib wants a number, to send twice as many batches ahead. A
#: pool that grows with its calls would never grow beyond it, so it is large; smaller clusters let what is too many wait.
ELASTIC_JOBS: Final = 64


#: Named once, as what it is: joblib has no types, and what checkers guess from its empty methods is wrong.
_Base: Any = joblib_parallel.ParallelBackendBase
_AutoBatching: Any = joblib_parallel.AutoBatchingMixin


class MesoliteBackend(_AutoBatching, _Base):  # type: ignore[misc]
    """Runs joblib's batches on an executor.

    Args:
        executor: Where; it stays open. Without one, a new one is opened for each use, with the options that are given.
        nesting_level: joblib's own.
        inner_max_num_threads: joblib's own; workers have the threads of their own environment.
        options: As `Executor` takes them.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(
        self,
        executor: Calls | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._given = executor
        self._options = options
        self._executor = executor
        #: Batches that have not ended, so that they can be given up.
        self._futures: set[Future[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """See joblib."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        most = self._options.get("max_workers") or getattr(self._given, "_max_workers", None) or ELASTIC_JOBS
        if n_jobs is None:
            return 1
        return int(n_jobs) if n_jobs > 0 else max(1, most + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **backend_args: Any) -> int:
        """See joblib."""
        self.parallel = parallel
        if self._executor is None:
            self._executor = Executor(**self._options)
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> "Future[Any]":
        """See joblib."""
        assert self._executor is not None, "joblib configures a backend before it uses it"
        # The batch is the argument: as the function it would be another one each time.
        future: Future[Any] = self._executor.submit(run_argument, func)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: "Future[Any]") -> Any:
        """See joblib."""
        return out.result()

    def terminate(self) -> None:
        """See joblib."""
        if self._executor is not None and self._given is None:
            self._executor.shutdown()
            self._executor = None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """See joblib. What runs goes on to its end, for nobody."""
        for future in list(self._futures):
            future.cancel()


def register(name: str = NAME, *, make_default: bool = False) -> None:
    """Let joblib know the backend by a name."""
    register_parallel_backend(name, MesoliteBackend, make_default=make_default)
