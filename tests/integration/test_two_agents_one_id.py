"""Two machines that were given one agent id, against a real master and a real Redis."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesolite.agent.checkpoint import open_checkpoint
from mesolite.agent.process import run_agent
from mesolite.agent.records import AgentRecord
from mesolite.config import AgentConfig
from mesolite.errors import ConfigError, MesoliteError
from mesolite.operator import OperatorClient
from mesolite.ports import LOOPBACK, free_port
from mesolite.views import AgentRow
from tests.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
def master(redis_url: str, cluster: str) -> Iterator[OperatorClient]:
    """A master in a process of its own, whose heartbeats are short."""
    port = free_port()
    settings = [f"--redis-url={redis_url}", f"--cluster={cluster}", f"--http-port={port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mesolite.cli", "master", *settings, "--heartbeat-interval-ms=200"],
        stderr=subprocess.DEVNULL,
    )
    yield OperatorClient(f"http://{LOOPBACK}:{port}")
    process.terminate()
    process.wait(timeout=30)


def agents_of(master: OperatorClient) -> list[AgentRow]:
    try:
        return list(master.agents())
    except MesoliteError:
        return []  # it is not up yet


def test_a_second_machine_with_the_id_of_a_living_agent_says_so_and_ends(
    tmp_path: Path, redis_url: str, cluster: str, master: OperatorClient
) -> None:
    """Goal: the first goes on undisturbed; the second ends with an error and can be used once the id is free."""

    def config(name: str) -> AgentConfig:
        return AgentConfig(
            redis_url=redis_url,
            cluster=cluster,
            agent_id="one-id",
            hostname=name,
            work_dir=str(tmp_path / name),
            resources="cpus:1;mem:64",
            containerizer="process",
            flower=False,
            http_port=0,
        )

    stop = threading.Event()
    first = threading.Thread(target=run_agent, args=(config("first"), stop))
    first.start()
    try:
        eventually(lambda: [row.hostname for row in agents_of(master)] == ["first"], within_s=30)
        with pytest.raises(ConfigError, match="the id one-id belongs to the agent at first, which is alive"):
            run_agent(config("second"), threading.Event())
        assert first.is_alive()
        assert [(row.hostname, row.status) for row in agents_of(master)] == [("first", "active")]
    finally:
        stop.set()
        first.join(30)
    checkpoint, records, _ = open_checkpoint(tmp_path / "second" / "checkpoint.sqlite", 0)
    checkpoint.close()
    assert [type(record) for record in records] == [AgentRecord], "what it is stays, for when the id is free"
    assert not (tmp_path / "second" / "retired_ids").exists()
