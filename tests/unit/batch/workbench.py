"""A batch core on the workbench."""

from collections.abc import Sequence

from mesolite.frameworks.batch.core import BatchCore
from mesolite.frameworks.batch.effects import BatchEffect, KillTask, LaunchTasks, ReportResult, ReportSummary
from mesolite.frameworks.batch.events import JobCancelled, JobSubmitted
from mesolite.frameworks.batch.job import JobSpec
from mesolite.frameworks.batch.result import JobSummary, TaskResult
from mesolite.frameworks.batch.retry import RetryPolicy
from mesolite.frameworks.batch.task import TaskSpec
from mesolite.frameworks.driver.scheduling import Offered, Ticked, Updated
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import ContainerStatus, Offer, Reason, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resources

FRAMEWORK_ID = FrameworkId("batch-17")


def offer(name: str = "offer-1", resources: str = "cpus:4;mem:4096", agent: str = "agent-1", role: str = "*") -> Offer:
    """Resources of an agent."""
    return Offer(
        offer_id=OfferId(name),
        framework_id=FRAMEWORK_ID,
        agent_id=AgentId(agent),
        hostname=agent,
        resources=Resources.parse(resources).allocated_to(role).to_wire(),
        allocation_role=role,
        agent_url=f"http://{agent}:5051",
    )


def job(
    name: str = "job-1",
    count: int = 1,
    *,
    retry: RetryPolicy | None = None,
    after: Sequence[str] = (),
    task: TaskSpec | None = None,
) -> JobSpec:
    """A job of tasks that need one CPU each."""
    return JobSpec(
        job_id=name,
        count=count,
        task=task or TaskSpec(command="true", cpus=1, mem_mib=64),
        retry=retry or RetryPolicy(),
        after=after,
    )


def status(
    task_id: str,
    state: TaskState,
    *,
    reason: Reason | None = None,
    exit_code: int | None = None,
    timestamp_ms: int = 0,
) -> TaskStatus:
    """A word about an attempt."""
    return TaskStatus(
        task_id=TaskId(task_id),
        state=state,
        source=Source.AGENT,
        timestamp_ms=timestamp_ms,
        agent_id=AgentId("agent-1"),
        reason=reason,
        message=f"it is {state.name}",
        container_status=ContainerStatus(exit_code=exit_code) if exit_code is not None else None,
    )


class Bench:
    """A core, a clock, and all that it ever reported."""

    def __init__(self) -> None:
        self.core = BatchCore(FRAMEWORK_ID)
        self.now_ms = 1_000_000
        self.results: list[TaskResult] = []
        self.summaries: list[JobSummary] = []
        self._offers = 0

    def collect(self, effects: list[BatchEffect]) -> list[BatchEffect]:
        """Check the core and note what is reported."""
        self.core.check()
        self.results += [effect.result for effect in effects if isinstance(effect, ReportResult)]
        self.summaries += [effect.summary for effect in effects if isinstance(effect, ReportSummary)]
        return effects

    def submit(self, spec: JobSpec) -> list[BatchEffect]:
        """Submit a job."""
        return self.collect(self.core.apply(JobSubmitted(now_ms=self.now_ms, job=spec)))

    def cancel(self, job_id: str = "job-1") -> list[BatchEffect]:
        """Kill a job."""
        return self.collect(self.core.apply(JobCancelled(now_ms=self.now_ms, job_id=job_id)))

    def offer(self, *offers: Offer) -> list[BatchEffect]:
        """Offer; one fresh agent's worth where nothing is named."""
        self._offers += 1
        given = offers or (offer(f"fresh-{self._offers}"),)
        return self.collect(self.core.apply(Offered(now_ms=self.now_ms, offers=given)))

    def hear(self, *statuses: TaskStatus) -> list[BatchEffect]:
        """Hear words about attempts."""
        return self.collect(self.core.apply(Updated(now_ms=self.now_ms, statuses=statuses)))

    def tick(self, by_ms: int = 0) -> list[BatchEffect]:
        """Let time pass."""
        self.now_ms += by_ms
        return self.collect(self.core.apply(Ticked(now_ms=self.now_ms)))

    def running(self, *specs: JobSpec) -> "Bench":
        """Jobs submitted and launched."""
        for spec in specs:
            self.submit(spec)
        self.offer(offer("large", "cpus:1000;mem:1000000"))
        return self


def launched(effects: Sequence[BatchEffect]) -> list[TaskInfo]:
    """The tasks launched."""
    return [task for effect in effects if isinstance(effect, LaunchTasks) for task in effect.tasks]


def names(effects: Sequence[BatchEffect]) -> list[str]:
    """Their ids."""
    return [task.task_id for task in launched(effects)]


def killed(effects: Sequence[BatchEffect]) -> list[str]:
    """The attempts to be killed."""
    return [effect.task_id for effect in effects if isinstance(effect, KillTask)]
