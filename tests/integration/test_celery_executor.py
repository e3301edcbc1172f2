"""The Python executor with a Celery application, from the bundle that agents make: its processes, and what they hold."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from mesolite.executors.celery import protocol
from mesolite.executors.celery.protocol import ReportKind, TaskReport, TaskRun
from mesolite.executors.python.preload import VARIABLE
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import CallTask, encode_call
from mesolite.frameworks.celery.task_function import ENTRY, arguments, report_of
from tests.integration.celery_rig import APPS, client, meta_of, run_of
from tests.integration.stub_agent import StubAgent, children_of, outcome_in, stub_agent
from tests.integration.test_python_executor import HERE

pytestmark = pytest.mark.redis

QUEUE = f"executor-{os.getpid()}"


@pytest.fixture
def agent(tmp_path: Path, redis_url: str) -> Iterator[StubAgent]:
    environment = {
        "PARITY_REDIS": redis_url,
        VARIABLE: protocol.PRELOAD_MODULE,
        protocol.APP_VARIABLE: "parity_tasks",
        protocol.PATH_VARIABLE: str(APPS),
        protocol.NODE_VARIABLE: "dispatcher@test",
    }
    with stub_agent(tmp_path, PythonSettings(python=HERE).to_data(), environment=environment) as made:
        yield made


def message(redis_url: str, name: str, *args: object) -> TaskRun:
    """Send a task, and take its message."""
    client(redis_url).send_task(name, args, queue=QUEUE)
    with Redis.from_url(redis_url) as redis:
        found = redis.rpop(QUEUE)
    assert isinstance(found, bytes)
    return run_of(json.loads(found))


def run(agent: StubAgent, run: TaskRun) -> TaskReport:
    """Run it as a Mesolite task of its own."""
    task_id = uuid4().hex
    agent.launch(task_id, encode_call(CallTask(function=ENTRY, arguments=arguments(run), timeout_ms=None)))
    payload = outcome_in(agent.end_of(task_id)).payload
    assert isinstance(payload, bytes)
    return report_of(payload)


def pss_kib(pid: int) -> int:
    """A process's share of what is in memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def test_a_message_is_run_by_what_is_in_the_bundle_and_its_result_is_in_the_backend(
    agent: StubAgent, redis_url: str
) -> None:
    sent = message(redis_url, "parity.add", 20, 22)
    report = run(agent, sent)
    assert (report.kind, report.text) == (ReportKind.SUCCEEDED, "42")
    with Redis.from_url(redis_url) as redis:
        meta = meta_of(redis, sent.task_id) or {}
    assert (meta["status"], meta["result"], meta["worker"]) == ("SUCCESS", 42, "dispatcher@test")


def test_the_executors_own_process_has_nothing_of_the_application(agent: StubAgent, redis_url: str) -> None:
    """What Celery takes is taken once, by the zygote, and shared with the workers."""
    run(agent, message(redis_url, "parity.add", 1, 2))
    main = agent.process.pid
    (zygote,) = children_of(main)
    workers = children_of(zygote)
    assert workers
    sizes = {"main": pss_kib(main), "zygote": pss_kib(zygote)} | {str(pid): pss_kib(pid) for pid in workers}
    assert sizes["main"] < 20 * 1024, sizes
    assert sum(sizes.values()) < 100 * 1024, sizes
