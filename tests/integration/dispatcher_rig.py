"""`mesolite celery` on a real cluster of plain processes, with the application `celery_apps/noting_tasks.py`.

with dispatcher_rig(broker_url, "classic") as rig:
    assert rig.task("add").delay(1, 2).get(timeout=60) == 3
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import celery
import celery.exceptions
import redis

from bench.clusters import cluster
from bench.processes import Program
from mesolite.config import UpConfig
from mesolite.embedded_redis import EmbeddedRedis
from tests.celery_clients import close_client
from tests.waiting import eventually

from .celery_apps import noting_tasks

_APP: Final = "noting"
#: For the cluster to hear of it.
_END_S: Final = 20.0
#: Far beyond what any of its tasks takes.
_RESULT_S: Final = 90.0


class DispatcherRig:
    """The dispatcher, its application's client, and the Redis where results and notes are."""

    def __init__(
        self, broker_url: str, redis_url: str, folder: Path, environment: dict[str, str], queues: tuple[str, ...]
    ) -> None:
        settings = (broker_url, redis_url, queues)
        self._queues: Final = queues
        #: Several may share a broker.
        self.node: Final = f"{queues[0]}@test"
        self.app: Final[Any] = noting_tasks.make_app(*settings)
        # A connection for each message: that one of a pool is dead, a client may notice where it does not try again.
        self.app.conf.broker_pool_limit = 0
        self.redis: Final = redis.Redis.from_url(redis_url, decode_responses=True)
        self._folder: Final = folder
        self._environment: Final = environment
        assert noting_tasks.__file__ is not None
        written = folder / f"{_APP}.py"
        shutil.copyfile(noting_tasks.__file__, written)
        with written.open("a") as file:
            file.write(f"\n\napp = make_app{settings!r}\n")
        self._program = self._start()

    def task(self, name: str) -> Any:
        """The client's end of a task."""
        return self.app.tasks[name]

    def result(self, sent: Any) -> Any:
        """Wait for the result of a task that was sent; where there is none, tell what the dispatcher said."""
        try:
            return sent.get(timeout=_RESULT_S)
        except celery.exceptions.TimeoutError:
            raise AssertionError(f"{sent.id} has no result\n== dispatcher\n{self.log}") from None

    def notes(self, key: str) -> list[str]:
        """What tasks wrote down: their ids, each time that they began."""
        found: Any = self.redis.lrange(key, 0, -1)
        return list(found)

    def wait_for_notes(self, key: str, count: int) -> None:
        """Wait until so many tasks began."""
        eventually(lambda: len(self.notes(key)) >= count, within_s=60)

    def wait_until_up(self) -> None:
        """Wait until the dispatcher answers."""
        eventually(lambda: self.app.control.ping([self.node], timeout=0.5) or not self.runs, within_s=60)
        assert self.runs, self.log

    def wait_until_ready(self) -> None:
        """Wait until the newest life of the dispatcher takes messages."""
        eventually(lambda: " ready." in self._words_of_this_life() or not self.runs, within_s=60)
        assert self.runs, self.log

    def _words_of_this_life(self) -> str:
        return (self._folder / "log").read_bytes()[self._began_at :].decode(errors="replace")

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The dispatcher."""
        return self._program.process

    @property
    def runs(self) -> bool:
        """Whether the dispatcher lives."""
        return self._program.process.poll() is None

    @property
    def log(self) -> str:
        """What it said, in all its lives."""
        return (self._folder / "log").read_text(errors="replace")

    def kill_and_start(self) -> None:
        """End it with SIGKILL, and start it again under the same name."""
        self._program.process.kill()
        self._program.process.wait(30)
        self._program = self._start()

    def start_another(self, broker_url: str | None = None) -> Program:
        """Start one under the same name beside it, and return the first, which is the caller's to end.

        Args:
            broker_url: What it reads from; None: the same.
        """
        first, self._program = self._program, self._start({"CELERY_BROKER_READ_URL": broker_url} if broker_url else {})
        return first

    def close(self) -> None:
        """End it, and what runs by it: a test that failed may have left tasks that wait for ever."""
        self._program.process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.process.wait(_END_S)
        self._program.kill()
        self.redis.close()
        close_client(self.app)

    def _start(self, more: Mapping[str, str] | None = None) -> Program:
        log = self._folder / "log"
        self._began_at = log.stat().st_size if log.exists() else 0
        options = [
            "-A",
            _APP,
            "--cpus",
            "0.1",
            "--mem",
            "128",
            "-c",
            "40",
            "-Q",
            ",".join(self._queues),
            "-l",
            "INFO",
            "-n",
            self.node,
        ]
        return Program(["-m", "mesolite.cli", "celery", *options], self._folder, {**self._environment, **(more or {})})


@contextmanager
def dispatcher_rig(broker_url: str | None, *queues: str) -> Generator[DispatcherRig]:
    """Start a cluster and a dispatcher that consumes some queues, wait until it answers, and end them.

    Args:
        broker_url: None: the Redis of the cluster.
        queues: As `noting_tasks` knows them.
    """
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-celery-")))
        folder.chmod(0o755)
        store = cleanup.enter_context(EmbeddedRedis(folder / "redis"))
        config = UpConfig(
            agents=1, agent_resources="cpus:8;mem:8192", containerizer="process", redis=store.url, flower=False
        )
        address = cleanup.enter_context(cluster(config))
        (folder / "site").mkdir(mode=0o755)
        environment = {
            "MESOLITE_MASTER_URL": address.master_url,
            "MESOLITE_REDIS_URL": address.redis_url,
            "MESOLITE_CLUSTER": address.cluster,
        }
        backend_url = f"{store.url.rpartition('/')[0]}/1"
        rig = DispatcherRig(broker_url or backend_url, backend_url, folder / "site", environment, queues)
        cleanup.callback(rig.close)
        try:
            rig.wait_until_up()
            yield rig
        except BaseException:
            # pytest shows it below the failure.
            sys.stdout.write(f"== dispatcher\n{rig.log}")
            raise
