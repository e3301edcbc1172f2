"""The batch framework as a Python program sees it: connect, submit, iterate over results.

    with batch.connect() as cluster:
        job = cluster.submit("echo hello from $MESOLITE_INDEX", count=10, cpus=0.5, mem_mib=64)
        for result in job.results():
            print(result.index, result.state, result.exit_code)

`connect` finds the cluster of `mesolite up`. The framework lives as long as the block: left with every job done, or by an
exception (Ctrl-C is one), it is torn down, which kills what still runs; left early without an exception its tasks run on for the
failover timeout, but nobody will collect their results.

With a journal, a file, a program goes on after its own death:

    with batch.connect(journal="nightly.journal") as cluster:
        job = cluster.submit("./work", count=1000, job_id="nightly-2026-11-23")
        for result in job.results():
            ...

Started again, it is the same framework; `submit` with the same id and description gives the job that is there already; what runs
is watched on, what was never launched is launched, and `results` yields those that the program was not done with. With a journal
only `Job.kill` kills: left by an exception, too, the block lets its tasks run on for whoever comes next. (journal.py)
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Unpack
from uuid import uuid4

from mesolite.clock import Clock
from mesolite.errors import BadInput, ConfigError, FrameworkError, MasterUnavailable, MesoliteError
from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import FrameworkInfo
from mesolite.transport.contract import Store

from ..driver.driver import SchedulerDriver
from ..driver.shell import DriverShell
from .core import BatchCore
from .job import JobSpec
from .records import Journal, Kept
from .result import JobSummary, TaskResult
from .retry import RetryPolicy
from .scheduler import BatchScheduler
from .settings import KILL_PATIENCE_MS, STOP_PATIENCE_MS
from .spec_codec import encode_spec
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
        #: What the program works on: it is done with it when it asks for the next.
        self._in_hand: TaskResult | None = None
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
        """Yield each task's result once, as they end; for one thread.

        With a journal, one that the program had in hand at its death comes again in its next life.

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

    def let_go(self) -> None:
        """Be done with the result in hand."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            self._cluster.handed(in_hand)

    def _next(self, timeout_s: float | None) -> TaskResult | None:
        self.let_go()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                self._in_hand = self._results.get(timeout=_remaining(deadline))
            except queue.Empty:
                self._cluster.check_alive()
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"job {self.job_id} had no result within {timeout_s} s") from None
            else:
                return self._in_hand


class Cluster:
    """A connection to a cluster: one framework of one's own. Use it from any thread; see `connect`."""

    def __init__(
        self,
        framework_info: FrameworkInfo,
        open_store: Callable[[], Store],
        *,
        principal: str,
        clock: Clock | None,
        journal: Journal | None = None,
        kept: Kept | None = None,
    ):
        self._jobs: dict[str, Job] = {}
        #: Jobs of an earlier life that this one has not asked for yet.
        self._resumable: set[str] = set()
        self._connected = threading.Event()
        self._failure: MesoliteError | None = None
        self._closed = False
        self._journal = journal
        core = BatchCore(framework_info.framework_id)
        if kept is not None:
            core = BatchCore.recover(framework_info.framework_id, kept.jobs, kept.tasks)
            self._resume(kept)
        is_same = kept is not None and kept.framework_id == framework_info.framework_id
        self._scheduler = BatchScheduler(core, self, journal)
        self._driver = SchedulerDriver(
            self._scheduler,
            framework_info,
            session=SessionId(uuid4().hex),
            rng=random.Random(),
            known_tasks=core.counting_attempts if is_same else (),
        )
        self._shell = DriverShell(self._driver, open_store, clock=clock, principal=principal)
        if not is_same and core.counting_attempts:
            self._shell.post(self._scheduler.framework_lost)

    @property
    def framework_id(self) -> FrameworkId:
        """The framework's id, under which Flower and the CLI show its tasks."""
        return self._driver.framework_id

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, oldest first; with a journal also those of earlier lives."""
        return tuple(self._jobs.values())

    def start(self, timeout_ms: int) -> None:
        """Begin, and wait for a master.

        Raises:
            MasterUnavailable: None answered in time.
            FrameworkError: The master does not want this framework.
        """
        self._shell.start()
        deadline = time.monotonic() + timeout_ms / 1000
        try:
            while not self._connected.wait(_remaining(deadline)):
                self.check_alive()
                if time.monotonic() >= deadline:
                    raise MasterUnavailable(f"no leading master answered within {timeout_ms} ms; is one running?")
            self.check_alive()
        except BaseException:
            self._shell.stop()
            with suppress(BaseException):
                # So that nothing is using the journal any more; what may have failed is being raised already.
                self._shell.join(STOP_PATIENCE_MS / 1000)
            raise

    def submit(
        self,
        command: str | Sequence[str],
        *,
        count: int = 1,
        name: str = "batch",
        retry: RetryPolicy | None = None,
        after: Sequence[Job] = (),
        job_id: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Job:
        """Have a command run `count` times, each time in a container with its own CPU and memory limit.

        Each task finds MESOLITE_INDEX (0 to count - 1), MESOLITE_COUNT, MESOLITE_JOB and MESOLITE_ATTEMPT in its environment.

        Args:
            command: Text for `sh -c`, or the arguments of an executable.
            count: How many tasks.
            name: For people, and the beginning of the job's id where none is given.
            retry: When to try again; by default only what was lost through no fault of its own.
            after: Jobs that must succeed first.
            job_id: Never used before in this framework. With a journal, one of an earlier life with the same description is
                gone on with.
            options: What each task needs and how it runs: cpus=0.5, mem_mib=64, image="alpine" and so on; see `TaskOptions`.

        Raises:
            BadInput: Something makes no sense; the message says what.
            MesoliteError: The framework has ended.
        """
        return self.submit_spec(
            JobSpec(
                job_id=job_id or f"{name}-{uuid4().hex[:12]}",
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
        if spec.job_id in self._resumable:
            return self._resumed(spec)
        if spec.job_id in self._jobs:
            raise ConfigError(f"job id {spec.job_id!r} was used before")
        if self._journal is not None:
            encode_spec(spec)  # refuses what could not be kept
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
        try:
            self._let_go(teardown=teardown)
        finally:
            if self._journal is not None:
                self._journal.close()

    def handed(self, result: TaskResult) -> None:
        """Hear that the program is done with a result."""
        if self._journal is not None and not self._closed:
            self._journal.handed(result)

    def _let_go(self, *, teardown: bool) -> None:
        if teardown:
            if self._journal is not None:
                # Before it ends: whoever comes next must not subscribe with an id that is used up.
                self._journal.end()
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
        if self._journal is not None:
            if kind is None:
                for job in self._jobs.values():
                    job.let_go()
            self.close(teardown=not unfinished and self._failure is None)
            return
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

    def _resume(self, kept: Kept) -> None:
        """Make the jobs of earlier lives anew, with the results that their programs were not done with."""
        for record in kept.jobs:
            self._jobs[record.spec.job_id] = Job(record.spec, self)
        for result in kept.results:
            self._jobs[result.job_id].add(result)
        for record in kept.jobs:
            if record.summary is not None:
                self._jobs[record.spec.job_id].end(record.summary)
        self._resumable = set(self._jobs)

    def _resumed(self, spec: JobSpec) -> Job:
        job = self._jobs[spec.job_id]
        if encode_spec(job.spec) != encode_spec(spec):
            raise ConfigError(
                f"job id {spec.job_id!r} was used before for another job; describe it as then, or choose another id"
            )
        self._resumable.discard(spec.job_id)
        return job

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


def _remaining(deadline: float | None) -> float:
    return _LOOK_S if deadline is None else max(0.0, min(_LOOK_S, deadline - time.monotonic()))
