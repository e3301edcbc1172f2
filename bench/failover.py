"""How long nothing is launched after a kill -9: of the leading master, and of the Redis primary under Sentinels.

Two masters, two agents, and a framework with more tasks waiting than there is room for (`bench/pressure.py`), all on their
defaults, each a process of its own. The time runs from the kill until the framework hears of the first task running that it
placed after the kill: by then a master leads, knows the agents, has made an offer, and an agent has started a process.

Of a master that died, its lease has to end first: 2 s after the last of its renewals, which come every half second. What
comes on top is ours. Of a Redis primary that died, the Sentinels take their time to notice and to elect; what a bare
redis-py client with Sentinel support needs for its first write, on the same servers and of the same kill, is taken off.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from requests.exceptions import RequestException

from mesolite.config import AgentConfig
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.ports import LOOPBACK, free_port
from mesolite.transport import open_store
from mesolite.transport.contract import Store
from tests.integration.sentinel_rig import MASTER_NAME, PASSWORD, SENTINEL_PASSWORD, SentinelRig
from tests.waiting import eventually

from .figures import Figure, Outcome, main
from .pressure import Pressure, pressure

MASTERS: Final = 2
AGENTS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the framework does."""

    #: Of each agent. One task takes 0.1 CPUs.
    resources: str
    command: str

    def __str__(self) -> str:
        return f"`{self.command}` on {AGENTS} agents of {self.resources}"


#: Tasks are short, so that places come free while nobody leads. In Docker they are fewer and longer, since its Engine starts
#: some ten containers a second on two cores (bench/launch.py) and would be what is measured.
LOADS: Final = {
    "process": Load(resources="cpus:0.4;mem:128", command="sleep 1"),
    "docker": Load(resources="cpus:0.2;mem:64", command="sleep 3"),
}
#: Silence after which Sentinels take a server for dead; the goal is for the first.
DOWN_AFTER_MS: Final = (1000, 500)
MASTER_GOAL_S: Final = 3.0
REDIS_GOAL_S: Final = 1.0
#: So many launches show that all goes well, before the next kill.
SETTLED_LAUNCHES: Final = 12
DEADLINE_S: Final = 60.0
#: How often the bare client tries, and for how long it waits for an answer.
PEER_RETRY_S: Final = 0.01
PEER_TIMEOUT_S: Final = 0.5


class Daemon:
    """One `mesolite master` or `mesolite agent`."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.name = name
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mesolite.cli", *self._arguments], stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def start_again(self) -> None:
        """Start one that was killed."""
        self.process = self._started()

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class Masters:
    """The masters, and which of them leads."""

    def __init__(self, folder: Path, url: str) -> None:
        self._by_url: dict[str, Daemon] = {}
        for n in range(MASTERS):
            port = free_port()
            self._by_url[f"http://{LOOPBACK}:{port}"] = Daemon(
                folder, f"master-{n}", "master", "--redis-url", url, "--http-port", str(port)
            )

    @property
    def urls(self) -> list[str]:
        """Where each may be asked."""
        return list(self._by_url)

    def leading(self, store: Store) -> Daemon:
        """Wait until one leads, and return it."""
        lease = eventually(lambda: store.lease().lease, within_s=DEADLINE_S)
        assert lease is not None, "it waited for one"
        return self._by_url[lease.address]

    def stop(self) -> None:
        """End all."""
        for master in self._by_url.values():
            master.stop()


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What one kill cost."""

    #: Until the first task placed after it was heard to run.
    launch_s: float
    #: Until the framework accepted the first offer.
    placed_s: float
    #: Until the next master had the lease.
    lease_s: float = 0.0
    #: What a peer needed: the bare client until it had written, or a bare container until it had started, right afterwards.
    peer_s: float = 0.0


@contextmanager
def running(url: str, containerizer: str) -> Generator[tuple[Masters, Pressure, Store]]:
    """Start masters, agents and the framework on a Redis, and wait until tasks flow."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-bench-")))
        folder.chmod(0o755)
        store = cleanup.enter_context(closing(open_store(url)))
        masters = Masters(folder, url)
        cleanup.callback(masters.stop)
        for n in range(AGENTS):
            agent = Daemon(
                folder,
                f"agent-{n}",
                *("agent", "--redis-url", url, "--http-port", "0", "--work-dir", str(folder / f"agent-{n}")),
                *("--agent-id", f"failover-{n}", "--resources", LOADS[containerizer].resources),
                *("--containerizer", containerizer, "--no-flower"),
            )
            cleanup.callback(agent.stop)
        framework = cleanup.enter_context(pressure(lambda: open_store(url), LOADS[containerizer].command))
        framework.wait_for_launches(SETTLED_LAUNCHES, after_s=0, timeout_s=DEADLINE_S)
        yield masters, framework, store


def master_gaps(runs: int, containerizer: str) -> list[Gap]:
    """Kill the leading master again and again."""
    gaps: list[Gap] = []
    with (
        tempfile.TemporaryDirectory(prefix="mesolite-bench-") as folder,
        EmbeddedRedis(Path(folder)) as server,
        running(server.url, containerizer) as (masters, framework, store),
    ):
        for _ in range(runs):
            leader = masters.leading(store)
            epoch = store.epoch()
            killed_s = time.monotonic()
            leader.kill()
            eventually(_Beyond(store, epoch), within_s=DEADLINE_S)
            lease_s = time.monotonic() - killed_s
            launches = framework.wait_for_launches(1, after_s=killed_s, timeout_s=DEADLINE_S)
            gaps.append(
                Gap(
                    launch_s=launches.running_s - killed_s,
                    placed_s=launches.placed_s - killed_s,
                    lease_s=lease_s,
                    peer_s=bare_container_s() if containerizer == "docker" else 0.0,
                )
            )
            _say(f"leading master killed, {containerizer}", gaps[-1])
            leader.start_again()
            _settle(framework)
    return gaps


@dataclass(frozen=True)
class _Beyond:
    """Tells whether a later epoch than this has begun."""

    store: Store
    epoch: int

    def __call__(self) -> bool:
        return self.store.epoch() > self.epoch


def redis_gaps(runs: int, down_after_ms: int) -> list[Gap]:
    """Kill the Redis primary again and again."""
    gaps: list[Gap] = []
    with (
        tempfile.TemporaryDirectory(prefix="mesolite-bench-") as folder,
        SentinelRig(Path(folder), down_after_ms=down_after_ms) as rig,
        running(rig.url, "process") as (_, framework, _store),
    ):
        for _ in range(runs):
            primary = rig.wait_until_whole()
            rig.settle()
            with Peer(rig) as peer:
                killed_s = time.monotonic()
                primary.kill()
                peer_s = peer.written_s() - killed_s
                launches = framework.wait_for_launches(1, after_s=killed_s, timeout_s=DEADLINE_S)
            gaps.append(
                Gap(launch_s=launches.running_s - killed_s, placed_s=launches.placed_s - killed_s, peer_s=peer_s)
            )
            _say(f"Redis primary killed, down-after {down_after_ms} ms", gaps[-1])
            primary.start()
            _settle(framework)
    return gaps


def bare_container_s() -> float:
    """How long Docker takes to start a container, without us."""
    # Docker's SDK has no types for it.
    client: Any = docker.APIClient(timeout=60)
    with closing(client):
        began_s = time.monotonic()
        made: str = client.create_container(os.environ.get("MESOLITE_IMAGE", AgentConfig().image), "true")["Id"]
        client.start(made)
        took_s = time.monotonic() - began_s
        client.remove_container(made, force=True)
    return took_s


class Peer:
    """A bare redis-py client with Sentinel support: writes as soon as it can."""

    def __init__(self, rig: SentinelRig) -> None:
        hosts = [(LOOPBACK, sentinel.port) for sentinel in rig.sentinels]
        once: dict[str, Any] = {"socket_timeout": PEER_TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
        # redis-py has no types for it.
        sentinel: Any = Sentinel
        sentinels = sentinel(hosts, sentinel_kwargs={"password": SENTINEL_PASSWORD, **once})
        self._client: redis.Redis = sentinels.master_for(MASTER_NAME, password=PASSWORD, **once)
        # It has a connection, as ours have.
        self._client.set("bench:peer", "before")
        self._gone = threading.Event()
        self._written_s: float | None = None
        self._thread = threading.Thread(target=self._write, name="peer", daemon=True)

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        self._thread.join()
        self._client.close()

    def written_s(self) -> float:
        """Wait for the first write behind a failed one, and return when it was answered."""
        self._thread.join(DEADLINE_S)
        assert self._written_s is not None, "the bare client never wrote"
        return self._written_s

    def _write(self) -> None:
        has_failed = False
        while not self._gone.is_set():
            try:
                self._client.set("bench:peer", "x")
            except (redis.RedisError, OSError):
                has_failed = True
            else:
                if has_failed:
                    self._written_s = time.monotonic()
                    return
            self._gone.wait(PEER_RETRY_S)


def _settle(framework: Pressure) -> None:
    framework.wait_for_launches(SETTLED_LAUNCHES, after_s=time.monotonic(), timeout_s=DEADLINE_S)


def _say(what: str, gap: Gap) -> None:
    print(f"  {what}: {gap}", file=sys.stderr, flush=True)


def _docker_answers() -> bool:
    try:
        with closing(docker.APIClient(timeout=5)) as client:
            client.ping()
    except (docker.errors.DockerException, RequestException, OSError):
        return False
    return True


def measure(runs: int) -> Outcome:
    """Measure all."""
    figures: list[Figure] = []
    for containerizer in ("process", "docker") if _docker_answers() else ("process",):
        gaps = master_gaps(runs, containerizer)
        figures += [
            Figure(
                name=f"failover: leading master killed, first launch ({containerizer})",
                unit="s",
                values=[gap.launch_s for gap in gaps],
                goal=MASTER_GOAL_S,
            ),
            Figure(name="  until the next has the lease", unit="s", values=[gap.lease_s for gap in gaps]),
            Figure(name="  until an offer is accepted", unit="s", values=[gap.placed_s for gap in gaps]),
            *(
                [Figure(name="  bare container, at that time", unit="s", values=[gap.peer_s for gap in gaps])]
                if containerizer == "docker"
                else []
            ),
        ]
    for down_after_ms in DOWN_AFTER_MS:
        gaps = redis_gaps(runs, down_after_ms)
        figures += [
            Figure(
                name=f"failover: Redis primary killed, first launch beyond a bare client, down-after {down_after_ms} ms",
                unit="s",
                values=[gap.launch_s - gap.peer_s for gap in gaps],
                goal=REDIS_GOAL_S if down_after_ms == DOWN_AFTER_MS[0] else None,
            ),
            Figure(name="  first launch", unit="s", values=[gap.launch_s for gap in gaps]),
            Figure(name="  bare redis-py Sentinel client, first write", unit="s", values=[gap.peer_s for gap in gaps]),
        ]
    return Outcome(
        figures=figures,
        notes=[
            f"{MASTERS} masters; {LOADS['process']}, in Docker {LOADS['docker']}; default settings",
            "1 primary, 2 replicas, 3 Sentinels, min-replicas-to-write 1, append-only files; the bare client retries "
            f"every {PEER_RETRY_S * 1000:.0f} ms",
        ],
    )


if __name__ == "__main__":
    main("failover", measure)
