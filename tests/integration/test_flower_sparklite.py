"""Flower shows what a context of sparklite does: jobs, stages, and tasks on the agents that they ran on."""

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.frameworks.sparklite import SparkConf, SparkContext
from mesolite.frameworks.sparklite.errors import JobFailed
from mesolite.frameworks.sparklite.flower import FlowerListener, driver_worker
from mesolite.frameworks.sparklite.listener import JobFinished, SparkEvent, StageFinished
from mesolite.frameworks.sparklite.recorder import Recorder
from tests.contract.futures_pools import process_cluster
from tests.unit.sparklite.event_stories import job_began, now_ms, stage_began, task_finished, task_started
from tests.waiting import eventually

from .flower_rig import Agent, Flower

pytestmark = [pytest.mark.redis, pytest.mark.flower, pytest.mark.slow]

#: From an event to the page: the listener waits a second before it begins; the rest is for busy machines.
SHOWN_WITHIN_S = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """A Redis of the test's own."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


#: How the program that runs the context appears.
DRIVER = driver_worker(socket.gethostname())


class Context:
    """A context as far as listeners see it."""

    def __init__(self, redis_url: str) -> None:
        self._recorder = Recorder()
        self._flower = FlowerListener(redis_url, "default", "app-1", self._recorder, 100.0)

    def hear(self, *events: SparkEvent) -> None:
        """Something happens in it."""
        for event in events:
            self._recorder.heard(event)
            self._flower.heard(event)

    def begins(self) -> None:
        """A stage of two tasks runs."""
        at_ms = now_ms()
        self.hear(job_began(0, 0, at_ms=at_ms), stage_began(0, 2, at_ms=at_ms))
        self.hear(*(task_started(number, at_ms=at_ms, agent_id="agent-1") for number in (0, 1)))

    def ends(self) -> None:
        """One task goes well, one fails, and so does the job."""
        at_ms = now_ms()
        self.hear(
            task_finished(0, at_ms=at_ms, metrics=TaskMetrics(run_ms=1500.0, items_in=10)),
            task_finished(1, at_ms=at_ms, outcome="failed", reason="Traceback:\nValueError: no"),
            StageFinished(at_ms=at_ms, stage_id=0, attempt=0, reason="a task failed 4 times"),
            JobFinished(at_ms=at_ms, job_id=0, error="stage 0 failed"),
        )

    def close(self) -> None:
        """It is stopped."""
        self._flower.close()


def eventually_shows(flower: Flower, **states: str) -> None:
    """Wait until these, and only these, are shown."""
    expected = {f"app-1/{name}": state for name, state in states.items()}
    try:
        eventually(lambda: flower.states() == expected, within_s=SHOWN_WITHIN_S)
    except AssertionError:
        raise AssertionError(f"shown: {flower.states()}\nexpected: {expected}\n{flower.log()}") from None


RUNNING = {"job-0": "STARTED", "stage-0.0": "STARTED", "task-0": "STARTED", "task-1": "STARTED"}
ENDED = {"job-0": "FAILURE", "stage-0.0": "FAILURE", "task-0": "SUCCESS", "task-1": "FAILURE"}


def test_tasks_are_shown_with_their_stage_at_the_agent_that_they_ran_on(server: EmbeddedRedis, tmp_path: Path) -> None:
    with (
        Flower(server.url, tmp_path / "flower.log") as flower,
        contextlib.closing(Agent(server.url)),
        contextlib.closing(Context(server.url)) as context,
    ):
        eventually(lambda: "mesolite@agent-1" in flower.get("/api/workers?refresh=1"), within_s=SHOWN_WITHIN_S)
        context.begins()
        eventually_shows(flower, **RUNNING)
        context.ends()
        eventually_shows(flower, **ENDED)
        task = flower.get("/api/task/info/app-1/task-0")
        assert (task["name"], task["worker"]) == ("sparklite: map at app.py:7", "mesolite@agent-1")
        assert (task["parent_id"], task["root_id"]) == ("app-1/stage-0.0", "app-1/job-0")
        assert (task["args"], task["runtime"], task["result"]) == ("partition 0, attempt 0", 1.5, "items in 10")
        assert flower.get("/api/task/info/app-1/task-1")["exception"] == "ValueError: no"
        stage = flower.get("/api/task/info/app-1/stage-0.0")
        assert (stage["name"], stage["worker"]) == ("sparklite stage: map at app.py:7", DRIVER)
        assert flower.get("/api/workers?status=1") == {"mesolite@agent-1": True, DRIVER: True}
        assert "sparklite: map at app.py:7" in flower.text("/task/app-1/task-0")
        assert flower.page("/worker/mesolite@agent-1") == 200


def test_a_context_that_ends_says_all_and_goodbye(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Method: the context is over before its listener has begun to speak; an agent is there to tell that Flower listens."""
    with Flower(server.url, tmp_path / "flower.log") as flower, contextlib.closing(Agent(server.url)):
        eventually(lambda: flower.get("/api/workers?status=1") != {}, within_s=SHOWN_WITHIN_S)
        context = Context(server.url)
        context.begins()
        context.ends()
        context.close()
        eventually_shows(flower, **ENDED)
        eventually(
            lambda: flower.get("/api/workers?status=1") == {"mesolite@agent-1": True, DRIVER: False},
            within_s=SHOWN_WITHIN_S,
        )


def test_what_happened_while_redis_was_away_is_shown_when_it_is_back(tmp_path: Path) -> None:
    """Goal: nothing is shown as running for ever. Method: Redis is ended in the middle of a stage, and started again."""
    with contextlib.ExitStack() as stack:
        server = EmbeddedRedis(tmp_path / "redis")
        server.start()
        stack.callback(server.stop)
        flower = stack.enter_context(Flower(server.url, tmp_path / "flower.log"))
        context = stack.enter_context(contextlib.closing(Context(server.url)))
        context.begins()
        eventually_shows(flower, **RUNNING)
        server.stop()
        context.ends()
        server.start()
        eventually_shows(flower, **ENDED)


@pytest.mark.xdist_group("sparklite")
def test_a_whole_program_is_shown_with_its_jobs_stages_and_tasks(tmp_path: Path) -> None:
    """Goal: from SparkContext to Flower's page, with nothing played. Method: a real cluster; a shuffle, and a task that fails."""
    with process_cluster() as address, Flower(address.redis_url, tmp_path / "flower.log") as flower:
        conf = SparkConf().setAll(
            [("spark.executor.memory", "200m"), ("spark.executor.cores", "1"), ("spark.cores.max", "2")]
        )
        with SparkContext(address.redis_url, "shown", conf=conf) as sc:
            pairs = sc.parallelize(range(100), 4).map(lambda number: (number % 10, number))
            assert len(pairs.reduceByKey(lambda a, b: a + b, 2).collect()) == 10
            with pytest.raises(JobFailed):
                sc.parallelize([0], 1).map(lambda number: 1 // number).collect()

            def shown() -> dict[str, list[str]]:
                """States of this program's things by kind."""
                states: dict[str, list[str]] = {"job": [], "stage": [], "task": []}
                for uuid, state in flower.states().items():
                    kind = uuid.rpartition("/")[2].partition("-")[0]
                    if uuid.startswith(sc.applicationId) and kind in states:
                        states[kind].append(state)
                return {kind: sorted(found) for kind, found in states.items()}

            expected = {
                "job": ["FAILURE", "SUCCESS"],
                "stage": ["FAILURE", "SUCCESS", "SUCCESS"],
                # Spark tries a task four times.
                "task": ["FAILURE"] * 4 + ["SUCCESS"] * 6,
            }
            eventually(lambda: shown() == expected, within_s=2 * SHOWN_WITHIN_S)
            tasks = flower.get("/api/tasks?limit=1000")
            ran_at = {task["worker"] for uuid, task in tasks.items() if "/task-" in uuid}
            assert ran_at <= {"mesolite@agent-1", "mesolite@agent-2"}
            failed = [
                task for task in tasks.values() if task["state"] == "FAILURE" and "ZeroDivisionError" in str(task)
            ]
            assert failed
