"""How a cluster comes up on one machine: Redis first, for it has the address; then master, agents and Flower at once."""

import http.client
import os
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
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.errors import MesoliteError, Unavailable
from mesolite.operator import OperatorClient
from mesolite.ports import LOOPBACK, free_port

from .processes import POLL_INTERVAL_S, found_process, is_alive, log_tail, start_process, stop_process

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
        self._started: list[ProcessRecord] = []
        self._before = read_cluster(home)
        self._address = self._before or ClusterAddress(redis_url="", master_url="")

    def run(self) -> ClusterAddress:
        """Start what does not run, and wait for all of it.

        Raises:
            MesoliteError: Something ended or did not answer in time; what was started here is stopped again.
        """
        with ExitStack() as on_failure:
            on_failure.callback(self._undo)
            self._find_redis()
            # All at once: each waits by itself for what it needs, and most of a start is imports.
            for process, record in [(process, self._ensure_runs(process)) for process in self._processes()]:
                self._wait_for(process, record)
            on_failure.pop_all()
        if not self._started:
            self._say("already up")
        return self._address

    def _processes(self) -> list[Process]:
        address = self._address
        processes = [self._master()]
        processes += [self._agent(number) for number in range(1, self._config.agents + 1)]
        if address.flower_url is not None:
            processes.append(self._flower(address.flower_url))
        return processes

    def _ensure_runs(self, process: Process) -> ProcessRecord:
        record = next((known for known in self._address.processes if known.name == process.name), None)
        if record is not None and is_alive(record):
            return record
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
        return record

    def _wait_for(self, process: Process, record: ProcessRecord) -> None:
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
        if kept:
            self._write(processes=kept)
        else:
            forget_cluster(self._home)

    def _write(self, *, processes: tuple[ProcessRecord, ...]) -> None:
        self._address = msgspec.structs.replace(self._address, processes=processes)
        write_cluster(self._home, self._address)

    def _find_redis(self) -> None:
        """Settle which Redis is used, starting our own where none was given, and with it the cluster's address."""
        given = self._config.redis or self._redis_given_before()
        if given is not None:
            self._settle(given)
            return
        own = EmbeddedRedis.attach(self._home / "redis")
        if own is None:
            self._say("starting redis")
            own = EmbeddedRedis(self._home / "redis", detached=True).start()
        pid = own.pid
        assert pid is not None, "it has just answered"
        record = found_process("redis", pid, log=own.directory / "redis.log")
        self._settle(own.url, own.unix_url or "")
        if record not in self._address.processes:
            self._started.append(record)
            others = tuple(known for known in self._address.processes if known.name != "redis")
            self._write(processes=(record, *others))

    def _redis_given_before(self) -> str | None:
        """Return the Redis that the running cluster was given, so that a bare `up` finds it in order."""
        before = self._before
        has_own = before is None or any(record.name == "redis" for record in before.processes)
        return None if before is None or has_own else before.redis_url

    def _settle(self, redis_url: str, near_redis_url: str = "") -> None:
        """Keep the address that there was, unless its Redis is another one now: then nothing of it can be used."""
        if self._before is not None and self._before.redis_url == redis_url:
            # An earlier version did not write its socket down.
            self._address = msgspec.structs.replace(self._address, near_redis_url=near_redis_url)
            return
        for record in reversed(self._address.processes):
            stop_process(record)
        config = self._config
        self._address = ClusterAddress(
            redis_url=redis_url,
            near_redis_url=near_redis_url,
            master_url=f"http://{LOOPBACK}:{config.http_port or free_port()}",
            cluster=config.cluster,
            flower_url=f"http://{LOOPBACK}:{config.flower_port or free_port()}" if config.flower else None,
        )

    def _mesolite(self, command: str, *options: str) -> tuple[str, ...]:
        config = ("--config", str(self._config_file.absolute())) if self._config_file is not None else ()
        return (sys.executable, "-m", "mesolite.cli", *config, command, *options)

    def _cluster_environment(self, redis_url: str) -> dict[str, str]:
        """Give the address in the environment: the arguments of a process are for everybody to see."""
        return {"MESOLITE_REDIS_URL": redis_url, "MESOLITE_CLUSTER": self._address.cluster}

    def _master(self) -> Process:
        port = str(urllib.parse.urlsplit(self._address.master_url).port)
        return Process(
            name="master",
            argv=self._mesolite("master", "--http-host", LOOPBACK, "--http-port", port),
            answers=OperatorClient(self._address.master_url, timeout_s=PROBE_TIMEOUT_S).is_healthy,
            environment=self._cluster_environment(self._address.nearest_redis_url),
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
            environment=self._cluster_environment(self._address.nearest_redis_url),
        )

    def _flower(self, url: str) -> Process:
        port = urllib.parse.urlsplit(url).port
        assert port is not None, "it was chosen when the address was made"
        return Process(
            name="flower",
            argv=self._mesolite("flower", "--http-host", LOOPBACK, "--http-port", str(port)),
            answers=lambda: _http_answers(port, "/healthcheck"),
            environment=self._cluster_environment(self._address.redis_url),
        )


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


def _http_answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
