"""Workers in this process: what `SparkContext("local[2]")` runs on, and what tests do.

As strict as a cluster: functions, tasks and results are pickled and unpickled, each worker keeps its own partitions and broadcast
values, and each pretended agent has its own directory of blocks. What it cannot do: end a task that has begun (it is left
alone, and what it comes to is ignored), and limit memory. It can be told to lose executors, agents and blocks.
"""

import tempfile
import threading
from itertools import count
from pathlib import Path
from typing import Final

from mesolite.executors.sparklite.blocks import StoredBlock

from .backend import BackendListener, Ending, Launch, Lost
from .errors import SparkError
from .local_executor import LocalAgent, LocalExecutor

#: What a host is called that is this process.
HOST: Final = "localhost"


class LocalBackend:
    """See `Backend`.

    Args:
        workers: Threads of each executor.
        agents: Pretended agents, each with one executor.
    """

    def __init__(self, workers: int, agents: int = 1) -> None:
        self._workers: Final = workers
        self._lock: Final = threading.Lock()
        self._numbers: Final = count()
        self._directory: Final = tempfile.TemporaryDirectory(prefix="sparklite-", ignore_cleanup_errors=True)
        folder = Path(self._directory.name)
        self._agents: Final = {f"local-{n}": LocalAgent(f"local-{n}", folder / str(n)) for n in range(agents)}
        self._executors: Final[dict[str, LocalExecutor]] = {}
        #: Who has a task.
        self._holders: Final[dict[int, LocalExecutor]] = {}
        self._listener: BackendListener | None = None

    @property
    def default_parallelism(self) -> int:
        """See `Backend`."""
        return self._workers * len(self._agents)

    def start(self, listener: BackendListener) -> None:
        """See `Backend`."""
        self._listener = listener
        for agent in list(self._agents.values()):
            self._start_executor(agent)

    def want(self, tasks: int) -> None:
        """See `Backend`: all there are to be are there."""

    def launch(self, launches: list[Launch]) -> None:
        """See `Backend`."""
        for launch in launches:
            with self._lock:
                executor = self._executors.get(launch.executor_id)
                if executor is not None:
                    self._holders[launch.spec.task_id] = executor
            if executor is None or not executor.launch(launch):
                self.tell_ended(launch.spec.task_id, Lost(begun=False, reason="its executor is over"))

    def cancel(self, task_id: int) -> None:
        """See `Backend`."""
        with self._lock:
            executor = self._holders.get(task_id)
        if executor is not None:
            executor.cancel(task_id)

    def block_address(self, executor_id: str) -> str:
        """See `Backend`."""
        with self._lock:
            executor = self._executors.get(executor_id)
        return "" if executor is None else str(executor.agent.blocks_directory / "{}")

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `Backend`."""
        with self._lock:
            agent = next(iter(self._agents.values()), None)
        if agent is None:
            raise SparkError(f"block {block_id} cannot be stored: all agents are gone")
        return agent.blocks.put(block_id, data)

    def read(self, block: StoredBlock) -> bytes:
        """See `Backend`."""
        return LocalAgent("driver", Path(self._directory.name) / "driver").blocks.read(block)

    def drop(self, blocks: list[StoredBlock]) -> None:
        """See `Backend`."""
        for block in blocks:
            self.lose_block(block)

    def close(self) -> None:
        """See `Backend`."""
        with self._lock:
            executors = list(self._executors.values())
            self._executors.clear()
        for executor in executors:
            executor.end("the context was stopped")
        self._directory.cleanup()

    # For tests

    def lose_block(self, block: StoredBlock) -> None:
        """Let a block be gone."""
        path = Path(block.url)
        if path.is_relative_to(self._directory.name):
            path.unlink(missing_ok=True)

    def lose_blocks(self, prefix: str) -> int:
        """Let blocks be gone whose names begin so; return how many there were."""
        paths = [path for agent in self._agents.values() for path in agent.blocks_directory.glob(f"{prefix}*")]
        for path in paths:
            path.unlink()
        return len(paths)

    def lose_executor(self, executor_id: str, reason: str = "it was killed") -> None:
        """Let an executor be over, with what its workers hold; another takes its place."""
        with self._lock:
            executor = self._executors.pop(executor_id)
        self._over(executor, reason)
        if executor.agent.agent_id in self._agents:
            self._start_executor(executor.agent)

    def lose_agent(self, agent_id: str, reason: str = "the agent is gone") -> None:
        """Let an agent be gone for good, with its executor and its blocks."""
        with self._lock:
            agent = self._agents.pop(agent_id)
            lost = [each for each in self._executors.values() if each.agent is agent]
            for each in lost:
                del self._executors[each.executor_id]
        for path in agent.blocks_directory.iterdir():
            path.unlink()
        for each in lost:
            self._over(each, reason)
        if self._listener is not None:
            self._listener.agent_lost(agent_id, reason)

    def return_agent(self, agent_id: str) -> None:
        """Let an agent that was lost be there again, with nothing in its store."""
        agent = LocalAgent(agent_id, Path(self._directory.name) / f"{agent_id}-again")
        with self._lock:
            self._agents[agent_id] = agent
        self._start_executor(agent)

    @property
    def executor_ids(self) -> list[str]:
        """The executors that there are."""
        with self._lock:
            return list(self._executors)

    # From executors

    def tell_began(self, task_id: int) -> None:
        """See `ExecutorOwner`."""
        if self._listener is not None:
            self._listener.task_began(task_id)

    def tell_ended(self, task_id: int, ending: Ending) -> None:
        """See `ExecutorOwner`."""
        with self._lock:
            self._holders.pop(task_id, None)
        if self._listener is not None:
            self._listener.task_ended(task_id, ending)

    def _start_executor(self, agent: LocalAgent) -> None:
        assert self._listener is not None, "it was started"
        executor = LocalExecutor(self, f"executor-{next(self._numbers)}", agent, self._workers)
        with self._lock:
            self._executors[executor.executor_id] = executor
        self._listener.executor_changed(executor.executor_id, agent.agent_id, HOST, self._workers)

    def _over(self, executor: LocalExecutor, reason: str) -> None:
        executor.end(reason)
        if self._listener is not None:
            self._listener.executor_over(executor.executor_id, reason)
