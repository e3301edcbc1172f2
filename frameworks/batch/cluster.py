"""The batch framework as a Python program sees it: connect, submit, iterate over results.

    with batch.connect() as cluster:
        job = cluster.submit("echo hello from $MESOLITE_INDEX", count=10, cpus=0.5, mem_mib=64)
        for result in job.results():
            print(result.index, result.state, result.exit_code)

`connect` finds the cluster of `mesolite up`. The framework lives as long as the block: left with every job done, or by an
exception (Ctrl-C is one), it is torn down, which kills what still runs; left early without an exception its tasks run on for the
failover timeout, but nobody will collect their results.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Unpack
from uuid import uuid4

from mesolite.clock import Clock
from mesolite.discovery import find_cluster
from mesolite.errors import BadInput, ConfigError, FrameworkError, MasterUnavailable, MesoliteError
from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import FrameworkInfo
from mesolite.transport.contract import Store
from mesolite.transport.keys import DEFAULT_CLUSTER, DEFAULT_PRINCIPAL
from mesolite.transport.opening import open_store as open_store_at

from ..driver.driver import SchedulerDriver
from ..driver.shell import DriverShell
from .core import BatchCore
from .job import JobSpec
from .result import JobSummary, TaskResult
from .retry import RetryPolicy
from .scheduler import BatchScheduler
from .settings import CONNECT_TIMEOUT_MS, FAILOVER_TIMEOUT_MS, KILL_PATIENCE_MS
from .task import TaskOptions, TaskSpec

#: How often a thread that waits for results looks whether the driver still lives.
_LOOK_S = 0.5


class Job:
    """A job that was submitted. Its results wait here until they are asked for."""

    def __init__(self, spec: JobSpec, cluster: "Cluster") -> None:
        self.spec = spec
        self._cluster = cluster
        self._results: queue.SimpleQueue[TaskResult | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._summary: JobSummary | None = None
        self._failure: MesoliteError | None = None

    @property
    def job_id(self) -> str:
        """The job's id; tasks are called `<job_id>-<index>-<attempt>`."""
        return self.spec.job_id

    @property
    def count(self) -> int:
        """How many tasks it has."""
        return self.spec.count

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._ended.is_set()

    def results(self, timeout_s: float | None = None) -> Iterator[TaskResult]:
        """Yield each task's result once, as they end.

        Args:
            timeout_s: Longest wait for the next one; for ever where absent.

        Raises:
            TimeoutError: None came in time. Ask again to go on waiting.
            MesoliteError: The job was refused, or the framework ended first.
        """
        while (result := self._next(timeout_s)) is not None:
            yield result
        self._results.put(None)  # for whoever asks again
        if self._failure is not None:
            raise self._failure

    def wait(self, timeout_s: float | None = None) -> JobSummary:
        """Wait until all tasks have ended. Results stay to be asked for.

        Raises:
            TimeoutError: They have not in time.
            MesoliteError: The job was refused, or the framework ended first.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ended.wait(_remaining(deadline)):
            self._cluster.check_alive()
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {self.job_id} has not ended within {timeout_s} s")
        if self._failure is not None:
            raise self._failure
        assert self._summary is not None
        return self._summary

    def kill(self) -> None:
        """Kill what runs and drop what waits; each task still gets its result. Returns at once."""
        self._cluster.kill(self)

    def add(self, result: TaskResult) -> None:
        """Hear of a result; for the driver's thread."""
        self._results.put(result)

    def end(self, outcome: JobSummary | MesoliteError) -> None:
        """Hear that nothing more will come; for the driver's thread."""
        if isinstance(outcome, JobSummary):
            self._summary = outcome
        else:
            self._failure = outcome
        self._ended.set()
        self._results.put(None)

    def _next(self, timeout_s: float | None) -> TaskResult | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                return self._results.get(timeout=_remaining(deadline))
            except queue.Empty:
                self._cluster.check_alive()
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"job {self.job_id} had no result within {timeout_s} s") from None


class Cluster:
    """A connection to a cluster: one framework of one's own. Use it from any thread; see `connect`."""

    def __init__(
        self, framework_info: FrameworkInfo, open_store: Callable[[], Store], *, principal: str, clock: Clock | None
    ):
        self._jobs: dict[str, Job] = {}
        self._connected = threading.Event()
        self._failure: MesoliteError | None = None
        self._closed = False
        self._scheduler = BatchScheduler(BatchCore(framework_info.framework_id), self)
        self._driver = SchedulerDriver(
            self._scheduler, framework_info, session=SessionId(uuid4().hex), rng=random.Random()
        )
        self._shell = DriverShell(self._driver, open_store, clock=clock, principal=principal)

    @property
    def framework_id(self) -> FrameworkId:
        """The framework's id, under which Flower and the CLI show its tasks."""
        return self._driver.framework_id

    def start(self, timeout_ms: int) -> None:
        """Begin, and wait for a master.

        Raises:
            MasterUnavailable: None answered in time.
            FrameworkError: The master does not want this framework.
        """
        self._shell.start()
        deadline = time.monotonic() + timeout_ms / 1000
        while not self._connected.wait(_remaining(deadline)):
            self.check_alive()
            if time.monotonic() >= deadline:
                self._shell.stop()
                raise MasterUnavailable(f"no leading master answered within {timeout_ms} ms; is one running?")
        self.check_alive()

    def submit(
        self,
        command: str | Sequence[str],
        *,
        count: int = 1,
        name: str = "batch",
        retry: RetryPolicy | None = None,
        after: Sequence[Job] = (),
        **options: Unpack[TaskOptions],
    ) -> Job:
        """Have a command run `count` times, each time in a container with its own CPU and memory limit.

        Each task finds MESOLITE_INDEX (0 to count - 1), MESOLITE_COUNT, MESOLITE_JOB and MESOLITE_ATTEMPT in its environment.

        Args:
            command: Text for `sh -c`, or the arguments of an executable.
            count: How many tasks.
            name: For people, and the beginning of the job's id.
            retry: When to try again; by default only what was lost through no fault of its own.
            after: Jobs that must succeed first.
            options: What each task needs and how it runs: cpus=0.5, mem_mib=64, image="alpine" and so on; see `TaskOptions`.

        Raises:
            BadInput: Something makes no sense; the message says what.
            MesoliteError: The framework has ended.
        """
        return self.submit_spec(
            JobSpec(
                job_id=f"{name}-{uuid4().hex[:12]}",
                name=name,
                task=TaskSpec(command=command, **options),
                count=count,
                retry=retry or RetryPolicy(),
                after=tuple(job.job_id for job in after),
            )
        )

    def submit_spec(self, spec: JobSpec) -> Job:
        """Have a described job done; as `submit`."""
        roles = self._driver.core.framework_info.roles
        if spec.task.role not in roles:
            raise ConfigError(f"role {spec.task.role!r} is not one of those connected with: {', '.join(roles)}")
        self.check_alive()
        if spec.job_id in self._jobs:
            raise ConfigError(f"job id {spec.job_id!r} was used before")
        job = self._jobs[spec.job_id] = Job(spec, self)
        self._shell.post(lambda driver: self._scheduler.submit(driver, spec))
        return job

    def kill(self, job: Job) -> None:
        """See `Job.kill`."""
        self._shell.post(lambda driver: self._scheduler.cancel(driver, job.job_id))

    def close(self, *, teardown: bool) -> None:
        """Let go.

        Args:
            teardown: End the framework, killing what still runs; else leave its tasks to run on until the failover timeout.
        """
        if self._closed:
            return
        self._closed = True
        if teardown:
            self._shell.post(lambda driver: None if driver.ended else driver.teardown())
        else:
            self._shell.stop()
        self._shell.join()

    def check_alive(self) -> None:
        """Make sure that somebody will still answer.

        Raises:
            MesoliteError: The framework has ended.
        """
        if self._failure is not None:
            raise self._failure
        if not self._shell.alive:
            self._shell.join(0)  # raises what ended it, if anything did
            raise FrameworkError("the connection to the cluster was closed")

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unfinished = [job for job in self._jobs.values() if not job.done]
        if kind is not None and unfinished and self._failure is None and self._shell.alive:
            self._kill_and_wait(unfinished)
        self.close(teardown=kind is not None or not unfinished)

    def _kill_and_wait(self, jobs: Sequence[Job]) -> None:
        """Give tasks the chance to end in their grace period before the framework goes."""
        for job in jobs:
            job.kill()
        deadline = time.monotonic() + KILL_PATIENCE_MS / 1000
        while time.monotonic() < deadline and self._shell.alive and not all(job.done for job in jobs):
            time.sleep(0.05)

    # BatchListener, on the driver's thread

    def connected(self) -> None:
        """See `BatchListener`."""
        self._connected.set()

    def finished(self, result: TaskResult) -> None:
        """See `BatchListener`."""
        self._jobs[result.job_id].add(result)

    def job_finished(self, summary: JobSummary) -> None:
        """See `BatchListener`."""
        self._jobs[summary.job_id].end(summary)

    def job_refused(self, job_id: str, reason: str) -> None:
        """See `BatchListener`."""
        self._jobs[job_id].end(BadInput(f"job {job_id} was refused: {reason}"))

    def ended(self, message: str) -> None:
        """See `BatchListener`."""
        self._failure = FrameworkError(message)
        for job in list(self._jobs.values()):
            if not job.done:
                job.end(self._failure)
        self._connected.set()


def connect(
    redis_url: str | None = None,
    cluster: str | None = None,
    *,
    name: str = "batch",
    roles: Sequence[str] = ("*",),
    principal: str | None = None,
    failover_timeout_ms: int = FAILOVER_TIMEOUT_MS,
    timeout_ms: int = CONNECT_TIMEOUT_MS,
    open_store: Callable[[], Store] | None = None,
    clock: Clock | None = None,
) -> Cluster:
    """Connect to a cluster as a framework of one's own; use it in a `with` block.

    Args:
        redis_url: The cluster's Redis; where absent, the cluster of `mesolite up` is found (`mesolite.discovery`).
        cluster: Its name; "default" where only a Redis was given.
        name: Of the framework, for people and at the beginning of its id.
        roles: Whose share of the cluster it may use.
        principal: See DESIGN 6; "default" where Redis has no access control lists.
        failover_timeout_ms: How long its tasks outlive this program, if it goes without a word.
        timeout_ms: How long to wait for a master.
        open_store: Opens the store instead; for everything in one process.
        clock: The time; the machine's where absent.

    Raises:
        MasterUnavailable: No cluster was found, or no master answered in time.
        RedisUnavailable: Redis does not answer.
        ConfigError: The address or a name cannot be used.
    """
    if open_store is None:
        open_store, found_principal = _found_store(redis_url, cluster)
        principal = principal or found_principal
    check = open_store()
    try:
        check.epoch()
    finally:
        check.close()
    framework_info = FrameworkInfo(
        framework_id=FrameworkId(f"{name}-{uuid4().hex[:12]}"),
        name=name,
        roles=tuple(roles),
        failover_timeout_ms=failover_timeout_ms,
    )
    connection = Cluster(framework_info, open_store, principal=principal or DEFAULT_PRINCIPAL, clock=clock)
    connection.start(timeout_ms)
    return connection


def _found_store(redis_url: str | None, cluster: str | None) -> tuple[Callable[[], Store], str]:
    if redis_url is not None:
        url, name, principal = redis_url, cluster or DEFAULT_CLUSTER, DEFAULT_PRINCIPAL
    else:
        address = find_cluster()
        url, name, principal = address.redis_url, cluster or address.cluster, address.principal
    return lambda: open_store_at(url, name), principal


def _remaining(deadline: float | None) -> float:
    return _LOOK_S if deadline is None else max(0.0, min(_LOOK_S, deadline - time.monotonic()))
