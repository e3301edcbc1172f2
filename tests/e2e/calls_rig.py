"""A cluster under kills, and calls that flow on it meanwhile: two masters, two agents, a Redis under Sentinels, all of them real.

Calls write their number and their process id into a journal when they begin. From its last line a worker is known that is at
work just now, and from the worker its executor.
"""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Final

from bench.failover import Daemon, Masters
from mesolite.errors import MasterUnavailable
from mesolite.frameworks.futures import Executor
from mesolite.operator import OperatorClient
from mesolite.redis_program import process_runs
from mesolite.transport import open_store
from mesolite.transport.contract import Store
from tests.integration.sentinel_rig import SentinelRig
from tests.waiting import eventually

from .calls_judge import Ended, Failed, Returned

AGENTS: Final = 2
RESOURCES: Final = "cpus:2;mem:2048"
#: Calls that were submitted and have not ended: so many that none of the kills finds nothing to do, and few enough that some
#: are submitted while there is no Redis.
OUTSTANDING: Final = 1000
#: For whatever was killed to be replaced.
DEADLINE_S: Final = 45.0
#: Of one call. Four workers take fifteen seconds for all that a test submits, so that every kill meets calls at work.
CALL_S: Final = 0.012


@dataclass(slots=True)
class KillsCluster:
    """Its processes, and how each is killed and replaced."""

    redis: SentinelRig
    masters: Masters
    agents: list[Daemon]
    store: Store
    #: Where calls write that they begin.
    journal: Path

    def kill_worker(self) -> None:
        """Kill the worker process that began a call last; its executor makes another."""
        os.kill(self._worker_at_work(), SIGKILL)

    def kill_executor(self) -> None:
        """Kill the main process of the executor that began a call last; the framework has to start another."""
        main = executor_of(self._worker_at_work())
        os.kill(main, SIGKILL)
        eventually(lambda: not process_runs(main), within_s=DEADLINE_S)

    def kill_agent(self) -> None:
        """Kill the first agent's process, start it again, as an init system would, and wait until the master has it back."""
        before = self._url_of_agent()
        self.agents[0].kill()
        self.agents[0].start_again()
        # Each life has a port of its own.
        eventually(lambda: self._url_of_agent() not in ("", before), within_s=DEADLINE_S)

    def kill_master(self) -> None:
        """Kill the leading master, wait for the next, and start the dead one again."""
        epoch = self.store.epoch()
        leader = self.masters.leading(self.store)
        leader.kill()
        eventually(lambda: self.store.epoch() > epoch, within_s=DEADLINE_S)
        leader.start_again()

    def kill_redis(self) -> None:
        """Kill the Redis primary, wait for the next, and start the dead one again."""
        primary = self.redis.wait_until_whole()
        self.redis.settle()
        primary.kill()
        self.redis.wait_for_primary(other_than=primary, deadline_s=DEADLINE_S)
        primary.start()

    def began(self) -> list[int]:
        """The number of each call that began, as often as it did."""
        return [number for number, _ in self._journal()]

    def at_rest(self) -> bool:
        """Tell whether the leading master lists every agent as active, and nothing of them as used."""
        with contextlib.suppress(MasterUnavailable):
            agents = OperatorClient(",".join(self.masters.urls)).agents()
            busy = [agent for agent in agents if agent.status != "active" or any(agent.used.values())]
            return len(agents) == AGENTS and not busy
        return False

    def _url_of_agent(self) -> str:
        """Where the master says that the first agent is; empty where no master does."""
        with contextlib.suppress(MasterUnavailable):
            agents = OperatorClient(",".join(self.masters.urls)).agents()
            return next((agent.url for agent in agents if agent.agent_id == self.agents[0].name), "")
        return ""

    def _worker_at_work(self) -> int:
        def found() -> int | None:
            lines = self._journal()
            return lines[-1][1] if lines and process_runs(lines[-1][1]) else None

        pid = eventually(found, within_s=DEADLINE_S)
        assert pid is not None, "it waited for one"
        return pid

    def _journal(self) -> list[tuple[int, int]]:
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [(int(number), int(pid)) for number, pid in map(str.split, lines)]


@contextmanager
def kills_cluster() -> Generator[KillsCluster]:
    """Start all, and end all."""
    with ExitStack() as cleanup:
        # Not pytest's folder, which is nobody's but ours: tasks run as another user where agents run as root.
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-kills-")))
        folder.chmod(0o755)
        redis = cleanup.enter_context(SentinelRig(folder / "redis"))
        store = cleanup.enter_context(closing(open_store(redis.url)))
        masters = Masters(folder, redis.url)
        cleanup.callback(masters.stop)
        agents: list[Daemon] = []
        for number in range(AGENTS):
            name = f"agent-{number}"
            agent = Daemon(
                folder,
                name,
                *("agent", "--redis-url", redis.url, "--http-port", "0", "--work-dir", str(folder / name)),
                *("--agent-id", name, "--resources", RESOURCES, "--containerizer", "process", "--no-flower"),
            )
            cleanup.callback(agent.stop)
            agents.append(agent)
        journal = folder / "journal"
        journal.touch()
        journal.chmod(0o666)
        try:
            yield KillsCluster(redis, masters, agents, store, journal)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                # pytest shows it below the failure.
                sys.stdout.write(f"== {log.name}\n{log.read_text()}")
            raise


class Flow:
    """Calls that are submitted as others end, and what their futures say."""

    def __init__(self, executor: Executor, journal: Path) -> None:
        self._executor = executor
        self._journal = journal
        self._room = threading.Semaphore(OUTSTANDING)
        self._ended: list[Ended] = []

    @contextmanager
    def of(self, calls: range) -> Generator[None]:
        """Submit calls while the block runs; at its end all have been submitted, and have ended."""
        with ThreadPoolExecutor(1) as feeder:
            fed = feeder.submit(self._feed, calls)
            yield
            fed.result(DEADLINE_S)
        self.wait_for(calls.stop)

    def wait_for(self, count: int) -> None:
        """Wait until so many have ended."""
        eventually(lambda: self.count() >= count, within_s=DEADLINE_S)

    def count(self) -> int:
        """How many have ended."""
        return len(self._ended)

    def ended(self) -> list[Ended]:
        """All ends that were heard."""
        return list(self._ended)

    def _feed(self, calls: range) -> None:
        call = written_call(str(self._journal))
        for number in calls:
            assert self._room.acquire(timeout=DEADLINE_S), f"no call ends any more; {number} have been submitted"
            self._executor.submit(call, number).add_done_callback(partial(self._hear, number))

    def _hear(self, number: int, future: Future[int]) -> None:
        self._room.release()
        error = future.exception()
        self._ended.append(
            Returned(number, future.result()) if error is None else Failed(number, type(error).__name__, str(error))
        )


def written_call(journal: str) -> Callable[[int], int]:
    """Return a function that workers can have without having this module: one that is defined in another is sent whole."""
    seconds = CALL_S

    def call(number: int) -> int:
        import os
        import threading

        line = os.open(journal, os.O_WRONLY | os.O_APPEND)
        os.write(line, f"{number} {os.getpid()}\n".encode())
        os.close(line)
        threading.Event().wait(seconds)
        return number

    return call


def executor_of(worker: int) -> int:
    """Return the main process of a worker's executor: the one below the shell of its container (see process_run.py)."""
    pid = worker
    while (parent := _parent_of(pid)) > 1:
        if (Path("/proc") / str(parent) / "comm").read_text().strip() == "sh":
            return pid
        pid = parent
    raise LookupError(f"worker {worker} is below no shell of a container")


def _parent_of(pid: int) -> int:
    # proc_pid_stat(5): state and parent follow the name, which stands in parentheses.
    with contextlib.suppress(FileNotFoundError):
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0
