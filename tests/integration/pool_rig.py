"""A pool on this machine: engines in the test's process, executors in processes of their own, a real Redis between them.

with PoolRig(directory, url) as rig:
    engine = rig.engine()
    executor = rig.start_executor(engine)
    assert rig.submit(engine, twice, 3).result(10) == 6
"""

import hashlib
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mesolite.agent.executor_links.redis_door import RedisDoor
from mesolite.executors.python.calls import End, Function, Outcome
from mesolite.frameworks.futures.engine import Ending, Engine, Lost, PoolCall
from mesolite.ids import ContainerId, FrameworkId
from mesolite.transport.keys import key_prefix
from mesolite.transport.raw import connect_raw
from tests.source_tree import ROOT

_CONNECT_TIMEOUT_S: Final = 2.0


class CallFailed(Exception):
    """A call ended in another way than by returning."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(repr(ending))
        self.ending: Final = ending


class PoolExecutor:
    """One executor's process."""

    def __init__(self, rig: "PoolRig", name: str, workers: int, blocks: tuple[str, ...]) -> None:
        self.executor_id: Final = name
        sandbox = rig.directory / name
        sandbox.mkdir()
        arguments = [str(rig.door), rig.framework_id, name, f"container-{name}", str(workers), str(sandbox), *blocks]
        self.log: Final = sandbox / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.pool_program", *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stderr=log,
            )

    def kill(self) -> None:
        """End it, and so its workers."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class PoolRig:
    """Used in a `with` block.

    Args:
        directory: Where files go.
        url: Of the Redis.
        cluster: The cluster's name.
    """

    def __init__(self, directory: Path, url: str, cluster: str) -> None:
        self.directory: Final = directory
        self.prefix: Final = key_prefix(cluster)
        self.framework_id: Final = f"framework-{secrets.token_hex(4)}"
        self.door: Final = directory / "redis.sock"
        self.marks: Final = directory / "marks"
        self._url: Final = url
        self._redis_door: Final = RedisDoor(url, cluster)
        self._listener: Final = socket.socket(socket.AF_UNIX)
        self._engines: list[Engine] = []
        self._executors: list[PoolExecutor] = []

    def __enter__(self) -> Self:
        self._listener.bind(str(self.door))
        self._listener.listen(16)
        threading.Thread(target=self._answer_door, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.close()
        for executor in self._executors:
            executor.kill()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._redis_door.close()
        for engine in self._engines:
            engine.join(10)

    def engine(self) -> Engine:
        """A client that has begun."""
        engine = Engine(partial(connect_raw, self._url, timeout_s=_CONNECT_TIMEOUT_S), self.prefix, self.framework_id)
        engine.start()
        self._engines.append(engine)
        return engine

    def start_executor(self, engine: Engine, workers: int = 2, blocks: tuple[str, ...] = ()) -> PoolExecutor:
        """Start one, and tell an engine of it.

        Args:
            engine: Which.
            workers: How many it has.
            blocks: Where clients put large arguments, and the token that they show there.
        """
        executor = PoolExecutor(self, f"executor-{len(self._executors)}", workers, blocks)
        self._executors.append(executor)
        engine.executor_up(executor.executor_id)
        return executor

    def submit(self, engine: Engine, function: Callable[..., Any], *args: object, retries: int = 0) -> Future[Any]:
        """Call a function of a module; the future raises `CallFailed` for any other end."""
        future: Future[Any] = Future()
        engine.submit([self.call(future, function, *args, retries=retries)])
        return future

    def call(self, future: Future[Any], function: Callable[..., Any], *args: object, retries: int = 0) -> PoolCall:
        """A call that settles a future."""
        pickled = pickle.dumps(function, 5)
        return PoolCall(
            Function(hashlib.sha256(pickled).digest()[:16], pickled),
            pickle.dumps((args, {}), 5),
            partial(_settle, future),
            claim=future.set_running_or_notify_cancel,
            retries=retries,
        )

    def begun(self) -> list[int]:
        """The numbers of calls that began, as workers wrote them down."""
        return [int(line) for line in self.marks.read_text().split()] if self.marks.exists() else []

    def _answer_door(self) -> None:
        with suppress(OSError):
            while True:
                opened, _ = self._listener.accept()
                self._redis_door.take(ContainerId("any"), FrameworkId(self.framework_id), opened)


def _settle(future: Future[Any], _call: PoolCall, ending: Ending) -> None:
    if isinstance(ending, Outcome) and ending.end is End.RETURNED and isinstance(ending.payload, bytes):
        future.set_result(pickle.loads(ending.payload))
    else:
        future.set_exception(CallFailed(ending))


def ending_of(future: Future[Any], within_s: float = 30.0) -> Ending:
    """How a call ended that did not return."""
    error = future.exception(within_s)
    assert isinstance(error, CallFailed), error
    return error.ending


def lost(future: Future[Any]) -> bool:
    """Whether the call is lost."""
    error = future.exception(30.0)
    return isinstance(error, CallFailed) and isinstance(error.ending, Lost)
