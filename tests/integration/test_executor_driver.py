"""Executors on the driver as programs of their own, on a real socket whose other end the test plays."""

import base64
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mesolite.executors.driver.patience import MAX_FAULTS
from tests.integration.scripted_agent import WELCOME, Message, ScriptedAgent, scripted_agent
from tests.source_tree import ROOT
from tests.waiting import eventually

ECHO: Final = (sys.executable, str(ROOT / "tests" / "integration" / "echo_executor.py"))
TOTALS: Final[Message] = {"type": "TOTALS", "succeeded": 1}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent to which the echo executor has subscribed."""
    with scripted_agent(tmp_path, ECHO) as agent:
        assert agent.welcome() == {"type": "SUBSCRIBE", "version": 1}
        assert agent.hear() == TOTALS
        yield agent


def come_back(agent: ScriptedAgent) -> Message:
    """Take the executor's next connection; return its SUBSCRIBE. Totals are said again, by the driver and by this executor."""
    subscribe = agent.welcome()
    assert [agent.hear(), agent.hear()] == [TOTALS, TOTALS]
    return subscribe


def test_tasks_are_launched_reported_and_ended(agent: ScriptedAgent) -> None:
    agent.launch(("a", b"finish well"), ("b", b"wait"))
    first = agent.end_of("a")
    assert base64.b64decode(first["data"]) == b"well"
    assert first["timestamp_ms"] == pytest.approx(time.time() * 1000, abs=60_000)
    agent.say({"type": "KILL", "task_id": "b", "grace_ms": 77})
    assert (killed := agent.end_of("b"))["state"] == "TASK_KILLED"
    assert killed["message"] == "77"


def test_messages_go_both_ways(agent: ScriptedAgent) -> None:
    agent.say({"type": "MESSAGE", "data": base64.b64encode(b"abc").decode()})
    assert agent.hear() == {"type": "MESSAGE", "data": base64.b64encode(b"cba").decode()}


def test_a_new_life_of_the_agent_hears_what_the_last_one_did_not_acknowledge(agent: ScriptedAgent) -> None:
    agent.launch(("a", b"finish well"), ("b", b"wait"), ("c", b"wait"))
    said = [agent.hear() for _ in range(3)]
    agent.acknowledge(said[2])
    agent.launch(("marker", b"finish"))
    agent.end_of("marker")
    agent.die()
    agent.live_again()
    subscribe = come_back(agent)
    assert subscribe["unacknowledged_tasks"] == ["a", "b"]
    kept = [{"type": "UPDATE", **update} for update in subscribe["unacknowledged_updates"]]
    assert kept == said[:2]
    agent.launch(("b", b"finish"), ("d", b"finish"))
    assert agent.hear()["task_id"] == "d", "a launch that comes twice is obeyed once"


def test_a_directory_deeper_than_an_address_and_a_name_relative_to_the_start_will_do(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a folder with a long name"] * 8)
    with scripted_agent(deep, ECHO, socket_name="sockets/agent.sock") as agent:
        agent.welcome()
        assert agent.hear() == TOTALS
        agent.die()
        agent.live_again()
        come_back(agent)


def test_an_agent_that_is_away_for_a_while_is_found_again(agent: ScriptedAgent) -> None:
    agent.launch(("a", b"wait"))
    agent.acknowledge(agent.hear())
    agent.die()
    eventually(lambda: "disconnected" in agent.stderr.read_text())
    agent.live_again()
    assert come_back(agent) == {"type": "SUBSCRIBE", "version": 1}


def test_a_slow_agent_gets_everything_in_order(agent: ScriptedAgent) -> None:
    """Goal: more is said than socket and window hold, and nothing is lost. Method: nothing is read while it piles up."""
    names = [f"t{number}" for number in range(24)]
    agent.launch(*((name, b"large 1048576") for name in names))
    assert [agent.end_of(name)["task_id"] for name in names] == names


def test_thousands_of_updates_of_one_task_keep_their_order(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"many 5000"))
    said = [agent.hear() for _ in range(5000)]
    assert [update["message"] for update in said] == [f"{number}" for number in range(5000)]


def test_shutdown_ends_tasks_and_waits_for_the_acknowledgement(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"wait"))
    agent.acknowledge(agent.hear())
    agent.say({"type": "SHUTDOWN", "grace_ms": 10_000})
    killed = agent.hear()
    assert killed["state"] == "TASK_KILLED"
    assert agent.process.poll() is None
    agent.acknowledge(killed)
    assert agent.exit_code() == 0


def test_a_task_that_will_not_end_does_not_keep_the_executor_beyond_its_grace(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"deaf"))
    agent.acknowledge(agent.hear())
    agent.say({"type": "SHUTDOWN", "grace_ms": 1000})
    assert agent.exit_code() == 0


def test_a_signal_ends_it_as_shutdown_does(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"wait"))
    agent.acknowledge(agent.hear())
    agent.process.send_signal(signal.SIGTERM)
    agent.acknowledge(killed := agent.hear())
    assert killed["state"] == "TASK_KILLED"
    assert agent.exit_code() == 0


def test_an_exception_of_the_author_ends_the_executor_with_its_traceback(agent: ScriptedAgent) -> None:
    agent.launch(("t", b"raise"))
    assert agent.exit_code() == 1
    assert "no such order: 'raise'" in agent.stderr.read_text()


def test_an_error_of_the_agent_is_said_and_the_executor_comes_back(agent: ScriptedAgent) -> None:
    agent.say({"type": "ERROR", "message": "no such update"})
    assert agent.is_hung_up_on()
    come_back(agent)
    assert "does not take what this executor says: no such update" in agent.stderr.read_text()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b'{"type":"LAUNCH"}\n'])
def test_an_agent_that_speaks_garbage_is_given_up_with_a_clear_word(tmp_path: Path, garbage: bytes) -> None:
    with scripted_agent(tmp_path, ECHO) as agent:
        for _ in range(MAX_FAULTS):
            agent.accept()
            agent.write(garbage)
            assert agent.is_hung_up_on()
        assert agent.exit_code() == 1
        assert "exiting: the agent cannot be understood" in agent.stderr.read_text()


def test_a_line_without_an_end_is_cut_off(agent: ScriptedAgent) -> None:
    agent.write_until_cut_off(b"x" * (1 << 20))
    come_back(agent)
    assert "a line of more than" in agent.stderr.read_text()


def test_whatever_comes_the_executor_reconnects_or_exits_and_never_spins(tmp_path: Path) -> None:
    """Goal: bytes of a fuzzer cost attempts, not CPU. Method: good lines with flipped, cut and doubled bytes."""
    rng = random.Random("executor facing garbage")
    good = [
        json.dumps(message).encode() + b"\n"
        for message in (
            WELCOME,
            {"type": "LAUNCH", "task": {"task_id": "t", "data": "d2FpdA==", "resources": {"cpus": 1.0}}},
            {"type": "KILL", "task_id": "t", "grace_ms": 5},
            {"type": "ACKNOWLEDGED", "task_id": "t", "update_id": "1"},
            {"type": "RESIZED", "cpus": 1.5, "mem_mib": 64},
        )
    ]
    with scripted_agent(tmp_path, ECHO) as agent:
        connections = 0
        while agent.process.poll() is None and connections < 200:
            agent.accept()
            connections += 1
            lines = [bytearray(rng.choice(good)) for _ in range(20)]
            for line in lines:
                for _ in range(rng.randrange(3)):
                    line[rng.randrange(len(line))] = rng.randrange(256)
            try:
                agent.write(good[0] + b"".join(lines) + b"\x00\n")
                agent.is_hung_up_on()
            except BrokenPipeError:
                pass
            if connections == MAX_FAULTS:
                agent.exit_code()
        assert connections <= MAX_FAULTS
        said = agent.stderr.read_text()
        assert "exiting: the agent" in said
        assert "Traceback" not in said


def test_without_an_agent_it_says_what_is_missing(tmp_path: Path) -> None:
    with scripted_agent(tmp_path, ECHO, socket_name=str(tmp_path / "nowhere" / "agent.sock")) as agent:
        assert agent.exit_code() == 1
        assert "the directory of the agent's sockets" in agent.stderr.read_text()


def test_the_example_counts_words(tmp_path: Path) -> None:
    with scripted_agent(tmp_path, [sys.executable, "-m", "mesolite.frameworks.examples.word_count"]) as agent:
        agent.welcome()
        agent.launch(("t", b"so many words"), ("u", b""))
        ends: dict[str, bytes] = {}
        while len(ends) < 2:
            update = agent.hear()
            agent.acknowledge(update)
            if update["state"] == "TASK_FINISHED":
                ends[update["task_id"]] = base64.b64decode(update["data"])
        assert ends == {"t": b"3", "u": b"0"}
        agent.say({"type": "SHUTDOWN", "grace_ms": 1000})
        assert agent.exit_code() == 0
