"""The protocol can be spoken without our library: an executor of sixty lines of C, compiled and talked to."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.scripted_agent import WELCOME, ScriptedAgent, scripted_agent
from tests.source_tree import ROOT
from tests.waiting import eventually

SOURCE: Final = ROOT / "frameworks" / "examples" / "executor.c"
COMPILER: Final = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled executor."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("executor") / "executor"
    subprocess.run(
        [COMPILER, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", path, SOURCE], check=True, timeout=60
    )
    return str(path)


@pytest.fixture
def agent(program: str, tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent to which the executor has subscribed."""
    with scripted_agent(tmp_path, [program]) as agent:
        assert agent.welcome() == {"type": "SUBSCRIBE", "unacknowledged_tasks": [], "unacknowledged_updates": []}
        yield agent


def test_it_has_sixty_lines() -> None:
    """Without blank lines, includes, and lines that are a comment alone."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if not re.match(r"\s*$|#include|/\*.*(\*/)?$|   \w.*\*/$", line)]) <= 60


def test_tasks_run_and_their_ends_are_told(agent: ScriptedAgent) -> None:
    agent.launch(("good", b"echo it is done; exit 0"), ("bad", b"exit 3"))
    ends: dict[str, list[str]] = {"good": [], "bad": []}
    while sum(map(len, ends.values())) < 4:
        update = agent.hear()
        agent.acknowledge(update)
        ends[update["task_id"]].append(update["state"])
    assert ends == {"good": ["TASK_RUNNING", "TASK_FINISHED"], "bad": ["TASK_RUNNING", "TASK_FAILED"]}
    assert "it is done" in agent.stderr.read_text()


def test_a_task_with_an_inconvenient_name_and_labels_is_told_apart(agent: ScriptedAgent) -> None:
    name = 'a "quoted" näme, with {braces} and "data":"x"'
    task = {"task_id": name, "labels": {"data": "eA==", "task_id": "other"}, "data": "ZXhpdCAw"}
    agent.say({"type": "LAUNCH", "task": task})
    assert agent.end_of(name)["state"] == "TASK_FINISHED"


def test_a_kill_ends_all_that_the_task_started(agent: ScriptedAgent, tmp_path: Path) -> None:
    agent.launch(("t", b"sleep 1000 & echo $! > child; wait"))
    assert agent.hear()["state"] == "TASK_RUNNING"
    child = int(eventually(lambda: read_text(tmp_path / "child")))
    agent.say({"type": "KILL", "task_id": "t", "grace_ms": 5000})
    assert agent.end_of("t")["state"] == "TASK_KILLED"
    eventually(lambda: not is_running(child))


def test_a_task_that_does_not_want_to_end_is_ended_after_the_grace(agent: ScriptedAgent, tmp_path: Path) -> None:
    agent.launch(("t", b"trap '' TERM; echo > deaf; while :; do sleep 0.1; done"))
    eventually(lambda: (tmp_path / "deaf").exists())
    agent.say({"type": "KILL", "task_id": "t", "grace_ms": 200})
    assert agent.end_of("t")["state"] == "TASK_KILLED"


def test_what_is_not_acknowledged_is_told_to_the_agents_next_life_and_nothing_is_launched_twice(
    agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.launch(("heard", b"sleep 1000"))
    agent.acknowledge(agent.hear())
    command = b"echo x >> count; while ! [ -e go ]; do sleep 0.02; done"
    agent.launch(("unheard", command))
    agent.hear()
    agent.die()
    (tmp_path / "go").touch()
    eventually(lambda: len(children_of(agent.process.pid)) == 1)
    agent.live_again()
    subscribe = agent.accept()
    assert subscribe["unacknowledged_tasks"] == ["unheard"]
    [finished] = subscribe["unacknowledged_updates"]
    assert (finished["task_id"], finished["state"]) == ("unheard", "TASK_FINISHED")
    agent.say(WELCOME)
    agent.launch(("unheard", command))
    agent.acknowledge(finished)
    agent.say({"type": "KILL", "task_id": "heard", "grace_ms": 1000})
    assert agent.end_of("heard")["state"] == "TASK_KILLED"
    assert (tmp_path / "count").read_text() == "x\n"


def test_shutdown_kills_what_runs_and_leaves_when_all_is_heard(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"sleep 1000"))
    agent.acknowledge(agent.hear())
    agent.say({"type": "SHUTDOWN", "grace_ms": 5000})
    assert agent.end_of("t")["state"] == "TASK_KILLED"
    assert agent.exit_code() == 0


def read_text(path: Path) -> str:
    """A file's text; empty where there is none yet."""
    return path.read_text() if path.exists() else ""


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """The processes that one has started and not yet noticed the end of."""
    return [int(child) for child in read_text(Path(f"/proc/{pid}/task/{pid}/children")).split()]
