"""The agent as a process with an executor in plain processes, and in Docker: all that it opens for one, used by a real one.

The executor is the Python one, out of the bundle that the agent made. The master is the least that will do.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import cloudpickle
import pytest

from mesolite.config import AgentConfig
from mesolite.executors.python.calls import BlockRef, End, Function, Outcome
from mesolite.executors.python.log_names import task_log_name
from mesolite.executors.python.tasks import CallTask, decode_outcome, encode_call
from mesolite.ids import AgentId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    RegisterAgent,
    Registered,
    RunTask,
    ShutdownFramework,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    TaskState,
)
from mesolite.resources import Resources
from mesolite.sandbox_client import read_output
from tests.integration.test_agent_process import Master, Running
from tests.waiting import eventually

FRAMEWORK: Final = FrameworkInfo(user="", name="calls", framework_id=FrameworkId("calls"))
COMMAND: Final = CommandInfo(value='exec "${MESOLITE_PYTHON:-python3}" "$MESOLITE_BUNDLE"')


class Cluster:
    """One agent, its master, and a framework that calls functions."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.master = Master(config.redis_url, config.cluster)
        self.sessions: list[SessionId] = []
        self.agent_id = AgentId("")
        self._answered: set[bytes] = set()
        self._launched = 0
        self.start()

    def start(self) -> None:
        """Begin a life of the agent."""
        self.running = Running(self.config)
        session = self.master.session_after(self.sessions)
        self.sessions.append(session)
        self.registration = next(each for each in self.master.said(session) if isinstance(each, RegisterAgent))
        self.agent_id = self.registration.agent_info.agent_id
        self.master.tell(self.agent_id, session, Registered(heartbeat_interval_ms=1000))

    def state(self) -> dict[str, object]:
        """What the agent says of itself."""
        port = self.registration.agent_info.url.rpartition(":")[2]
        with urlopen(f"http://127.0.0.1:{port}/state", timeout=10) as answer:
            said: dict[str, object] = json.load(answer)
        return said

    def call(self, function: Callable[..., object], *arguments: object) -> TaskId:
        """Launch a call as a task."""
        task = CallTask(
            function=Function(digest=b"0" * 16, pickled=cloudpickle.dumps(function)),
            arguments=cloudpickle.dumps((arguments, {})),
        )
        self._launched += 1
        task_id = TaskId(f"t{self._launched}")
        info = TaskInfo(
            name="call",
            task_id=task_id,
            agent_id=self.agent_id,
            resources=tuple(Resources.parse("cpus:0.2;mem:64")),
            executor=ExecutorInfo(
                executor_id=ExecutorId("python"),
                command=COMMAND,
                resources=tuple(Resources.parse("cpus:0.1;mem:64")),
                data=json.dumps({"python": "3.11", "pool": None}).encode(),
            ),
            data=encode_call(task),
        )
        self.master.tell(
            self.agent_id,
            self.sessions[-1],
            RunTask(framework=FRAMEWORK, task=info, launch_executor=self._launched == 1),
        )
        return task_id

    def outcome(self, task_id: TaskId) -> Outcome:
        """Wait for a call's end; updates are acknowledged meanwhile."""

        def ended() -> StatusUpdate | None:
            found: StatusUpdate | None = None
            for report in self.master.said(self.sessions[-1]):
                if not isinstance(report, StatusUpdate) or report.status.uuid is None:
                    continue
                if report.status.uuid not in self._answered:
                    self._answered.add(report.status.uuid)
                    answer = StatusAcknowledgement(
                        framework_id=report.framework_id, task_id=report.status.task_id, uuid=report.status.uuid
                    )
                    self.master.tell(self.agent_id, self.sessions[-1], AcknowledgeStatuses(acknowledgements=(answer,)))
                if report.status.task_id == task_id and report.status.state not in (
                    TaskState.STARTING,
                    TaskState.RUNNING,
                ):
                    found = report
            return found

        update = eventually(ended, within_s=60)
        assert update is not None, "it waited for one"
        assert update.status.data, update.status
        outcome = decode_outcome(update.status.data)
        assert outcome is not None
        return outcome


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def cluster_of_one(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, cluster: str) -> Iterator[Cluster]:
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    made = Cluster(
        AgentConfig(
            redis_url=redis_url,
            cluster=cluster,
            work_dir=str(tmp_path / "work"),
            resources="cpus:2;mem:1024",
            containerizer=request.param,
            flower=False,
            http_port=0,
        )
    )
    yield made
    made.master.tell(made.agent_id, made.sessions[-1], ShutdownFramework(framework_id=FrameworkId("calls")))
    eventually(lambda: not list((tmp_path / "work" / "sockets").iterdir()), within_s=60)
    made.running.stop()


@pytest.mark.redis
def test_a_function_is_called_in_an_executor_that_outlives_its_agent(cluster_of_one: Cluster) -> None:
    """Goal: sockets, bundle, growing limits and adoption all meet. Method: calls in two lives of the agent, one executor."""
    life = cluster_of_one
    first = life.outcome(life.call(divmod, 17, 5))
    assert isinstance(first.payload, bytes)
    assert (first.end, cloudpickle.loads(first.payload)) == (End.RETURNED, (3, 2))

    def whoami() -> int:
        import os

        return os.getppid()

    before = life.outcome(life.call(whoami))
    life.running.stop()
    life.start()
    after = life.outcome(life.call(whoami))
    assert isinstance(before.payload, bytes)
    assert before.payload == after.payload, "the same executor forked both workers"


@pytest.mark.redis
def test_what_a_call_prints_is_found_in_the_sandbox_of_its_executor_by_its_task(cluster_of_one: Cluster) -> None:
    """Goal: in every life of the agent, while it can be read at all. Method: before a restart, and after it with another call."""
    life = cluster_of_one
    paths: list[str] = []
    for _ in range(2):
        task_id = life.call(print, "printed by this one")
        life.outcome(task_id)
        executors = life.state()["executors"]
        assert isinstance(executors, list)
        container_id = executors[0]["container_id"]
        paths.append(f"/calls/python/{container_id}/calls/{task_log_name(task_id)}.log")
        for path in [*paths, paths[-1].replace(container_id, "latest")]:
            url = f"http://127.0.0.1:{life.registration.agent_info.url.rpartition(':')[2]}"
            assert b"".join(read_output(url, path)) == b"printed by this one\n"
        life.running.stop()
        life.start()
    life.outcome(life.call(time.time))


@pytest.mark.redis
def test_a_large_result_lies_in_the_agents_block_store(cluster_of_one: Cluster) -> None:
    life = cluster_of_one
    outcome = life.outcome(life.call(lambda: b"x" * 5_000_000))
    assert outcome.end is End.RETURNED
    assert isinstance(outcome.payload, BlockRef)
    for _ in range(2):
        with urlopen(outcome.payload.url, timeout=10) as answer:
            assert cloudpickle.loads(answer.read()) == b"x" * 5_000_000
        # Its address holds in the next life of the agent.
        life.running.stop()
        life.start()
    blocks = life.state()["blocks"]
    assert isinstance(blocks, dict)
    assert blocks["used_mib"] == 4
    life.outcome(life.call(time.time))
