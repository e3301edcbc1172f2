"""A cluster that is only its HTTP faces: rows given by the test, and a record of what the operator asked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mesolite.agent.http import AgentHttp
from mesolite.errors import NotFound
from mesolite.master.http import MasterHttp
from mesolite.views import AgentRow, DeadLetterRow, Explanation, FrameworkRow, OfferRow, TaskRow, Why

ENDED = "TASK_FINISHED"


class FakeCluster:
    """Serves whatever its lists hold."""

    def __init__(self, work_dir: Path) -> None:
        self.tasks: list[TaskRow] = []
        self.agents: list[AgentRow] = []
        self.offers: list[OfferRow] = []
        self.frameworks: list[FrameworkRow] = []
        self.dead_letters: list[DeadLetterRow] = []
        self.killed: list[tuple[str, str]] = []
        self.torn_down: list[str] = []
        self.gone: list[str] = []
        #: Called when somebody has seen the tasks or agents: what changes then.
        self.on_tasks: Callable[[], None] = lambda: None
        self.on_agents: Callable[[], None] = lambda: None
        self.work_dir = work_dir
        #: What the agent says of itself.
        self.agent_state: dict[str, object] = {}
        self.files = AgentHttp(host="127.0.0.1", port=0, work_dir=work_dir, state=lambda: self.agent_state)
        self.master = MasterHttp(
            host="127.0.0.1",
            port=0,
            views={
                "tasks": self._tasks,
                "agents": self._agents,
                "offers": lambda _query: self.offers,
                "frameworks": lambda _query: self.frameworks,
                "dead_letters": lambda _query: self.dead_letters,
                "explain": self._explain,
                "health": lambda _query: {"healthy": True},
            },
            actions={"kill": self._kill, "teardown": self._teardown, "mark_gone": self._mark_gone},
        )

    def start(self) -> None:
        """Serve."""
        self.files.start()
        self.master.start()

    def close(self) -> None:
        """Stop serving."""
        self.files.close()
        self.master.close()

    def add_task(
        self,
        task_id: str,
        *,
        state: str = "TASK_RUNNING",
        stdout: bytes | None = None,
        framework_id: str = "fw",
        command: str = "",
    ) -> TaskRow:
        """Add a task with a sandbox, and its output where given."""
        row = TaskRow(
            task_id=task_id,
            framework_id=framework_id,
            state=state,
            agent_id="agent-1",
            agent_url=self.files.url,
            sandbox=f"/{framework_id}/{task_id}/latest",
            resources={"cpus": 0.5, "mem": 64},
            command=command,
        )
        self.tasks.append(row)
        if stdout is not None:
            folder = self.work_dir / "sandboxes" / framework_id / task_id / "container-1"
            folder.mkdir(parents=True)
            (folder / "stdout").write_bytes(stdout)
        return row

    def add_executor_task(
        self,
        task_id: str,
        *,
        state: str = "TASK_RUNNING",
        executor_id: str = "python",
        agent_id: str = "agent-1",
        run: str = "container-1",
        framework_name: str = "",
    ) -> TaskRow:
        """Add a task under an executor, whose sandbox `executor_file` fills."""
        row = TaskRow(
            task_id=task_id,
            framework_id="fw",
            framework_name=framework_name,
            state=state,
            agent_id=agent_id,
            agent_url=self.files.url,
            sandbox=f"/fw/{executor_id}/{run}",
            executor_id=executor_id,
            name="a call",
        )
        self.tasks.append(row)
        return row

    def executor_file(
        self, name: str, content: bytes, *, executor_id: str = "python", run: str = "container-1"
    ) -> Path:
        """Write a file into an executor's sandbox."""
        path = self.work_dir / "sandboxes" / "fw" / executor_id / run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _tasks(self, query: Mapping[str, str]) -> Sequence[TaskRow]:
        with_ended = query.get("all") == "1"
        rows = [
            row
            for row in self.tasks
            if query.get("task_id") in {None, row.task_id}
            and query.get("executor_id") in {None, row.executor_id}
            and (with_ended or row.state != ENDED)
        ]
        self.on_tasks()
        return rows

    def _agents(self, query: Mapping[str, str]) -> Sequence[AgentRow]:
        rows = list(self.agents)
        self.on_agents()
        return rows

    def _explain(self, query: Mapping[str, str]) -> Explanation:
        return Explanation(
            framework_id=query["framework_id"],
            summary="Nothing is offered now: its role is at its quota.",
            reasons=(Why(reason="quota of role web reached", agents=("agent-1",), role="web"),),
        )

    def _kill(self, fields: Mapping[str, str]) -> None:
        self.killed.append((fields["framework_id"], fields["task_id"]))

    def _teardown(self, fields: Mapping[str, str]) -> None:
        if fields["framework_id"] not in {row.framework_id for row in self.frameworks}:
            raise NotFound("no such framework")
        self.torn_down.append(fields["framework_id"])

    def _mark_gone(self, fields: Mapping[str, str]) -> None:
        if fields["agent_id"] not in {row.agent_id for row in self.agents}:
            raise NotFound("no such agent")
        self.gone.append(fields["agent_id"])
