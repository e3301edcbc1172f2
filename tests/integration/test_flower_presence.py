"""An agent in Flower: its events and answers over a real broker, an outage, and Flower's own HTTP API."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from celery import Celery
from celery.events import EventReceiver
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from mesolite.agent.effects import TaskChange, TotalsChange
from mesolite.agent.flower import FlowerObserver
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.flower_app import QueueLengths
from mesolite.ids import AgentId, ContainerId, ExecutorId, TaskId
from mesolite.ports import LOOPBACK, free_port
from mesolite.protocol import ExecutorTotals, FrameworkInfo, Source, TaskInfo, TaskState, TaskStatus
from mesolite.transport.celery_broker import ALIVE_S, count_alive, open_broker
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

from .flower_rig import FRAMEWORK, Agent, Flower, shown, view

pytestmark = pytest.mark.redis


class Listener:
    """Hears events as Flower does: Celery's own receiver, in a thread of its own."""

    def __init__(self, broker_url: str) -> None:
        make: Callable[..., Any] = Connection
        self._connection = make(broker_url)
        self._app = Celery(broker=broker_url, set_as_current=False)
        self.events: list[dict[str, object]] = []
        #: Those that were said before, by their own account.
        self.repeated: list[dict[str, object]] = []
        self._receiver: Any = EventReceiver(self._connection, handlers={"*": self._hear}, app=self._app)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Hear everything from now on."""
        listening = threading.Event()

        def ready(*_: object, **__: object) -> None:
            listening.set()

        self._receiver.on_consume_ready = ready
        self._thread.start()
        assert listening.wait(20), "the receiver did not subscribe"

    def _run(self) -> None:
        # A test may take the broker away under its listener.
        with suppress(redis.ConnectionError, OperationalError, OSError):
            self._receiver.capture(wakeup=False)

    def _hear(self, event: dict[str, object]) -> None:
        (self.repeated if event.get("repeated") else self.events).append(event)

    def types(self) -> list[object]:
        """The types of the events so far."""
        return [event["type"] for event in list(self.events)]

    def of_task(self, task_id: str) -> list[dict[str, object]]:
        """The events of one task so far."""
        return [event for event in list(self.events) if event.get("uuid") == shown(task_id)]

    def close(self) -> None:
        """Stop hearing."""
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
        self._app.close()


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """A Redis of the test's own."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def start_agent() -> Generator[Callable[..., Agent]]:
    """Starts agents and closes them again."""
    agents: list[Agent] = []

    def start(broker_url: str, shown_tasks_per_s: float = 1000.0) -> Agent:
        agents.append(Agent(broker_url, shown_tasks_per_s=shown_tasks_per_s))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()


@pytest.fixture
def listen() -> Generator[Callable[[str], Listener]]:
    """Starts listeners and closes them again."""
    listeners: list[Listener] = []

    def start(broker_url: str) -> Listener:
        listeners.append(Listener(broker_url))
        listeners[-1].start()
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


StartAgent = Callable[..., Agent]
Listen = Callable[[str], Listener]


def test_a_life_of_a_task_is_told_in_order(start_agent: StartAgent, listen: Listen) -> None:
    """In memory: an agent that comes, has a task, and goes."""
    listener = listen("memory://presence-1")
    agent = start_agent("memory://presence-1")
    agent.runs("t")
    agent.ends("t", "succeeded", exit_code=0)
    eventually(lambda: len(listener.of_task("t")) == 3)
    agent.presence.close()
    eventually(lambda: "worker-offline" in listener.types())
    # On a slow machine it is alive for longer than the time from one heartbeat to the next.
    told = [kind for kind in listener.types() if kind != "worker-heartbeat"]
    assert told == ["worker-online", "task-received", "task-started", "task-succeeded", "worker-offline"]
    received, _, succeeded = listener.of_task("t")
    assert received["hostname"] == "mesolite@agent-1"
    assert (received["name"], received["args"]) == ("sleep", "sleep 100")
    assert received["kwargs"] == "cpus=0.5, framework=batch, mem=64"
    assert succeeded["result"] == "0"


def test_a_new_life_of_an_agent_tells_what_became_of_the_tasks_of_the_last(
    start_agent: StartAgent, listen: Listen
) -> None:
    """Goal: what Flower saw begin it sees end, and what goes on did not begin just now. Method: the core's own changes."""
    listener = listen("memory://presence-2")
    observer = FlowerObserver(start_agent("memory://presence-2").presence)
    framework = FrameworkInfo(framework_id=FRAMEWORK, name="batch")
    lives, lost = (TaskInfo(task_id=TaskId(name), agent_id=AgentId("agent-1")) for name in ("lives", "lost"))
    gone = TaskStatus(task_id=TaskId("lost"), state=TaskState.GONE, source=Source.AGENT, timestamp_ms=9_000)
    observer.tasks_changed(
        [
            TaskChange(framework, lost, TaskState.GONE, gone),
            TaskChange(framework, lives, TaskState.STAGING, None, since_ms=5_000),
            TaskChange(framework, lives, TaskState.RUNNING, None, since_ms=6_000),
        ]
    )
    eventually(lambda: len(listener.of_task("lives")) == 2)
    assert [(event["type"], event["timestamp"]) for event in listener.of_task("lost")] == [
        ("task-received", 9.0),
        ("task-failed", 9.0),
    ]
    assert [event["timestamp"] for event in listener.of_task("lives")] == [5.0, 6.0]


def test_many_tasks_travel_in_few_messages(start_agent: StartAgent, listen: Listen, server: EmbeddedRedis) -> None:
    """Goal: nothing per task crosses the broker by itself (DESIGN 6). Method: Redis counts what was published."""
    listener = listen(server.url)
    agent = start_agent(server.url)
    eventually(lambda: "worker-online" in listener.types())
    before = published(server)
    for number in range(500):
        agent.runs(f"t-{number}")
    eventually(lambda: len(listener.of_task("t-499")) == 2)
    assert len(listener.events) >= 1000
    assert published(server) - before < 20


def test_above_the_rate_tasks_are_left_out_but_not_those_that_fail(
    start_agent: StartAgent, listen: Listen, server: EmbeddedRedis
) -> None:
    listener = listen(server.url)
    agent = start_agent(server.url, shown_tasks_per_s=1.0)
    eventually(lambda: "worker-online" in listener.types())
    for task_id in ("shown", "hidden", "fails"):
        agent.runs(task_id)
    agent.ends("shown", "succeeded", exit_code=0)
    agent.ends("hidden", "succeeded", exit_code=0)
    agent.ends("fails", "failed", exit_code=1, reason="COMMAND_EXECUTOR_FAILED")
    eventually(lambda: len(listener.of_task("fails")) == 3)
    assert len(listener.of_task("shown")) == 3
    assert listener.of_task("hidden") == []
    assert listener.of_task("fails")[-1]["exception"] == "COMMAND_EXECUTOR_FAILED"


def test_without_a_broker_nothing_waits_and_nothing_grows(start_agent: StartAgent) -> None:
    """Goal: Flower's absence is not the agent's problem. Method: a port where nobody listens, many events, a stop-watch."""
    agent = start_agent(f"redis://{LOOPBACK}:{free_port()}/0", shown_tasks_per_s=1e9)
    began_s = time.monotonic()
    for number in range(20_000):
        agent.presence.task_received(view(f"t-{number}"))
    assert time.monotonic() - began_s < 5
    assert agent.presence.dropped_events() > 10_000
    began_s = time.monotonic()
    agent.presence.close()
    assert time.monotonic() - began_s < 10


def test_an_agent_comes_back_after_its_broker_did(start_agent: StartAgent, listen: Listen, tmp_path: Path) -> None:
    """Goal: an outage ends by itself, for events and for answers. Method: Redis is stopped and started again."""
    port = free_port()
    with EmbeddedRedis(tmp_path / "redis", port) as first:
        start_agent(first.url)
        eventually(lambda: pings(first.url))
    with EmbeddedRedis(tmp_path / "redis", port) as second:
        eventually(lambda: pings(second.url), within_s=40)
        listener = listen(second.url)
        eventually(lambda: {"worker-online", "worker-heartbeat"} & set(listener.types()), within_s=40)
        listener.close()


def test_calls_that_are_no_tasks_are_in_the_agents_figures(
    start_agent: StartAgent, listen: Listen, server: EmbeddedRedis
) -> None:
    """Goal: Flower counts what a pool runs. Method: a heartbeat, and the answer that its page of a worker asks for."""
    listener = listen(server.url)
    agent = start_agent(server.url)
    agent.runs("task")
    framework = FrameworkInfo(user="", name="calls", framework_id=FRAMEWORK)
    totals = ExecutorTotals(succeeded=40, failed=2, active=3)
    FlowerObserver(agent.presence).totals_changed(
        [TotalsChange(framework, ExecutorId("python"), ContainerId("c"), totals)]
    )
    eventually(
        lambda: any((event.get("active"), event.get("processed")) == (4, 43) for event in list(listener.events)),
        within_s=40,
    )
    listener.close()
    app = Celery(broker=server.url, set_as_current=False)
    with closing(app):
        inspected: Any = app.control.inspect(timeout=5)
        (stats,) = inspected.stats().values()
    assert stats["total"] == {"sleep": 1, "mesolite.pool.call": 42}


def test_agents_that_live_are_counted_and_those_that_are_gone_are_not(server: EmbeddedRedis) -> None:
    with closing(open_broker(server.url).channel()) as channel:
        assert [count_alive(channel, "alive", name, 1000.0) for name in ("a", "b", "a", "c")] == [1, 2, 2, 3]
        assert count_alive(channel, "alive", "c", 1000.0 + ALIVE_S) == 1
    with closing(connect(server.url)) as client:
        assert 0 < client.ttl("alive") <= ALIVE_S
        client.set("taken", "by something else")
    with closing(open_broker(server.url).channel()) as channel:
        assert count_alive(channel, "taken", "a", 1000.0) == 1


def test_a_broker_on_a_unix_socket_is_the_same_broker(start_agent: StartAgent, server: EmbeddedRedis) -> None:
    """Settings write unix:// where kombu writes redis+socket://."""
    assert server.unix_url is not None
    start_agent(server.unix_url)
    eventually(lambda: pings(server.url))


def test_celerys_own_control_reaches_the_agent(start_agent: StartAgent, server: EmbeddedRedis) -> None:
    agent = start_agent(server.url)
    agent.runs("runs")
    agent.presence.task_received(view("waits"))
    with celery(server.url) as app:
        eventually(lambda: app.control.ping(timeout=0.5))
        inspect = app.control.inspect(destination=["mesolite@agent-1"], timeout=10)
        stats = inspect.stats()["mesolite@agent-1"]
        assert stats["pool"]["max-concurrency"] == 2
        assert stats["total"] == {"sleep": 2}
        assert [task["id"] for task in inspect.active()["mesolite@agent-1"]] == [shown("runs")]
        assert [task["id"] for task in inspect.reserved()["mesolite@agent-1"]] == [shown("waits")]
        app.control.revoke("fw-1/runs", terminate=True, signal="SIGKILL")
        eventually(lambda: agent.terminated == [("fw-1", "runs")])
        app.control.revoke("fw-1/waits")
        eventually(lambda: agent.terminated == [("fw-1", "runs"), ("fw-1", "waits")])


def test_queue_lengths_are_read_wherever_our_addresses_lead(server: EmbeddedRedis) -> None:
    assert server.unix_url is not None
    with closing(connect(server.url)) as client:
        client.lpush("full", "a", "b")
    for url in (server.url, server.unix_url):
        lengths = asyncio.run(QueueLengths(url).queues(["full", "empty"]))
        assert lengths == [{"name": "full", "messages": 2}, {"name": "empty", "messages": 0}]


@pytest.mark.flower
@pytest.mark.slow
def test_an_unmodified_flower_shows_the_agent_and_its_tasks(
    start_agent: StartAgent, server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Goal: Flower as it comes from PyPI lists the agent, follows its tasks and terminates one. Method: its HTTP API."""
    with Flower(server.url, tmp_path / "flower.log", plain=True) as flower:
        agent = start_agent(server.url)
        eventually(lambda: flower.get("/api/workers?status=1") == {"mesolite@agent-1": True}, within_s=40)
        for task_id in ("good", "bad", "killed", "runs"):
            agent.runs(task_id)
        agent.ends("good", "succeeded", exit_code=0)
        agent.ends("bad", "failed", exit_code=137, reason="CONTAINER_LIMITATION_MEMORY", message="65 of 64 MiB")
        agent.ends("killed", "killed")

        def states() -> dict[str, object]:
            return {task_id: task["state"] for task_id, task in flower.get("/api/tasks").items()}

        expected = {"good": "SUCCESS", "bad": "FAILURE", "killed": "REVOKED", "runs": "STARTED"}
        eventually(lambda: states() == {shown(task_id): state for task_id, state in expected.items()})
        tasks = flower.get("/api/tasks")
        good = tasks[shown("good")]
        assert good["result"] == "0"
        assert good["runtime"] >= 0
        assert good["args"] == "sleep 100"
        assert good["worker"] == "mesolite@agent-1"
        assert tasks[shown("bad")]["exception"] == "CONTAINER_LIMITATION_MEMORY: 65 of 64 MiB"

        worker = flower.get("/api/workers?refresh=1&workername=mesolite@agent-1")["mesolite@agent-1"]
        assert worker["stats"]["pool"]["max-concurrency"] == 2
        assert worker["stats"]["total"] == {"sleep": 4}
        assert [task["id"] for task in worker["active"]] == [shown("runs")]
        assert worker["revoked"] == [shown("killed")]
        assert flower.page("/worker/mesolite@agent-1") == 200
        assert flower.page("/task/fw-1%2Fruns") == 200, "as its links write it"

        # As its terminate button writes it.
        flower.post("/api/task/revoke/fw-1/runs?terminate=true")
        eventually(lambda: agent.terminated == [("fw-1", "runs")])
        agent.presence.close()
        eventually(lambda: flower.get("/api/workers?status=1") == {"mesolite@agent-1": False})


@contextmanager
def celery(broker_url: str) -> Generator[Any]:
    """A Celery application for its remote control."""
    app: Any = Celery(broker=broker_url, set_as_current=False)
    yield app
    app.close()


def pings(broker_url: str) -> bool:
    """Whether an agent answers."""
    with celery(broker_url) as app:
        try:
            return bool(app.control.ping(timeout=0.5))
        except (OperationalError, redis.ConnectionError):
            return False


def published(server: EmbeddedRedis) -> int:
    """How often PUBLISH was called."""
    with closing(connect(server.url)) as client:
        statistics = cast("dict[str, dict[str, int]]", client.info("commandstats"))
        return statistics.get("cmdstat_publish", {"calls": 0})["calls"]
