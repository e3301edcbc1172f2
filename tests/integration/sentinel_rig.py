"""A replicated Redis under Sentinels on this machine, to be mistreated: killed, stopped, cut off, demoted.

    with SentinelRig(directory) as rig:
        store = open_store(rig.url)
        lost = rig.primary()
        lost.kill()
        rig.wait_for_primary(other_than=lost)

One primary, two replicas and three Sentinels by default, from the same `redis-server` that the embedded Redis runs. All of
them end with the process that made the rig. Sentinels know each other and the replicas from the start, so that nothing has to
be discovered; it takes under a second.
"""

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesolite.ports import LOOPBACK, free_port
from mesolite.redis_program import find_server, process_runs, spawn_guarded
from tests.waiting import eventually

MASTER_NAME: Final = "mesolite"
#: What clients log in with.
PASSWORD: Final = "client-secret"
SENTINEL_PASSWORD: Final = "sentinel-secret"
#: What servers and Sentinels log in with among themselves: shutting this user out isolates a server, clients excepted.
INTERNAL_USER: Final = "internal"
_INTERNAL_PASSWORD: Final = "internal-secret"

#: Starting and electing takes a second or two; more on a machine that does much else.
DEADLINE_S: Final = 30.0
_ASK_TIMEOUT_S: Final = 1.0

_SERVER_CONF: Final = """
bind {host}
port {port}
dir "{directory}"
pidfile "{directory}/pid"
save ""
appendonly yes
appendfsync everysec
requirepass {password}
user {user} on >{internal} ~* &* +@all
masteruser {user}
masterauth {internal}
min-replicas-to-write {min_replicas}
min-replicas-max-lag 2
repl-ping-replica-period 1
repl-diskless-sync-delay 0
replica-priority {priority}
"""

_SENTINEL_CONF: Final = """
bind {host}
port {port}
dir "{directory}"
pidfile "{directory}/pid"
requirepass {password}
sentinel sentinel-pass {password}
sentinel myid {identity}
sentinel monitor {name} {host} {primary} {quorum}
sentinel auth-user {name} {user}
sentinel auth-pass {name} {internal}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} {failover_timeout_ms}
sentinel parallel-syncs {name} 2
"""


class RigProcess:
    """One server or Sentinel: a process in a directory, with a port it keeps."""

    def __init__(self, directory: Path, port: int, password: str, *, sentinel: bool = False) -> None:
        directory.mkdir(parents=True)
        self.directory: Final = directory
        self.port: Final = port
        self.identity: Final = secrets.token_hex(20)
        self._password: Final = password
        self._arguments: Final = ["--sentinel"] if sentinel else []
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of this one process, whatever role it has."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        return int((self.directory / "pid").read_text())

    def configure(self, text: str) -> None:
        """Write what it starts with; it rewrites that itself later."""
        (self.directory / "redis.conf").write_text(text)

    def start(self) -> None:
        """Start it, or start it again where it ended: with what it wrote down. Returns when it answers."""
        (self.directory / "pid").unlink(missing_ok=True)
        command = [str(find_server()), str(self.directory / "redis.conf"), *self._arguments]
        self._guard = spawn_guarded(command, self.directory / "log")
        eventually(self.answers, within_s=DEADLINE_S)

    def answers(self) -> bool:
        """Tell whether it answers a PING now."""
        with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
            return bool(client.ping())
        return False

    @contextlib.contextmanager
    def client(self) -> Generator[redis.Redis]:
        """Give a client of this one process."""
        client = redis.Redis.from_url(
            self.url,
            socket_timeout=_ASK_TIMEOUT_S,
            socket_connect_timeout=_ASK_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        with contextlib.closing(client):
            yield client

    def ask(self, *command: str) -> Any:
        """Send this one process a command, and return its answer."""
        with self.client() as client:
            execute: Callable[..., Any] = client.execute_command
            return execute(*command)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, where it still runs."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        with contextlib.suppress(FileNotFoundError):
            pid = self.pid
            self.signal(signal.SIGKILL)
            eventually(lambda: not process_runs(pid), within_s=DEADLINE_S)
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None, "it was opened as a pipe"
            guard.stdin.close()
            guard.wait(DEADLINE_S)

    def hang(self) -> None:
        """Stop it with its sockets open: connections are still accepted, by the kernel, and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `hang`."""
        self.signal(signal.SIGCONT)

    def isolate(self) -> None:
        """Cut it off from replicas and Sentinels, while clients still reach it: what a partition looks like to them."""
        self.ask("ACL", "SETUSER", INTERNAL_USER, "off")
        self.ask("CLIENT", "KILL", "USER", INTERNAL_USER)

    def rejoin(self) -> None:
        """End what `isolate` began."""
        self.ask("ACL", "SETUSER", INTERNAL_USER, "on")


class SentinelRig:
    """Servers and Sentinels, used in a `with` block.

    Args:
        directory: Where their files go; need not exist.
        replicas: How many servers beside the primary.
        sentinels: How many Sentinels; more than half of them must agree.
        down_after_ms: Silence after which a Sentinel takes a server for dead. Not below 1,100 where a second failover must
            not follow at once, which it did in one of eight tries: a Sentinel connects to a server at most once in 1,000 ms
            (SENTINEL_PING_PERIOD), so that after a failover it may come too late to hear from the new primary in time.
        failover_timeout_ms: A failed election is repeated after twice this time.
        min_replicas: How many replicas a primary needs to take writes (`min-replicas-to-write`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        down_after_ms: int = 1_250,
        failover_timeout_ms: int = 3_000,
        min_replicas: int = 1,
    ) -> None:
        self._min_replicas = min(min_replicas, replicas)
        self._settings = {"down_after_ms": down_after_ms, "failover_timeout_ms": failover_timeout_ms}
        self.servers: Final = [
            RigProcess(directory / f"server-{n}", free_port(), PASSWORD) for n in range(1 + replicas)
        ]
        self.sentinels: Final = [
            RigProcess(directory / f"sentinel-{n}", free_port(), SENTINEL_PASSWORD, sentinel=True)
            for n in range(sentinels)
        ]

    @property
    def url(self) -> str:
        """The address that clients are given."""
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/{MASTER_NAME}/0?sentinel_password={SENTINEL_PASSWORD}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them: Sentinels first, so that nobody is elected meanwhile."""
        for process in [*self.sentinels, *self.servers]:
            process.kill()

    def primary(self) -> RigProcess:
        """Return the server that most Sentinels name as primary at this moment.

        Raises:
            LookupError: They do not agree, or do not answer.
        """
        named = [self.named_by(sentinel) for sentinel in self.sentinels]
        for server in self.servers:
            if named.count(server.port) > len(self.sentinels) // 2:
                return server
        raise LookupError(f"no majority for one primary: {named}")

    def named_by(self, sentinel: RigProcess) -> int | None:
        """Return the port of the primary that a Sentinel names, or None where it does not answer."""
        with contextlib.suppress(redis.RedisError, OSError):
            address: list[bytes] | None = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
            return int(address[1]) if address else None
        return None

    def wait_for_primary(self, *, other_than: RigProcess | None = None, deadline_s: float = DEADLINE_S) -> RigProcess:
        """Wait until most Sentinels agree on a primary and it takes writes; return it."""

        def found() -> RigProcess | None:
            with contextlib.suppress(LookupError, redis.RedisError, OSError):
                server = self.primary()
                if server is other_than:
                    return None
                server.ask("SET", "rig:probe", "x")
                return server
            return None

        server = eventually(found, within_s=deadline_s)
        assert server is not None, "it waited for one"
        return server

    def wait_until_whole(self, deadline_s: float = DEADLINE_S) -> RigProcess:
        """Wait until the primary has all its replicas and all Sentinels answer and agree; return the primary."""

        def whole() -> RigProcess | None:
            with contextlib.suppress(LookupError, redis.RedisError, OSError):
                server = self.primary()
                replication: dict[str, Any] = server.ask("INFO", "replication")
                online = str(replication).count("'state': 'online'")
                agreed = all(self.named_by(sentinel) == server.port for sentinel in self.sentinels)
                if online == len(self.servers) - 1 and agreed and all(map(self._sees_all, self.sentinels)):
                    return server
            return None

        server = eventually(whole, within_s=deadline_s)
        assert server is not None, "it waited for one"
        return server

    def settle(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until all replicas have all that was written before."""

        def settled() -> bool:
            with self.primary().client() as client:
                client.set("rig:settled", b"x")
                # Of writes over this connection; what came before them is in the same stream.
                return int(client.wait(len(self.servers) - 1, 500)) == len(self.servers) - 1

        eventually(settled, within_s=deadline_s)

    def start_demotion(self) -> None:
        """Make the Sentinels replace a primary that is well."""
        self.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER_NAME)

    def _start(self) -> None:
        primary = self.servers[0]
        for number, server in enumerate(self.servers):
            server.configure(self._server_conf(server, priority=100 if number else 90))
            server.start()
        for sentinel in self.sentinels:
            sentinel.configure(self._sentinel_conf(sentinel, primary))
            sentinel.start()
        self.wait_until_whole()

    def _server_conf(self, server: RigProcess, priority: int) -> str:
        text = _SERVER_CONF.format(
            host=LOOPBACK,
            port=server.port,
            directory=server.directory,
            password=PASSWORD,
            user=INTERNAL_USER,
            internal=_INTERNAL_PASSWORD,
            min_replicas=self._min_replicas,
            priority=priority,
        )
        return text if server is self.servers[0] else f"{text}replicaof {LOOPBACK} {self.servers[0].port}\n"

    def _sentinel_conf(self, sentinel: RigProcess, primary: RigProcess) -> str:
        text = _SENTINEL_CONF.format(
            host=LOOPBACK,
            port=sentinel.port,
            directory=sentinel.directory,
            password=SENTINEL_PASSWORD,
            identity=sentinel.identity,
            name=MASTER_NAME,
            primary=primary.port,
            quorum=len(self.sentinels) // 2 + 1,
            user=INTERNAL_USER,
            internal=_INTERNAL_PASSWORD,
            **self._settings,
        )
        for server in self.servers[1:]:
            text += f"sentinel known-replica {MASTER_NAME} {LOOPBACK} {server.port}\n"
        for other in self.sentinels:
            if other is not sentinel:
                text += f"sentinel known-sentinel {MASTER_NAME} {LOOPBACK} {other.port} {other.identity}\n"
        return text

    def _sees_all(self, sentinel: RigProcess) -> bool:
        """Tell whether a Sentinel takes every server for well, and so would elect one at once."""
        replicas: list[list[bytes]] = sentinel.ask("SENTINEL", "REPLICAS", MASTER_NAME)
        others: list[list[bytes]] = sentinel.ask("SENTINEL", "SENTINELS", MASTER_NAME)
        well = [_fields(item) for item in [*replicas, *others]]
        return len(well) == len(self.servers) + len(self.sentinels) - 2 and all(
            not {"s_down", "disconnected"} & set(item["flags"].split(",")) for item in well
        )


def _fields(item: list[bytes]) -> dict[str, str]:
    words = [word.decode() for word in item]
    return dict(zip(words[::2], words[1::2], strict=True))
