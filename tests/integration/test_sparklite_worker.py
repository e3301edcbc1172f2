"""What workers keep and share, with the block stores of two agents: the driver's data lies in the first, a worker is at each."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mesolite.executors.sparklite.agent_blocks import AgentBlocks
from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.nodes import Items, Step
from mesolite.executors.sparklite.spark_files import SparkFiles
from mesolite.executors.sparklite.steps import Map
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.executors.sparklite.task_data import TaskMissed
from mesolite.executors.sparklite.worker_state import WorkerState
from mesolite.frameworks.sparklite.shared_data import SharedData
from tests.contract.test_task_blocks import FRAMEWORK, Store
from tests.unit.sparklite.worker_rig import Worker, collected, stage


class Agents:
    """Two agents with their stores, and a driver that puts into the first."""

    def __init__(self, directory: Path, opened: ExitStack) -> None:
        self.directory = directory
        self._opened = opened
        self.stores = {name: opened.enter_context(closing(Store(directory / name))) for name in ("one", "two")}
        self._driver = self.blocks("one")
        self.data = SharedData(self, "app")
        opened.callback(self.data.close)

    def blocks(self, name: str) -> AgentBlocks:
        """A worker's way to blocks; no second tries, as nobody comes back."""
        return self._opened.enter_context(closing(AgentBlocks(self.stores[name].directory, name, ())))

    def worker(self, name: str) -> Worker:
        """A new worker of an agent."""
        worker = Worker(self.directory / "workers", name)
        worker.state = WorkerState(self.blocks(name), self.directory / "workers" / name)
        return worker

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `Backend`."""
        return self._driver.put(block_id, data)

    def drop(self, blocks: list[StoredBlock]) -> None:
        """See `Backend`."""
        for block in blocks:
            self.stores[block.agent_id].blocks.delete(FRAMEWORK, block.block_id)


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    """Up and running."""
    with ExitStack() as opened:
        yield Agents(tmp_path, opened)


def test_a_broadcast_value_goes_once_to_each_agent(agents: Agents) -> None:
    table = agents.data.broadcasts.new({1: "one"})

    def look(key: int) -> str:
        return table.value[key]

    near = agents.worker("one").run(stage(look), [1])
    far = agents.worker("two").run(stage(look), [1])
    assert (near.value, near.copied) == (["one"], ())
    [(_, copy)] = far.copied
    assert (far.value, copy.agent_id) == (["one"], "two")
    agents.data.copied(far)
    # The next worker there needs nobody else.
    agents.drop([copy._replace(agent_id="one")])
    assert agents.worker("two").run(stage(look), [1]).value == ["one"]


def test_a_broadcast_value_that_a_store_has_lost_is_put_anew(agents: Agents) -> None:
    table = agents.data.broadcasts.new([5])

    def look(index: int) -> int:
        return table.value[index]

    agents.drop([StoredBlock(f"broadcast-app-{table.__reduce__()[1][0]}", 0, "", "one")])
    worker = agents.worker("two")
    missed = worker.end(stage(look), [0])
    assert isinstance(missed, TaskMissed)
    assert missed.lost is not None
    agents.data.lost(missed.lost)
    assert worker.run(stage(look), [0], broadcasts=agents.data.shared().broadcasts).value == [5]


def test_a_partition_that_is_kept_at_one_agent_is_read_by_workers_of_both(agents: Agents) -> None:
    node = Step(1, Items(0, 1), Map(str))
    node.level = StorageLevel.MEMORY_AND_DISK
    kept = agents.worker("one").run(collected(node), range(100_000)).cached
    assert kept[1, 0].agent_id == "one"
    for name in ("one", "two"):
        done = agents.worker(name).run(collected(node), [], cached=kept)
        assert (done.value[-1], len(done.value), done.metrics.cache_hits) == ("99999", 100_000, 1)


def test_an_added_file_is_fetched_from_the_store_of_the_other_agent(agents: Agents, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hundred")
    agents.data.files.add(str(tmp_path / "a.txt"))

    def read(name: str) -> str:
        return Path(SparkFiles.get(name)).read_text()

    done = agents.worker("two").run(stage(read), ["a.txt"], files=agents.data.shared().files)
    assert done.value == ["hundred"]
