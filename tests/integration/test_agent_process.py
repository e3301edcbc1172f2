"""The agent as a process on a real Redis, with plain processes as containers: restarts, lost memory, a missing engine."""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from mesolite.agent import run_agent
from mesolite.agent.checkpoint import SqliteCheckpoint, open_checkpoint
from mesolite.agent.lifecycle import Phase
from mesolite.agent.records import AgentRecord, FrameworkRecord, ProgressRecord, Record, TaskRecord
from mesolite.agent.workdir import WorkDir
from mesolite.config import AgentConfig
from mesolite.errors import ConfigError, DockerUnavailable
from mesolite.ids import AgentId, ContainerId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    Command,
    CommandBatch,
    CommandInfo,
    FrameworkInfo,
    RegisterAgent,
    Registered,
    Report,
    ReportBatch,
    RunTask,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    TaskState,
    decode_reports,
    encode,
)
from mesolite.resources import Resources
from mesolite.transport import open_bus, open_store
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import agent_queue, reports_stream
from tests.waiting import eventually

S = TaskState


class Master:
    """The least that an agent needs to work: reads one stream, writes one queue."""

    def __init__(self, url: str, cluster: str) -> None:
        self.store = open_store(url, cluster)
        self.bus = open_bus(url, cluster)
        self.cluster = cluster
        self.batches: list[ReportBatch] = []
        self._read = BEGINNING
        self._numbers: dict[SessionId, int] = {}

    def read(self) -> list[ReportBatch]:
        stream = reports_stream("default")
        for entry in self.store.read({stream: self._read}, limit=1000, wait_ms=0):
            self._read = entry.entry_id
            self.batches.append(decode_reports(entry.payload)[0])
        return self.batches

    def said(self, session: SessionId | None = None) -> list[Report]:
        return [report for batch in self.read() if session in (None, batch.session) for report in batch.reports]

    def session_after(self, former: Sequence[SessionId]) -> SessionId:
        return eventually(
            lambda: next((b.session for b in self.read() if b.session not in former), None) or SessionId("")
        )

    def tell(self, agent_id: AgentId, session: SessionId, *commands: Command) -> None:
        first = self._numbers.get(session, 1)
        self._numbers[session] = first + len(commands)
        batch = CommandBatch(agent_id=agent_id, session=session, epoch=1, first_number=first, commands=commands)
        self.bus.send(agent_queue(agent_id, self.cluster), encode(batch))


class Running:
    """`run_agent` on a thread."""

    def __init__(self, config: AgentConfig) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=run_agent, args=(config, self._stop))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


def plain_agent(work_dir: Path, redis_url: str, cluster: str) -> AgentConfig:
    return AgentConfig(
        redis_url=redis_url,
        cluster=cluster,
        work_dir=str(work_dir),
        resources="cpus:2;mem:256",
        attributes="rack:a1",
        containerizer="process",
        flower=False,
        http_port=0,
        http_advertise_host="agent.example",
    )


def test_an_agent_process_runs_a_task_survives_a_restart_and_finishes_it(
    tmp_path: Path, redis_url: str, cluster: str
) -> None:
    """Goal: the whole agent against a real Redis. Method: two lives with one work directory, a task across both."""
    config = plain_agent(tmp_path / "work", redis_url, cluster)
    flag = tmp_path / "flag"
    master = Master(redis_url, cluster)
    first = Running(config)
    session = master.session_after([])
    (registration,) = [each for each in master.said() if isinstance(each, RegisterAgent)][:1]
    agent_id = registration.agent_info.agent_id
    assert registration.agent_info.url.startswith("http://agent.example:")
    with pytest.raises(ConfigError, match="another agent uses"):
        run_agent(config, threading.Event())
    task = TaskInfo(
        task_id=TaskId("t"),
        agent_id=agent_id,
        resources=tuple(Resources.parse("cpus:0.1;mem:64")),
        command=CommandInfo(value=f"while [ ! -e {flag} ]; do sleep 0.1; done; exit 3"),
    )
    master.tell(agent_id, session, Registered(1000), RunTask(FrameworkInfo(FrameworkId("f"), "f"), task))

    def states_of(session: SessionId) -> list[TaskState]:
        return [each.status.state for each in master.said(session) if isinstance(each, StatusUpdate)]

    eventually(lambda: S.RUNNING in states_of(session))
    first.stop()
    second = Running(config)
    later = master.session_after([session])
    flag.touch()
    master.tell(agent_id, later, Registered(1000))
    eventually(lambda: S.RUNNING in states_of(later))
    update = next(each for each in master.said(later) if isinstance(each, StatusUpdate))
    assert update.status.agent_id == agent_id, "a restart keeps the id"
    acknowledge(master, agent_id, later, update)
    eventually(lambda: S.FAILED in states_of(later))
    last = [each for each in master.said(later) if isinstance(each, StatusUpdate)][-1]
    assert last.status.container_status is not None
    assert last.status.container_status.exit_code == 3
    second.stop()
    master.store.close()
    master.bus.close()


def test_an_agent_that_lost_its_memory_ends_what_it_ran_and_begins_under_a_new_id(
    tmp_path: Path, redis_url: str, cluster: str
) -> None:
    config = plain_agent(tmp_path / "work", redis_url, cluster)
    master = Master(redis_url, cluster)
    first = Running(config)
    session = master.session_after([])
    agent_id = master.read()[0].agent_id
    task = TaskInfo(
        task_id=TaskId("t"),
        agent_id=agent_id,
        resources=tuple(Resources.parse("cpus:0.1;mem:64")),
        command=CommandInfo(value="echo $$ > pid; exec sleep 1000"),
    )
    master.tell(agent_id, session, Registered(1000), RunTask(FrameworkInfo(FrameworkId("f"), "f"), task))
    pids = (tmp_path / "work" / "sandboxes").glob
    pid = int(eventually(lambda: next((text for path in pids("f/t/*/pid") if (text := path.read_text())), "")))
    first.stop()
    assert Path(f"/proc/{pid}").exists(), "a stop leaves tasks alone"
    (tmp_path / "work" / "checkpoint.sqlite").write_bytes(b"damage" * 1000)
    second = Running(config)
    master.session_after([session])
    assert not is_alive(pid)
    assert master.read()[-1].agent_id != agent_id
    assert list((tmp_path / "work").glob("checkpoint.sqlite.damaged-*")) != []
    second.stop()
    with pytest.raises(ConfigError, match="retired"):
        run_agent(msgspec.structs.replace(config, agent_id=agent_id), threading.Event())
    master.store.close()
    master.bus.close()


def test_an_agent_whose_tasks_run_in_docker_does_not_take_processes_because_the_engine_is_away(
    tmp_path: Path, redis_url: str, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would declare all of them gone, and they would run on."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    work_dir = WorkDir(tmp_path / "work")
    agent_id = work_dir.identify(None, "host")
    work_dir.keep_containerizer("docker")
    checkpoint = SqliteCheckpoint(work_dir.checkpoint_path)
    framework = FrameworkInfo(FrameworkId("f"), "f")
    task = TaskInfo(task_id=TaskId("t"), agent_id=agent_id, command=CommandInfo(value="true"))
    records: list[Record] = [
        AgentRecord(agent_id, 1, "boot"),
        FrameworkRecord(framework),
        TaskRecord(framework.framework_id, ContainerId("c"), task),
        ProgressRecord(framework.framework_id, task.task_id, Phase.RUNNING, None, 0, 1, (), None),
    ]
    checkpoint.save(records)
    checkpoint.close()
    work_dir.close()
    config = msgspec.structs.replace(plain_agent(tmp_path / "work", redis_url, cluster), containerizer="auto")
    with pytest.raises(DockerUnavailable, match=r"nothing\.sock"):
        run_agent(config, threading.Event())
    kept, again, _ = open_checkpoint(tmp_path / "work" / "checkpoint.sqlite", 0)
    kept.close()
    assert list(again) == records, "nothing was decided about the task"


def is_alive(pid: int) -> bool:
    """A process that waits to be reaped is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def acknowledge(master: Master, agent_id: AgentId, session: SessionId, update: StatusUpdate) -> None:
    assert update.status.uuid is not None
    word = StatusAcknowledgement(update.framework_id, update.status.task_id, update.status.uuid)
    master.tell(agent_id, session, AcknowledgeStatuses((word,)))
