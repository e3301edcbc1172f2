"""Executors of a framework's own on a whole agent, as processes and in Docker: the one in C, and one on the driver in Python.

Both know nothing of the agent but its protocol's page. The master is the least that will do.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from mesolite.config import AgentConfig
from mesolite.ids import AgentId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    AcknowledgeStatuses,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    KillPolicy,
    KillTask,
    Reason,
    RegisterAgent,
    Registered,
    RunTask,
    ShutdownExecutor,
    ShutdownFramework,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    TaskState,
    TaskStatus,
    Uri,
)
from mesolite.resources import Resources
from tests.integration.test_agent_process import Master, Running
from tests.source_tree import ROOT
from tests.waiting import eventually

FRAMEWORK: Final = FrameworkInfo(user="", name="own", framework_id=FrameworkId("own"))
EXECUTOR: Final = ExecutorId("own")
COMPILER: Final = shutil.which("cc") or shutil.which("gcc")
#: Containers start slowly where many tests run.
PATIENCE_S: Final = 60.0


class Cluster:
    """One agent, its master, and a framework with one executor."""

    def __init__(self, config: AgentConfig, command: CommandInfo) -> None:
        self.work_dir = Path(config.work_dir)
        self._config = config
        self._command = command
        self.master = Master(config.redis_url, config.cluster)
        self.sessions: list[SessionId] = []
        self.agent_id = AgentId("")
        self.statuses: dict[TaskId, list[TaskStatus]] = {}
        self._answered: set[bytes] = set()
        self.start()

    def start(self) -> None:
        """Begin a life of the agent."""
        self.running = Running(self._config)
        session = self.master.session_after(self.sessions)
        self.sessions.append(session)
        registration = next(each for each in self.master.said(session) if isinstance(each, RegisterAgent))
        self.agent_id = registration.agent_info.agent_id
        self.master.tell(self.agent_id, session, Registered(heartbeat_interval_ms=1000))

    def tell(self, *commands: RunTask | KillTask | ShutdownExecutor | ShutdownFramework) -> None:
        """Send the agent commands."""
        self.master.tell(self.agent_id, self.sessions[-1], *commands)

    def launch(self, name: str, data: str, *, launch_executor: bool = False) -> TaskId:
        """Launch a task of the executor."""
        task = TaskInfo(
            task_id=TaskId(name),
            agent_id=self.agent_id,
            resources=tuple(Resources.parse("cpus:0.2;mem:64")),
            executor=ExecutorInfo(
                executor_id=EXECUTOR,
                command=self._command,
                resources=tuple(Resources.parse("cpus:0.1;mem:64")),
                shutdown_grace_period_ms=10_000,
            ),
            data=data.encode(),
        )
        self.tell(RunTask(framework=FRAMEWORK, task=task, launch_executor=launch_executor))
        return task.task_id

    def hear(self) -> dict[TaskId, list[TaskStatus]]:
        """All statuses so far by task, each acknowledged."""
        for report in self.master.said(self.sessions[-1]):
            uuid = report.status.uuid if isinstance(report, StatusUpdate) else None
            if not isinstance(report, StatusUpdate) or uuid is None or uuid in self._answered:
                continue
            self._answered.add(uuid)
            self.statuses.setdefault(report.status.task_id, []).append(report.status)
            answer = StatusAcknowledgement(
                framework_id=FRAMEWORK.framework_id or FrameworkId(""), task_id=report.status.task_id, uuid=uuid
            )
            self.master.tell(self.agent_id, self.sessions[-1], AcknowledgeStatuses(acknowledgements=(answer,)))
        return self.statuses

    def status_of(self, task_id: TaskId, wanted: Callable[[TaskState], bool]) -> TaskStatus:
        """Wait for a state of a task."""

        def look() -> TaskStatus | None:
            return next((each for each in self.hear().get(task_id, []) if wanted(each.state)), None)

        status = eventually(look, within_s=PATIENCE_S)
        assert status is not None, "it waited for one"
        return status

    def runs(self, task_id: TaskId) -> None:
        """Wait until a task runs."""
        self.status_of(task_id, lambda state: state is TaskState.RUNNING)

    def end_of(self, task_id: TaskId) -> TaskStatus:
        """Wait for the end of a task."""
        return self.status_of(task_id, TERMINAL_STATES.__contains__)

    def sandbox_files(self, name: str) -> list[str]:
        """What files of this name in sandboxes hold."""
        return [path.read_text() for path in self.work_dir.rglob(name)]

    def is_over(self) -> bool:
        """The executor is, and what the agent opened for it is closed."""
        return not list((self.work_dir / "sockets").iterdir())

    def close(self) -> None:
        """End it all."""
        self.tell(ShutdownFramework(framework_id=FrameworkId("own")))
        eventually(self.is_over, within_s=PATIENCE_S)
        self.running.stop()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executor in C, without anything that an image may lack."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("program") / "executor"
    source = ROOT / "frameworks" / "examples" / "executor.c"
    subprocess.run([COMPILER, "-std=gnu11", "-O2", "-static", "-o", path, source], check=True, timeout=60)
    return path


def config_of(
    request: pytest.FixtureRequest, work_dir: Path, containerizer: str, roots: tuple[str, ...]
) -> AgentConfig:
    """An agent's settings."""
    if containerizer == "docker":
        request.getfixturevalue("docker_engine")
    return AgentConfig(
        redis_url=request.getfixturevalue("redis_url"),
        cluster=request.getfixturevalue("cluster"),
        work_dir=str(work_dir),
        resources="cpus:2;mem:1024",
        containerizer="docker" if containerizer == "docker" else "process",
        fetch_file_roots=roots,
        flower=False,
        http_port=0,
    )


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def in_c(request: pytest.FixtureRequest, tmp_path: Path, program: Path) -> Iterator[Cluster]:
    """A cluster whose framework brings the executor in C, fetched into its sandbox."""
    command = CommandInfo(value="exec ./executor", uris=(Uri(value=program.as_uri(), executable=True),))
    made = Cluster(config_of(request, tmp_path / "work", request.param, (str(program.parent),)), command)
    yield made
    made.close()


@pytest.fixture
def in_python(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose framework brings the tests' echo executor, on the driver."""
    echo = ROOT / "tests" / "integration" / "echo_executor.py"
    made = Cluster(
        config_of(request, tmp_path / "work", "process", ()), CommandInfo(value=f"exec {sys.executable} {echo}")
    )
    yield made
    made.close()


def executor_pid(cluster: Cluster, name: str) -> int:
    """The executor's process, as a task of it sees it, which writes it into a file of the sandbox named after the task."""
    cluster.end_of(cluster.launch(name, f"echo $PPID > {name}"))
    [pid] = cluster.sandbox_files(name)
    return int(pid)


@pytest.mark.redis
def test_tasks_share_an_executor_and_outlive_their_agent(in_c: Cluster) -> None:
    """Goal: what ends while no agent is there is told to the next one. Method: one task is let go while the agent is away."""
    in_c.runs(first := in_c.launch("first", "while ! [ -e go ]; do sleep 0.05; done; exit 3", launch_executor=True))
    in_c.runs(second := in_c.launch("second", "sleep 1000"))
    before = executor_pid(in_c, "who")
    [sandbox] = [path.parent for path in in_c.work_dir.rglob("who")]
    in_c.running.stop()
    (sandbox / "go").touch()
    in_c.start()
    failed = in_c.end_of(first)
    assert (failed.state, failed.executor_id) == (TaskState.FAILED, EXECUTOR)
    assert executor_pid(in_c, "who-again") == before
    in_c.tell(KillTask(framework_id=FrameworkId("own"), task_id=second, kill_policy=KillPolicy(2000)))
    assert in_c.end_of(second).state is TaskState.KILLED
    assert [status.state for status in in_c.statuses[first]] == [
        TaskState.STARTING,
        TaskState.RUNNING,
        TaskState.FAILED,
    ]


@pytest.mark.redis
def test_shutdown_lets_the_executor_report_its_tasks(in_c: Cluster) -> None:
    in_c.runs(task_id := in_c.launch("t", "sleep 1000", launch_executor=True))
    in_c.tell(ShutdownExecutor(framework_id=FrameworkId("own"), executor_id=EXECUTOR))
    assert in_c.end_of(task_id).state is TaskState.KILLED
    eventually(in_c.is_over, within_s=PATIENCE_S)


@pytest.mark.redis
def test_a_driver_of_ours_on_an_agent_of_ours(in_python: Cluster) -> None:
    finished = in_python.end_of(in_python.launch("a", "finish well", launch_executor=True))
    assert (finished.state, finished.data) == (TaskState.FINISHED, b"well")
    in_python.runs(waiting := in_python.launch("b", "wait"))
    in_python.running.stop()
    in_python.start()
    in_python.tell(KillTask(framework_id=FrameworkId("own"), task_id=waiting, kill_policy=KillPolicy(2000)))
    assert in_python.end_of(waiting).state is TaskState.KILLED
    large = in_python.end_of(in_python.launch("c", "large 1000000"))
    assert len(large.data) == 1_000_000


@pytest.mark.redis
def test_the_end_of_an_executor_is_the_end_of_its_tasks(in_python: Cluster) -> None:
    in_python.runs(bystander := in_python.launch("bystander", "wait", launch_executor=True))
    culprit = in_python.launch("culprit", "raise")
    for task_id in (bystander, culprit):
        end = in_python.end_of(task_id)
        assert (end.state, end.reason) == (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    assert any("no such order: 'raise'" in text for text in in_python.sandbox_files("stderr"))


@pytest.mark.redis
def test_an_executor_that_is_killed_by_force_is_known_to_be_over(in_python: Cluster) -> None:
    in_python.runs(task_id := in_python.launch("t", "wait", launch_executor=True))
    [pid] = processes_with("echo_executor.py", in_python.work_dir)
    os.kill(pid, signal.SIGKILL)
    end = in_python.end_of(task_id)
    assert (end.state, end.reason) == (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    # A new one under the same name is another one.
    finished = in_python.end_of(in_python.launch("u", "finish", launch_executor=True))
    assert finished.state is TaskState.FINISHED


def processes_with(word: str, below: Path) -> list[int]:
    """Processes with a word in their command that work below a directory."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", entry.name):
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            at_home = (entry / "cwd").resolve().is_relative_to(below.resolve())
        except OSError:
            continue
        if (
            at_home
            and arguments[0].endswith((b"python", b"python3", b"python3.11"))
            and word.encode() in b" ".join(arguments)
        ):
            found.append(int(entry.name))
    return found
