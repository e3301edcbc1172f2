"""An executor reaches the sockets of its agent and the bundle from inside its container, and can do nothing else to them."""

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.containerizer.contract import ContainerExited, ContainerSpec
from mesolite.agent.containerizer.policy import ContainerPolicy, User, default_user
from mesolite.agent.containerizer.process_run import environment_of, may_use_own_python
from mesolite.agent.executor_links.doors import open_doors
from tests.contract.containerizer_hosts import IMAGE, DockerHost, GroupedProcessHost, Host, RealHost

POLICY: Final = ContainerPolicy(default_image=IMAGE, allow_root=True)

#: Says hello to the agent, tries what it must not be able to do, and runs the bundle.
EXECUTOR: Final = """
import os, socket
told = socket.socket(socket.AF_UNIX)
told.connect(os.environ["MESOS_DOMAIN_SOCKET"])
told.sendall(b"hello\\n")
for directory in (os.environ["MESOLITE_SOCKETS"], os.environ["MESOLITE_BUNDLE"]):
    try:
        open(os.path.join(directory, "mine"), "w")
    except OSError as error:
        told.sendall(type(error).__name__.encode() + b"\\n")
told.sendall(open(os.path.join(os.environ["MESOLITE_BUNDLE"], "greeting")).read().encode())
"""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user of the machine may pass through, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def host(request: pytest.FixtureRequest, open_path: Path) -> Iterator[RealHost]:
    """This machine, with a work_dir so deep that no path of a socket could name it."""
    deep = open_path / ("d" * 100)
    deep.mkdir()
    made: RealHost
    if request.param == "process":
        made = GroupedProcessHost(deep, POLICY)
    else:
        request.getfixturevalue("docker_engine")
        made = DockerHost(deep, POLICY)
    yield made
    made.clean()


@pytest.fixture
def bundle(open_path: Path) -> Path:
    directory = open_path / "bundle"
    directory.mkdir()
    (directory / "greeting").write_text("from the bundle\n")
    return directory


def executor(host: Host, bundle: Path) -> ContainerSpec:
    """A container that runs the program above on whichever Python it is told of."""
    spec = host.spec("sh", "-c", f"exec ${{MESOLITE_PYTHON:-python3}} -c '{EXECUTOR}'")
    return replace(spec, socket_dir=host.work_dir / "sockets" / spec.container_id, bundle_dir=bundle)


def heard(host: Host, door: socket.socket) -> list[str]:
    """What the first who connects says, to its end."""
    host.wait_for(lambda: accepted(door, connections))
    with connections.pop() as connection, connection.makefile() as lines:
        return lines.read().splitlines()


connections: list[socket.socket] = []


def accepted(door: socket.socket, into: list[socket.socket]) -> bool:
    with contextlib.suppress(BlockingIOError):
        connection = door.accept()[0]
        connection.setblocking(True)
        into.append(connection)
    return bool(into)


def exited(host: Host, spec: ContainerSpec) -> ContainerExited | None:
    return next((event for event in host.events_of(spec) if isinstance(event, ContainerExited)), None)


def test_an_executor_speaks_to_its_agent_and_reads_the_bundle_but_changes_neither(host: Host, bundle: Path) -> None:
    spec = executor(host, bundle)
    assert spec.socket_dir is not None
    (door,) = open_doors(spec.socket_dir, ("agent.sock",), default_user()).values()
    with contextlib.closing(door):
        host.open().launch(spec)
        said = heard(host, door)
    host.wait_for(lambda: exited(host, spec))
    assert said[0] == "hello", (spec.sandbox / "stderr").read_text()
    assert said[-1] == "from the bundle"
    # A plain process of an agent that is not root is the agent's own user: nothing keeps that from anything.
    if isinstance(host, DockerHost) or os.geteuid() == 0:
        assert len(said[1:-1]) == 2
    assert set(said[1:-1]) <= {"OSError", "PermissionError"}


def test_a_container_that_has_the_directory_sees_the_sockets_of_the_next_life(host: Host, bundle: Path) -> None:
    """Goal: an executor reconnects after its agent was restarted. Method: it tries until somebody answers whom it never saw."""
    program = (
        "import os, socket, time\n"
        "while True:\n"
        "    try:\n"
        "        told = socket.socket(socket.AF_UNIX); told.connect(os.environ['MESOS_DOMAIN_SOCKET'])\n"
        "        told.sendall(b'hello\\n'); told.recv(1); break\n"
        "    except OSError:\n"
        "        time.sleep(0.05)\n"
    )
    spec = host.spec("sh", "-c", f'exec ${{MESOLITE_PYTHON:-python3}} -c "{program}"')
    spec = replace(spec, socket_dir=host.work_dir / "sockets" / spec.container_id, bundle_dir=bundle)
    assert spec.socket_dir is not None
    for life in range(2):
        (door,) = open_doors(spec.socket_dir, ("agent.sock",), default_user()).values()
        with contextlib.closing(door):
            if life == 0:
                host.open().launch(spec)
                leave_one_standing(host, door)
            else:
                assert heard_one_line(host, door) == b"hello\n"
    host.wait_for(lambda: exited(host, spec))


def leave_one_standing(host: Host, door: socket.socket) -> None:
    host.wait_for(lambda: accepted(door, connections))
    connections.pop().close()


def heard_one_line(host: Host, door: socket.socket) -> bytes:
    host.wait_for(lambda: accepted(door, connections))
    with connections.pop() as connection:
        line = connection.recv(6)
        connection.sendall(b".")
        return line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_socket_belongs_to_the_tasks_user_alone_and_stays_so(tmp_path: Path) -> None:
    other = User(12345, 23456)
    for door in open_doors(tmp_path / "c", ("agent.sock",), other).values():
        door.close()
    found = (tmp_path / "c" / "agent.sock").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o600)
    for door in open_doors(tmp_path / "c", ("agent.sock",), default_user()).values():
        door.close()
    assert (tmp_path / "c" / "agent.sock").stat().st_uid == 12345, "the executor of the earlier life is still the one"
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["agent.sock"]


def test_plain_processes_run_on_the_agents_python_where_they_can_and_their_own_choice_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = GroupedProcessHost(tmp_path, POLICY)
    spec = replace(host.spec("true"), bundle_dir=tmp_path)
    nobody, root = User(65534, 65534), User(0, 0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "python"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert not may_use_own_python(nobody)
    assert "MESOLITE_PYTHON" not in environment_of(spec, nobody)
    assert environment_of(spec, root)["MESOLITE_PYTHON"] == str(program)
    chosen = replace(spec, environment={"MESOLITE_PYTHON": "/opt/python"})
    assert environment_of(chosen, root)["MESOLITE_PYTHON"] == "/opt/python"
    assert "MESOLITE_PYTHON" not in environment_of(replace(spec, bundle_dir=None), root)
