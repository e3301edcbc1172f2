"""The scheduler of a context: a thread with an inbox, and any number of threads that wait for their jobs.

user's threads --run--> plan, pickle --> inbox --+
backend's threads --executors, ends of tasks-----+--> one thread: DagShell --> backend
collector --an RDD is gone-----------------------+
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final

from mesolite.logs import get_logger

from .backend import Backend, Ending
from .dag.settings import DagSettings
from .dag_shell import DagShell
from .errors import ContextStopped, JobCancelled, JobFailed
from .jobs import Job
from .lineage import Lineage
from .listener import SparkListener
from .plan import Plan
from .stage_plan import ResultFunction
from .task_specs import Sharing, TaskLimits, TaskSpecs

#: So much of the inbox is one turn: what a turn comes to is sent at its end.
_TURN: Final = 256
#: How long a context that is stopped waits for its thread to end what it does.
_STOP_PATIENCE_S: Final = 10.0

_log = get_logger("mesolite.sparklite")


class JobScheduler:
    """Runs jobs on a backend; it is the backend's listener.

    Args:
        backend: Not started yet.
        app_id: The application's.
        sharing: What tasks share beside shuffles.
        settings: Of the DAG scheduler.
        limits: Of tasks.
        max_result_bytes: Of one job.
    """

    def __init__(
        self,
        backend: Backend,
        app_id: str,
        sharing: Sharing,
        settings: DagSettings,
        limits: TaskLimits,
        max_result_bytes: int,
    ) -> None:
        self._inbox: Final[SimpleQueue[Callable[[], None]]] = SimpleQueue()
        self._backend: Final = backend
        self._plan: Final = Plan(self._collected)
        specs = TaskSpecs(app_id, self._plan, sharing, limits)
        self._shell: Final = DagShell(backend, self._plan, specs, sharing, settings, max_result_bytes)
        self._job_ids: Final = count()
        #: Guards the next two.
        self._lock: Final = threading.Lock()
        #: Jobs that have not ended, with their groups.
        self._active: Final[dict[int, Job]] = {}
        #: Why nothing runs any more; empty while it does.
        self._over = ""
        self._stopped = False
        #: The thread's: it is through.
        self._ended = False
        self._thread: Final = threading.Thread(target=self._run, name=f"sparklite {app_id}", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            MesoliteError: There is no cluster.
        """
        self._thread.start()
        self._backend.start(self)

    # For users' threads

    def run(
        self,
        lineage: Lineage,
        function: ResultFunction,
        partitions: tuple[int, ...],
        name: str,
        properties: dict[str, str],
    ) -> list[Any]:
        """Run a job, and wait for it; an interrupt cancels it.

        Raises:
            JobFailed: It failed, or was cancelled.
            ClosureError: A function cannot be sent.
            ContextStopped: The context is over.
        """
        self.check_open()
        plan = self._plan.job(lineage, function, name)
        job = Job(next(self._job_ids), plan, name, partitions, properties)
        with self._lock:
            self._active[job.job_id] = job
        self._post(partial(self._shell.submit, job))
        try:
            # A context that ended meanwhile takes no more of its inbox.
            self.check_open()
            return job.future.result()
        except KeyboardInterrupt:
            self.cancel([job.job_id], f"{name} was interrupted")
            raise
        finally:
            with self._lock:
                del self._active[job.job_id]

    def cancel(self, job_ids: Sequence[int], reason: str) -> None:
        """Cancel jobs; those that have ended are ignored."""
        self._post(partial(self._shell.cancel, tuple(job_ids), reason))

    def cancel_where(self, wanted: Callable[[Job], bool], reason: str) -> None:
        """Cancel all jobs of a kind."""
        with self._lock:
            job_ids = [job_id for job_id, job in self._active.items() if wanted(job)]
        self.cancel(job_ids, reason)

    def unpersist(self, rdd_id: int) -> None:
        """Drop what is kept of an RDD."""
        self._post(partial(self._shell.unpersist, rdd_id))

    def add_listener(self, listener: SparkListener) -> None:
        """Tell somebody what happens from now on."""
        self._post(partial(self._shell.announcements.listeners.append, listener))

    def check_open(self) -> None:
        """Make sure that jobs are taken.

        Raises:
            ContextStopped: They are not.
        """
        if self._over:
            raise ContextStopped(self._over)

    def stop(self, reason: str) -> None:
        """End all jobs, the thread and the backend. May be repeated."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._over = self._over or reason
        self._post(partial(self._end, JobCancelled, reason))
        self._thread.join(_STOP_PATIENCE_S)
        self._backend.close()

    # The backend's listener

    def executor_changed(self, executor_id: str, agent_id: str, host: str, workers: int) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.executor_changed, executor_id, agent_id, host, workers))

    def executor_over(self, executor_id: str, reason: str) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.executor_over, executor_id, reason))

    def agent_lost(self, agent_id: str, reason: str) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.agent_lost, agent_id, reason))

    def task_began(self, task_id: int) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.task_began, task_id))

    def task_ended(self, task_id: int, ending: Ending) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.task_ended, task_id, ending))

    def refused(self, reason: str) -> None:
        """See `BackendListener`."""
        self._post(partial(self._shell.refused, reason))

    def broke(self, reason: str) -> None:
        """See `BackendListener`."""
        with self._lock:
            self._over = self._over or f"the cluster is lost: {reason}; make a new SparkContext"
        self._post(partial(self._end, JobFailed, self._over))

    # The thread

    def _post(self, action: Callable[[], None]) -> None:
        self._inbox.put(action)

    def _collected(self) -> None:
        """From the collector: in any thread, in the middle of anything."""
        self._inbox.put(self._shell.forget_collected)

    def _run(self) -> None:
        try:
            while not self._ended:
                self._turn()
                self._shell.end_turn()
        except BaseException as failure:
            reason = f"the scheduler failed: {type(failure).__name__}: {failure}"
            _log.error("sparklite.scheduler_failed", reason=reason)
            with self._lock:
                self._over = self._over or reason
                active = list(self._active.values())
            for job in active:
                if not job.future.done():
                    job.future.set_exception(JobFailed(reason))
            raise

    def _turn(self) -> None:
        """Do what the inbox holds, waiting for the first of it until something is due."""
        actions: list[Callable[[], None]] = []
        try:
            actions.append(self._inbox.get(timeout=self._shell.wait_s()))
            while len(actions) < _TURN:
                actions.append(self._inbox.get_nowait())
        except Empty:
            pass
        for action in actions:
            action()

    def _end(self, kind: type[JobFailed], reason: str) -> None:
        self._ended = True
        self._shell.end_all(lambda: kind(reason))
        self._shell.announcements.close()
