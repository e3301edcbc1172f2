"""How tasks and jobs ended."""

from urllib.parse import quote

from msgspec import Struct

from mesolite.ids import AgentId, ContainerId, FrameworkId, TaskId
from mesolite.protocol import Reason, TaskState


class TaskResult(Struct, frozen=True, kw_only=True):
    """The one final word about one task of a job."""

    job_id: str
    #: 0 up to the job's count.
    index: int
    #: FINISHED is success. A task killed before it was ever launched is KILLED; one lost too often keeps the state of its loss.
    state: TaskState
    reason: Reason | None
    message: str
    #: 0..255, 128 + signal where a signal ended it; None where it never ran or nobody knows.
    exit_code: int | None
    #: Of the last attempt; None where there was none, as are the next four.
    task_id: TaskId | None
    framework_id: FrameworkId
    agent_id: AgentId | None
    #: Where the agent shows sandboxes.
    agent_url: str
    container_id: ContainerId | None
    #: Attempts that were launched.
    attempts: int
    #: When the last attempt was seen running; when it was launched if that was never seen.
    started_ms: int | None
    finished_ms: int
    peak_mem_bytes: int | None

    @property
    def succeeded(self) -> bool:
        """Whether it did what it should."""
        return self.state is TaskState.FINISHED

    @property
    def sandbox_url(self) -> str | None:
        """Where the last attempt's files can be listed, for as long as the agent keeps them."""
        return self._files_url("browse", "")

    @property
    def stdout_url(self) -> str | None:
        """Where the last attempt's standard output can be downloaded."""
        return self._files_url("download", "/stdout")

    @property
    def stderr_url(self) -> str | None:
        """Where the last attempt's standard error can be downloaded."""
        return self._files_url("download", "/stderr")

    def _files_url(self, verb: str, name: str) -> str | None:
        if not self.agent_url or self.task_id is None:
            return None
        path = quote(f"/{self.framework_id}/{self.task_id}/latest{name}")
        return f"{self.agent_url}/files/{verb}?path={path}"


class JobSummary(Struct, frozen=True, kw_only=True):
    """How a job ended, once all its tasks have."""

    job_id: str
    name: str
    count: int
    #: Tasks per final state; only states that occurred.
    states: dict[TaskState, int]
    #: Launches of all tasks together.
    attempts: int
    submitted_ms: int
    finished_ms: int

    @property
    def succeeded(self) -> bool:
        """Whether every task did."""
        return self.states.get(TaskState.FINISHED, 0) == self.count
