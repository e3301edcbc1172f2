"""A whole cluster of compose/compose.yaml for tests that break it: brought up under a name, addresses and a work directory of its
own, killed, frozen and cut in pieces by service name, and taken down with everything that it left on the Engine.

Containers are named as services are: "redis-1", "master-2"; of agents there are several, numbered from 1: "agent", 2. The rig
speaks to the Engine for what it breaks and to Redis, Sentinel and the masters at their own addresses, which a Linux host reaches.
"""

import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import docker
import docker.errors
import pytest
from docker.models.containers import Container
from redis import Redis, RedisError

from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
from mesolite.ports import free_port
from tests.waiting import eventually

ROOT: Final = Path(__file__).resolve().parent.parent.parent
COMPOSE_FILE: Final = ROOT / "compose" / "compose.yaml"
MASTER_NAME: Final = "mesolite"

MASTERS: Final = ("master-1", "master-2")
REDIS: Final = ("redis-1", "redis-2", "redis-3")
SENTINELS: Final = ("sentinel-1", "sentinel-2", "sentinel-3")
#: Last part of each fixed address in compose.yaml.
HOST_PARTS: Final = {
    **{name: 11 + index for index, name in enumerate(REDIS)},
    **{name: 21 + index for index, name in enumerate(SENTINELS)},
    **{name: 31 + index for index, name in enumerate(MASTERS)},
}

#: Far beyond what compose takes for its dozen containers; then the Engine hangs.
COMPOSE_TIMEOUT_S: Final = 240
READY_WITHIN_S: Final = 90
#: Redis's package, Python's packages, and a Debian below both where no registry is reachable.
IMAGES_TIMEOUT_S: Final = 600
#: For one command line against the cluster.
COMMAND_TIMEOUT_S: Final = 120
#: A server that is paused accepts connections and says nothing.
PROBE_TIMEOUT_S: Final = 1.0


class ComposeRig:
    """One cluster under compose. Use `running_cluster`, which takes it down whatever happens."""

    def __init__(self, *, agents: int = 2, settings: Mapping[str, str] | None = None) -> None:
        """Prepare names; nothing is started.

        Args:
            agents: How many agents to begin with.
            settings: Variables of compose.yaml that differ from its defaults.
        """
        self._engine = docker.from_env(timeout=60)
        self.project: Final = f"mesolite-rig-{secrets.token_hex(3)}"
        self.prefix: Final = self._free_prefix()
        self.work_dir: Final = Path(tempfile.mkdtemp(prefix=f"{self.project}-"))
        # Tasks run as nobody and must get through to their sandboxes.
        self.work_dir.chmod(0o755)
        self.agents = agents
        ports = _free_ports(3)
        self.master_urls: Final = tuple(f"http://127.0.0.1:{port}" for port in ports[:2])
        self.flower_url: Final = f"http://127.0.0.1:{ports[2]}"
        self.environment: Final = {
            "MESOLITE_SUBNET_PREFIX": self.prefix,
            "MESOLITE_WORK_DIR": str(self.work_dir),
            # Names the cluster's task containers, too, so that what is left of them can be told from others'.
            "MESOLITE_CLUSTER_NAME": self.project,
            "MESOLITE_MASTER_1_PORT": str(ports[0]),
            "MESOLITE_MASTER_2_PORT": str(ports[1]),
            "MESOLITE_FLOWER_PORT": str(ports[2]),
            **(settings or {}),
        }
        self.redis_url: Final = self._redis_url()

    # -- life ---------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Create and start everything; see `wait_until_ready`."""
        self.compose("up", "-d", "--no-build", "--scale", f"agent={self.agents}")

    def create(self) -> None:
        """Create everything and start nothing."""
        self.compose("up", "--no-start", "--no-build", "--scale", f"agent={self.agents}")

    def stop_all(self) -> None:
        """Stop and remove every container and the network; what was stored stays. `up` brings it back."""
        self.compose("down", "--timeout", "5")

    def scale(self, agents: int) -> None:
        """Start or stop agents so that there are so many."""
        self.agents = agents
        self.up()

    def down(self) -> None:
        """Remove everything: containers, the tasks' own, network, volumes, work directory."""
        for container in self._engine.containers.list(all=True, filters={"label": self._project_label()}):
            _resume(container)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "3", check=False)
        for container in self.task_containers(include_ended=True):
            _remove(container)
        self._remove_work_dir()
        self._engine.close()

    def wait_until_ready(self, *, within_s: float = READY_WITHIN_S) -> None:
        """Wait until a master leads, all agents are active, Redis has its replicas and Flower answers."""
        self._wait(self.leader, "a master leads", within_s)
        # No more either: one that was scaled away is offered from until its silence is noticed (three heartbeats, 15 s).
        self._wait(lambda: self.active_agents() == self.agents, f"{self.agents} agents are active", within_s)
        self._wait(self.is_redis_whole, "the primary has its replicas, and each Sentinel knows the others", within_s)
        self._wait(self._flower_answers, "Flower answers", within_s)

    def wait_until_healthy(self, *, within_s: float = READY_WITHIN_S) -> None:
        """Wait until Docker's health checks pass, each container's."""
        self._wait(self._all_healthy, "all containers are healthy", within_s)

    # -- who is who ---------------------------------------------------------------------------------------------------

    def container(self, service: str, number: int = 1) -> Container:
        """Find a container, running or not.

        Args:
            service: "redis-1", "agent".
            number: Which of its containers, from 1.
        """
        wanted = [self._project_label(), f"com.docker.compose.service={service}"]
        wanted.append(f"com.docker.compose.container-number={number}")
        found = self._engine.containers.list(all=True, filters={"label": wanted})
        assert found, f"{self.project} has no container {number} of {service}"
        return found[0]

    def containers(self) -> list[Container]:
        """Every container of the cluster itself, running or not; tasks are not among them."""
        return self._engine.containers.list(all=True, filters={"label": self._project_label()})

    def task_containers(self, *, include_ended: bool = False) -> list[Container]:
        """The containers that agents of this cluster started."""
        label = f"mesolite.cluster={self.project}"
        return self._engine.containers.list(all=include_ended, filters={"label": label})

    def leader(self) -> str | None:
        """The service whose master says that it leads; None while none does."""
        for service, url in zip(MASTERS, self.master_urls, strict=True):
            if self.leads(url):
                return service
        return None

    def leads(self, master_url: str) -> bool:
        """Whether the master at a URL leads, by its own word."""
        try:
            return bool(OperatorClient(master_url, timeout_s=PROBE_TIMEOUT_S).health().leads)
        except MesoliteError:
            return False

    def standby(self) -> str:
        """The service of the master that does not lead."""
        leader = self.leader()
        return next(service for service in MASTERS if service != leader)

    def primary(self) -> str | None:
        """The service of the Redis that most Sentinels call the primary; None while they do not agree."""
        said = [self._primary_by(sentinel) for sentinel in SENTINELS]
        for service in REDIS:
            if said.count(self.address(service)) > len(SENTINELS) // 2:
                return service
        return None

    def address(self, service: str) -> str:
        """The fixed address of a service."""
        return f"{self.prefix}.{HOST_PARTS[service]}"

    def redis_client(self, service: str) -> Redis:
        """A client of one Redis, without retries and with short waits."""
        return Redis(
            self.address(service), 6379, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S
        )

    def operator(self, *, timeout_s: float = 10.0) -> OperatorClient:
        """A client of the operator API that asks both masters."""
        return OperatorClient(",".join(self.master_urls), timeout_s=timeout_s)

    def active_agents(self) -> int:
        """How many agents the leading master calls active; 0 while none leads."""
        try:
            return sum(row.status == "active" for row in self.operator(timeout_s=PROBE_TIMEOUT_S).agents())
        except MesoliteError:
            return 0

    def number_of(self, agent_id: str) -> int:
        """Which of the agent's containers is an agent: ids belong to directories, and addresses to containers."""
        url = next(row.url for row in self.operator().agents() if row.agent_id == agent_id)
        for container in self.containers():
            networks: dict[str, Any] = container.attrs["NetworkSettings"]["Networks"]
            if urlsplit(url).hostname in [network["IPAddress"] for network in networks.values()]:
                return int(container.labels["com.docker.compose.container-number"])
        raise AssertionError(f"no container of {self.project} has the address of {url}")

    def is_redis_whole(self) -> bool:
        """Whether the primary has both replicas in line, and each Sentinel counts two others and two replicas."""
        primary = self.primary()
        if primary is None:
            return False
        try:
            replication: Any = self.redis_client(primary).info("replication")
            known = [self._sentinel_counts(sentinel) for sentinel in SENTINELS]
        except RedisError:
            return False
        lags = [replication.get(f"slave{index}", {}) for index in range(2)]
        return all(each.get("state") == "online" for each in lags) and known == [(2, 2)] * len(SENTINELS)

    # -- breaking -----------------------------------------------------------------------------------------------------

    def kill(self, service: str, number: int = 1) -> None:
        """SIGKILL to a container's process. It stays down until `start`: the Engine takes it for the operator's wish."""
        self.container(service, number).kill()

    def start(self, service: str, number: int = 1) -> None:
        """Start a container that was killed or stopped."""
        self.container(service, number).start()

    def restart(self, service: str, number: int = 1, *, grace_s: int = 10) -> None:
        """SIGTERM, SIGKILL after the grace, and start again: what a rolling update does."""
        self.container(service, number).restart(timeout=grace_s)

    def pause(self, service: str, number: int = 1) -> None:
        """Freeze all of a container (cgroup freezer): sockets stay open and say nothing."""
        self.container(service, number).pause()

    def unpause(self, service: str, number: int = 1) -> None:
        """Let a frozen container go on."""
        self.container(service, number).unpause()

    def stop_process(self, service: str, number: int = 1) -> None:
        """SIGSTOP to a container's first process."""
        self._signal(service, number, signal.SIGSTOP)

    def continue_process(self, service: str, number: int = 1) -> None:
        """SIGCONT to a container's first process."""
        self._signal(service, number, signal.SIGCONT)

    def disconnect(self, service: str, number: int = 1) -> None:
        """Take a container off the network: to the others it is gone without a word."""
        self._network().disconnect(self.container(service, number))

    def connect(self, service: str, number: int = 1) -> None:
        """Put a container back on the network, under its fixed address where it has one."""
        address = self.address(service) if service in HOST_PARTS else None
        self._network().connect(self.container(service, number), ipv4_address=address, aliases=[service])

    # -- the command line ---------------------------------------------------------------------------------------------

    def mesolite(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run one command of this checkout on this host against the cluster."""
        return subprocess.run(
            [sys.executable, "-m", "mesolite.cli", "--cluster", ",".join(self.master_urls), *arguments],
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=check,
        )

    def mesolite_inside(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command in a container of the cluster."""
        return self.compose("run", "--rm", "-T", "cli", *arguments, check=False)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run compose for this project."""
        done = subprocess.run(
            [*compose_command(), "--file", str(COMPOSE_FILE), "--project-name", self.project, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=COMPOSE_TIMEOUT_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}"
        return done

    def logs(self, *, tail: int = 60) -> str:
        """The last lines of each container, and what state it is in."""
        told: list[str] = []
        for container in sorted(self.containers(), key=lambda each: str(each.name)):
            state = container.attrs["State"]
            told.append(f"--- {container.name}: {state['Status']}, exit {state['ExitCode']}, {state.get('Error', '')}")
            told.append(container.logs(tail=tail).decode("utf-8", "replace"))
        return "\n".join(told)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wait(self, look: Callable[[], object], what: str, within_s: float) -> None:
        try:
            eventually(look, within_s=within_s)
        except AssertionError as late:
            raise AssertionError(f"{what}: {late}") from None

    def _all_healthy(self) -> bool:
        states = [container.attrs["State"] for container in self.containers()]
        return bool(states) and all(state.get("Health", {}).get("Status") == "healthy" for state in states)

    def _flower_answers(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.flower_url).netloc, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _primary_by(self, sentinel: str) -> str | None:
        with self._sentinel(sentinel) as client:
            try:
                said: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
            except RedisError:
                return None
        return said[0].decode() if said else None

    def _sentinel_counts(self, sentinel: str) -> tuple[int, int]:
        """How many other Sentinels and how many replicas a Sentinel knows."""
        with self._sentinel(sentinel) as client:
            flat: Any = client.execute_command("SENTINEL", "MASTER", MASTER_NAME)
        facts = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        read = {_text(name): _text(value) for name, value in facts.items()}
        return int(read["num-other-sentinels"]), int(read["num-slaves"])

    def _sentinel(self, service: str) -> Redis:
        return Redis(
            self.address(service), 26379, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S
        )

    def _signal(self, service: str, number: int, which: signal.Signals) -> None:
        container = self.container(service, number)
        if os.geteuid() == 0:
            # Straight to the process: the Engine would take its own `kill` for an order not to restart the container.
            os.kill(container.attrs["State"]["Pid"], which)
        else:
            container.kill(signal=which.name)

    def _network(self) -> Any:
        return self._engine.networks.get(f"{self.project}_cluster")

    def _project_label(self) -> str:
        return f"com.docker.compose.project={self.project}"

    def _redis_url(self) -> str:
        hosts = ",".join(f"{self.address(name)}:26379" for name in SENTINELS)
        return f"sentinel://{hosts}/{MASTER_NAME}"

    def _free_prefix(self) -> str:
        """Three parts of an address that no network of the Engine uses."""
        taken = str([network.attrs.get("IPAM") for network in self._engine.networks.list()])
        while True:
            prefix = f"172.30.{100 + secrets.randbelow(150)}"
            if f"{prefix}." not in taken:
                return prefix

    def _remove_work_dir(self) -> None:
        """As root, since tasks and agents wrote there: by a container, for whoever runs the tests may be somebody else."""
        image = self.environment.get("MESOLITE_RELEASE_IMAGE", "mesolite:local")
        self._engine.containers.run(
            image,
            ["-c", "find /left -mindepth 1 -delete"],
            entrypoint="sh",
            user="0:0",
            remove=True,
            network_mode="none",
            volumes={str(self.work_dir): {"bind": "/left", "mode": "rw"}},
        )
        shutil.rmtree(self.work_dir, ignore_errors=True)


@contextmanager
def prepared_cluster(*, agents: int = 2, settings: Mapping[str, str] | None = None) -> Generator[ComposeRig]:
    """Name a cluster that is taken down whatever happens; its logs are printed when something failed inside."""
    make_images()
    rig = ComposeRig(agents=agents, settings=settings)
    try:
        yield rig
    except BaseException:
        sys.stdout.write(rig.logs())
        raise
    finally:
        rig.down()


@contextmanager
def running_cluster(*, agents: int = 2, settings: Mapping[str, str] | None = None) -> Generator[ComposeRig]:
    """Bring a cluster up, wait until it is ready, and take it down whatever happens."""
    with prepared_cluster(agents=agents, settings=settings) as rig:
        rig.up()
        rig.wait_until_ready()
        yield rig


@cache
def make_images() -> None:
    """See to it that the images of this checkout are there, once in a run; skip where there is no compose."""
    if not compose_command():
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    script = ROOT / "scripts" / "compose-images"
    done = subprocess.run([str(script)], capture_output=True, text=True, timeout=IMAGES_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr


@cache
def compose_command() -> tuple[str, ...]:
    """What compose is called here: Docker's own plugin, else docker-compose; nothing where there is neither."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else ()


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)


def _resume(container: Container) -> None:
    """What is paused or stopped does not end; let it go on first."""
    try:
        if container.status == "paused":
            container.unpause()
        pid = container.attrs["State"]["Pid"]
        if pid and os.geteuid() == 0:
            os.kill(pid, signal.SIGCONT)
    except (docker.errors.APIError, ProcessLookupError):
        return


def _remove(container: Container) -> None:
    try:
        container.remove(force=True)
    except docker.errors.NotFound:
        return


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
