"""`mesolite up`, `run` and `down` as a person uses them: real processes, no Docker."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from mesolite.cli.processes import is_alive
from mesolite.discovery import ClusterAddress, read_cluster
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]

TIMEOUT_S: Final = 90
#: A program of somebody who calls functions: one call that prints and waits for a file, and one that dies; then it waits for its
#: input to end.
CALLS: Final = """
import sys
from pathlib import Path
from mesolite.frameworks.futures import Executor

def speak(flag):
    import sys, time
    print("begun", flush=True)
    print("a complaint", file=sys.stderr)
    while not flag.exists():
        time.sleep(0.02)
    print("over")

def die():
    import os
    print("last words", flush=True)
    os._exit(3)

with Executor(mode=sys.argv[1], name=sys.argv[1], cpus=0.3, mem_mib=32) as executor:
    call = executor.submit(speak, Path(sys.argv[2]))
    print("submitted", flush=True)
    call.result()
    print("over", flush=True)
    print(executor.submit(die).exception(), flush=True)
    sys.stdin.read()
"""
UP: Final = ("up", "--agents", "1", "--containerizer", "process", "--no-flower", "--agent-resources", "cpus:2;mem:256")


class Shell:
    """A terminal with one cluster's home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environment = {**os.environ, "MESOLITE_HOME": str(home), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "mesolite.cli", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_calls(self, mode: str, flag: Path) -> subprocess.Popen[str]:
        """Start the program that calls a function, which ends when the flag is there."""
        return subprocess.Popen(
            [sys.executable, "-c", CALLS, mode, str(flag)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=TIMEOUT_S)
            return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def address(self) -> ClusterAddress:
        """What `up` wrote."""
        address = read_cluster(self.home)
        assert address is not None
        return address

    def task_ids(self) -> list[str]:
        """The tasks that run."""
        return [row["task_id"] for row in json.loads(self.run("ps", "--json").stdout)]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tasks of any user may look for their sandbox."""
    home = tmp_path_factory.mktemp("cluster")
    for folder in (home, home.parent, home.parent.parent):
        folder.chmod(0o755)
    return home


@pytest.fixture(scope="module")
def shell(shared_home: Path) -> Generator[Shell]:
    """A terminal beside a running cluster."""
    terminal = Shell(shared_home)
    started = terminal.run(*UP)
    assert started.returncode == 0, started.stderr
    yield terminal
    terminal.run("down")


@pytest.fixture
def alone(tmp_path: Path) -> Generator[Shell]:
    """A terminal without any cluster; one that the test starts is stopped."""
    terminal = Shell(tmp_path / "home")
    yield terminal
    terminal.run("down")


def test_up_twice_changes_nothing(shell: Shell) -> None:
    before = shell.address()
    again = shell.run(*UP)
    assert again.returncode == 0
    assert "already up" in again.stderr
    assert shell.address() == before


def test_up_starts_again_what_died(shell: Shell) -> None:
    before = {record.name: record for record in shell.address().processes}
    os.kill(before["agent-1"].pid, signal.SIGKILL)
    eventually(lambda: not is_alive(before["agent-1"]))
    again = shell.run(*UP)
    assert again.returncode == 0, again.stderr
    after = {record.name: record for record in shell.address().processes}
    assert after["agent-1"].pid != before["agent-1"].pid
    assert after["master"] == before["master"]
    assert shell.run("run", "--cpus", "0.1", "--mem", "32", "--", "true").returncode == 0


def test_master_and_agent_reach_their_own_redis_by_its_socket(shell: Shell) -> None:
    """Others are given its port, which every client of Redis takes."""
    url = shell.address().redis_url
    assert url.startswith("redis://")
    with closing(connect(url)) as client:
        seen = client.client_list()
    [of_server] = {each["addr"] for each in seen if "U" in each["flags"]}
    assert of_server.endswith("redis.sock:0")
    # Of each the store and kombu's, at least.
    assert sum("U" in each["flags"] for each in seen) >= 4


def test_the_screen_never_shows_the_password(shell: Shell) -> None:
    password = shell.address().redis_url.split(":")[2].split("@")[0]
    assert len(password) > 10
    shown = shell.run(*UP)
    assert password not in shown.stdout + shown.stderr


def test_run_is_like_running_it_here(shell: Shell) -> None:
    """Output byte for byte on the same channel, the same exit code."""
    done = shell.run("run", "--cpus", "0.1", "--mem", "32", "--", "sh", "-c", "printf 'a\\nb'; printf c >&2; exit 9")
    assert (done.returncode, done.stdout) == (9, "a\nb")
    assert done.stderr.startswith("c")


def test_output_that_is_written_fast_is_shown_whole(shell: Shell) -> None:
    done = shell.run("run", "--cpus", "1", "--mem", "32", "--", "seq 500000")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 500_001))


def test_lines_of_an_array_carry_their_index(shell: Shell) -> None:
    done = shell.run("run", "--array", "4", "--cpus", "0.1", "--mem", "16", "--", "echo I am $MESOLITE_INDEX")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"[{index}] I am {index}" for index in range(4)]


def test_an_array_that_failed_in_part_says_where(shell: Shell) -> None:
    done = shell.run("run", "--array", "3", "--cpus", "0.1", "--mem", "16", "--", "exit $MESOLITE_INDEX")
    assert done.returncode == 1
    assert "2 of 3 tasks did not succeed" in done.stderr


def test_a_failed_task_is_tried_again_when_asked_for(shell: Shell) -> None:
    done = shell.run(
        "run",
        "--retries",
        "1",
        "--cpus",
        "0.1",
        "--mem",
        "16",
        "--",
        "echo $MESOLITE_ATTEMPT; test $MESOLITE_ATTEMPT = 2",
    )
    assert (done.returncode, done.stdout) == (0, "1\n2\n")


def test_a_task_that_fits_nowhere_is_refused_with_the_largest_agent(shell: Shell) -> None:
    done = shell.run("run", "--mem", "1GiB", "--", "true")
    assert done.returncode == 1
    assert "the largest is agent-1 with cpus:2;mem:256" in done.stderr


def test_an_interrupt_kills_the_task_and_shows_its_last_words(shell: Shell) -> None:
    trap = "trap 'echo last words; exit 0' TERM; echo ready; sleep 100 & wait"
    with shell.start("run", "--cpus", "0.1", "--mem", "32", "--", trap) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (130, "last words\n")
    eventually(lambda: shell.task_ids() == [])


def test_a_detached_run_goes_on_and_can_be_followed_and_killed(shell: Shell) -> None:
    done = shell.run("run", "--detach", "--name", "far", "--cpus", "0.1", "--mem", "32", "--", "echo begun; sleep 200")
    assert done.returncode == 0, done.stderr
    task_id = f"{done.stdout.strip()}-0-1"
    eventually(lambda: shell.task_ids() == [task_id])
    eventually(lambda: shell.run("logs", task_id).stdout == "begun\n")
    with shell.start("logs", "-f", task_id) as follower:
        assert shell.run("kill", "--wait", task_id).returncode == 0
        out, _ = follower.communicate(timeout=TIMEOUT_S)
    assert (follower.returncode, out) == (0, "begun\n")


def rows_of(shell: Shell, framework_name: str) -> list[dict[str, str]]:
    """The tasks of a framework, ended or not."""
    rows = json.loads(shell.run("ps", "-a", "--json").stdout)
    return [row for row in rows if row["framework_name"] == framework_name]


def test_what_a_call_prints_is_found_by_its_task_while_it_runs_and_after_its_framework(
    shell: Shell, shared_home: Path
) -> None:
    flag = shared_home / "fine-flag"
    with shell.start_calls("fine", flag) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "submitted\n"
        eventually(lambda: [row["task_id"] for row in rows_of(shell, "fine")] == ["1-1"])
        (row,) = rows_of(shell, "fine")
        task = f"{row['framework_id']}/1-1"
        with shell.start("logs", "-f", task) as follower:
            assert follower.stdout is not None
            assert [follower.stdout.readline() for _ in range(2)] == ["begun\n", "a complaint\n"]
            flag.touch()
            out, err = follower.communicate(timeout=TIMEOUT_S)
        assert (follower.returncode, out, err) == (0, "over\n", "")
        assert row["executor_id"] in shell.run("ps", "-a").stdout
        program.communicate(timeout=TIMEOUT_S)
    done = shell.run("logs", task)
    assert (done.returncode, done.stdout) == (0, "begun\na complaint\nover\n"), done.stderr
    own = shell.run("logs", f"{row['framework_id']}/{row['executor_id']}")
    assert (own.returncode, own.stdout) == (0, ""), own.stderr


def test_what_a_call_of_a_pool_prints_is_found_by_its_number_and_its_worker_says_where(
    shell: Shell, shared_home: Path
) -> None:
    flag = shared_home / "coarse-flag"
    flag.touch()
    with shell.start_calls("coarse", flag) as program:
        assert program.stdout is not None
        assert [program.stdout.readline() for _ in range(2)] == ["submitted\n", "over\n"]
        _, command, _ = program.stdout.readline().split("`")
        worker = rows_of(shell, "coarse")[-1]
        executor = f"{worker['framework_id']}/{worker['executor_id']}"
        of_worker = shell.run("logs", f"{worker['framework_id']}/{worker['task_id']}")
        assert (of_worker.returncode, of_worker.stdout) == (0, "")
        assert f"mesolite logs {executor}/CALL" in of_worker.stderr
        assert "the newest are 2, 1\n" in of_worker.stderr
        assert shell.run("logs", f"{executor}/1").stdout == "begun\na complaint\nover\n"
        assert command == f"mesolite logs {executor}/2"
        assert shell.run(*command.split()[1:]).stdout == "last words\n"
        program.communicate(timeout=TIMEOUT_S)


def test_down_stops_exactly_what_up_started_and_every_task(alone: Shell, shell: Shell) -> None:
    """Goal: nothing is left behind and nothing else is touched. Method: a task that runs, and a cluster beside it."""
    alone.home.mkdir()
    for folder in (alone.home, alone.home.parent):
        folder.chmod(0o755)
    assert alone.run(*UP).returncode == 0
    assert alone.run("run", "--detach", "--cpus", "0.1", "--mem", "32", "--", "exec sleep 12345").returncode == 0
    eventually(lambda: processes_like("sleep 12345") == 1)
    records = alone.address().processes
    down = alone.run("down")
    assert down.returncode == 0, down.stderr
    assert [record.name for record in records if is_alive(record)] == []
    assert processes_like("sleep 12345") == 0
    assert all(is_alive(record) for record in shell.address().processes)
    again = alone.run("down")
    assert (again.returncode, again.stdout) == (0, "nothing to stop: no cluster was started here\n")


@pytest.mark.parametrize("is_over", [True, False], ids=["after its pool", "under its pool"])
@pytest.mark.parametrize("mode", ["coarse", "fine"])
def test_down_leaves_no_executor_behind(alone: Shell, mode: str, is_over: bool, tmp_path: Path) -> None:
    """Goal: neither one that is just ending, of which no framework and no task speaks any more, nor one amid a call."""
    alone.home.mkdir()
    for folder in (alone.home, alone.home.parent):
        folder.chmod(0o755)
    assert alone.run(*UP).returncode == 0
    with alone.start_calls(mode, tmp_path / "flag") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "submitted\n"
        bundle = f"{alone.home}/agent-1/bundle-"
        eventually(lambda: processes_naming(bundle) > 0)
        if is_over:
            (tmp_path / "flag").touch()
            program.communicate(timeout=TIMEOUT_S)
        down = alone.run("down")
        assert (down.returncode, down.stderr) == (0, "")
        assert processes_naming(bundle) == 0
        program.kill()


def test_what_does_not_come_up_is_shown_by_its_log_and_leaves_nothing(alone: Shell) -> None:
    """Method: the master's port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = alone.run(*UP, "--http-port", str(port), "--wait-s", "60")
    assert failed.returncode == 1
    assert "master ended while starting; the end of its log" in failed.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in failed.stderr
    assert read_cluster(alone.home) is None


def processes_like(command: str) -> int:
    """How many processes have exactly this command line."""
    wanted = command.replace(" ", "\0").encode() + b"\0"
    return sum(line == wanted for line in command_lines())


def processes_naming(text: str) -> int:
    """How many processes have this in their command line."""
    return sum(text.encode() in line for line in command_lines())


def command_lines() -> Generator[bytes]:
    """Those of all processes, a zero byte behind each word."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes()
            except OSError:
                continue
