"""Blocks as tasks see them: a directory, an agent's store by its own socket, and that of another agent over HTTP."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import BinaryIO, Final

import pytest

from mesolite.agent.blocks.http import BlockServer
from mesolite.agent.blocks.store import BlockStore
from mesolite.agent.blocks.tokens import BlockTokens
from mesolite.executors.python.block_place import SOCKET_NAME
from mesolite.executors.sparklite.agent_blocks import AgentBlocks
from mesolite.executors.sparklite.blocks import BlockLost, BlockPart, BlockRange, FilePart, StoredBlock, TaskBlocks
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.ids import FrameworkId
from mesolite.ports import LOOPBACK

FRAMEWORK: Final = FrameworkId("one")
MIB: Final = 1024 * 1024


class Store:
    """An agent's store, served on a socket as executors have it and on a port."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        tokens = BlockTokens.kept_in(directory / "blocks.secret")
        self.blocks = BlockStore(directory / "blocks", 64 * MIB)
        self.server = BlockServer(self.blocks, tokens, host=LOOPBACK, port=port)
        self.server.start()
        (directory / SOCKET_NAME).unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / SOCKET_NAME))
        self._listening.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.server.take(FRAMEWORK, self._listening.accept()[0])

    def close(self) -> None:
        """Stop; blocks stay on disk."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.server.close()


@dataclass
class Rig:
    """Who puts and who reads, and how a block is lost."""

    writer: TaskBlocks
    reader: TaskBlocks
    lose: Callable[[StoredBlock], None]


@pytest.fixture(params=["directory", "own agent", "other agent"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Each way that blocks go."""
    if request.param == "directory":
        blocks = DirectoryBlocks(tmp_path / "blocks", "a1")
        yield Rig(blocks, DirectoryBlocks(tmp_path / "other", "a2"), lambda block: Path(block.url).unlink())
        return
    with closing(Store(tmp_path / "one")) as store, closing(AgentBlocks(store.directory, "a1", ())) as writer:
        reader = AgentBlocks(store.directory, "a1", ()) if request.param == "own agent" else AgentBlocks(None, "a2", ())
        with closing(reader):
            yield Rig(writer, reader, lambda block: store.blocks.delete(FRAMEWORK, block.block_id))


@pytest.mark.parametrize("size", [0, 1, 1000, 3 * MIB + 7])
def test_what_was_put_is_read(rig: Rig, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    block = rig.writer.put("shuffle-a-1", data)
    assert (block.block_id, block.size_bytes, block.agent_id) == ("shuffle-a-1", size, rig.writer.agent_id)
    assert rig.reader.read(block) == data
    assert b"".join(rig.reader.stream(block)) == data


def test_a_part_is_read_by_itself(rig: Rig) -> None:
    block = rig.writer.put("b", bytes(range(100)))
    assert rig.reader.read(block, 10, 5) == bytes(range(10, 15))
    assert rig.reader.read(block, 95) == bytes(range(95, 100))
    assert rig.reader.read(block, 0, 100) == bytes(range(100))
    assert rig.reader.read(block, 100, 0) == b""
    assert b"".join(rig.reader.stream(block, 50, 25)) == bytes(range(50, 75))


def test_parts_of_several_blocks_are_read_together(rig: Rig) -> None:
    blocks = [rig.writer.put(f"b{number}", bytes([number]) * 100) for number in range(20)]
    wanted = [BlockRange(block, number, 50) for number, block in enumerate(blocks)] + [BlockRange(blocks[3], 0, 1)]
    assert rig.reader.read_several(wanted) == [bytes([number]) * 50 for number in range(20)] + [b"\3"]
    assert rig.reader.read_several([]) == []
    rig.lose(blocks[7])
    with pytest.raises(BlockLost, match="b7"):
        rig.reader.read_several(wanted)
    with pytest.raises(BlockLost, match="b1"):
        rig.reader.read_several([BlockRange(blocks[0], 0, 10), BlockRange(blocks[1], 90, 20)])


def test_a_large_part_comes_in_pieces(rig: Rig) -> None:
    data = b"0123456789abcdef" * (5 * MIB // 16)
    block = rig.writer.put("b", data)
    pieces = list(rig.reader.stream(block, 16))
    assert b"".join(pieces) == data[16:]
    assert max(map(len, pieces)) <= MIB


def test_a_file_is_put_and_stays(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"in a file" * 1000)
    block = rig.writer.put_file("f", path)
    assert rig.reader.read(block) == b"in a file" * 1000 == path.read_bytes()
    with pytest.raises(BlockLost, match="f cannot be stored"):
        rig.writer.put_file("f", tmp_path / "none")


def test_a_block_is_put_together_of_bytes_and_parts_of_files(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 300_000)
    file: BinaryIO
    with (tmp_path / "file").open("rb") as file:
        parts: list[BlockPart] = [
            b"head",
            FilePart(file, 5, 10),
            b"",
            FilePart(file, 0, 0),
            FilePart(file, 0, 2 * MIB),
            b"!",
        ]
        block = rig.writer.put_parts("p", parts)
        assert not file.closed
    whole = (tmp_path / "file").read_bytes()
    assert rig.reader.read(block) == b"head" + whole[5:15] + whole[: 2 * MIB] + b"!"


def test_a_file_that_is_shorter_than_said_makes_no_block(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"short")
    with (tmp_path / "file").open("rb") as file, pytest.raises(BlockLost, match="cannot be stored"):
        rig.writer.put_parts("p", [FilePart(file, 0, 1000)])
    assert rig.reader.read(rig.writer.put("q", b"fine")) == b"fine"


def test_a_block_of_the_same_name_is_replaced(rig: Rig) -> None:
    rig.writer.put("b", b"first")
    assert rig.reader.read(rig.writer.put("b", b"second")) == b"second"


def test_a_lost_block_is_told_by_its_name(rig: Rig) -> None:
    block = rig.writer.put("shuffle-x", b"data")
    rig.lose(block)
    with pytest.raises(BlockLost, match="shuffle-x"):
        rig.reader.read(block)
    with pytest.raises(BlockLost, match="shuffle-x"):
        list(rig.reader.stream(block))


def test_a_block_that_is_shorter_than_said_is_lost(rig: Rig) -> None:
    block = rig.writer.put("b", b"data")
    with pytest.raises(BlockLost, match="b"):
        rig.reader.read(block._replace(size_bytes=100), 50, 10)
    with pytest.raises(BlockLost, match="b"):
        rig.reader.read(block._replace(size_bytes=100), 2, 50)


# -- of agents alone --------------------------------------------------------------------------------------------------


def test_connections_are_used_again_and_a_closed_one_is_no_failure(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "one")) as store, closing(AgentBlocks(store.directory, "a1", ())) as blocks:
        block = blocks.put("b", b"data")
        other = AgentBlocks(None, "a2", ())
        assert [other.read(block) for _ in range(3)] == [b"data"] * 3
        store.server.close()
        with closing(Store(store.directory, int(block.url.split("?")[0].rsplit(":", 1)[1].split("/")[0]))):
            assert other.read(block) == b"data", "the idle connection was closed meanwhile"
        other.close()


def test_an_agent_that_starts_again_is_waited_for(tmp_path: Path) -> None:
    """Goal: blocks outlive the agent's process. Method: it starts again while a reader is in its pauses."""
    first = Store(tmp_path / "one")
    with closing(AgentBlocks(first.directory, "a1", ())) as writer:
        block = writer.put("b", b"data")
    port = int(block.url.split("?")[0].rsplit(":", 1)[1].split("/")[0])
    first.close()
    again: list[Store] = []
    starting = threading.Timer(0.2, lambda: again.append(Store(tmp_path / "one", port)))
    starting.start()
    with closing(AgentBlocks(None, "a2", (0.1,) * 50)) as reader:
        assert reader.read(block) == b"data"
    starting.join()
    with closing(again[0]), closing(AgentBlocks(tmp_path / "one", "a1", (0.1,) * 50)) as own:
        assert own.read(block) == b"data"


def test_nobody_waits_for_an_agent_that_says_no(tmp_path: Path) -> None:
    """Pauses of an hour would be noticed."""
    with closing(Store(tmp_path / "one")) as store, closing(AgentBlocks(store.directory, "a1", (3600.0,))) as blocks:
        with pytest.raises(BlockLost, match="404"):
            blocks.read(StoredBlock("never", 10, "", "a1"))
        with pytest.raises(BlockLost, match="507"):
            blocks.put("large", bytes(80 * MIB))
        with pytest.raises(BlockLost, match="401"):
            blocks.read(StoredBlock("never", 10, f"{store.server.url}/blocks/never?token=x", "a3"))
    for url in ("", "/a/path", "https://host/x", "http://[", "http://host:port/"):
        with pytest.raises(BlockLost, match="address"):
            blocks.read(StoredBlock("b", 10, url, "a3"))


def test_without_a_store_nothing_is_put_and_closing_ends_the_waiting(tmp_path: Path) -> None:
    alone = AgentBlocks(None, "a1")
    assert alone.agent_id == ""
    with pytest.raises(BlockLost, match="no block store"):
        alone.put("b", b"data")
    alone = AgentBlocks(None, "a1", (3600.0,))
    ending = threading.Timer(0.1, alone.close)
    ending.start()
    with socket.socket() as unheard:
        unheard.bind((LOOPBACK, 0))
        with pytest.raises(BlockLost, match="b cannot be had"):
            alone.read(StoredBlock("b", 10, f"http://{LOOPBACK}:{unheard.getsockname()[1]}/blocks/b", "a3"))
    ending.join()


def test_a_store_that_is_not_reached_from_here_is_asked_by_the_own_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: this side's connections to ports fail, as in a container without a network; those of the agent are its own."""
    with (
        closing(Store(tmp_path / "far")) as far,
        closing(Store(tmp_path / "near")) as near,
        closing(AgentBlocks(far.directory, "a1", ())) as writer,
        closing(AgentBlocks(near.directory, "a2", ())) as reader,
    ):
        block = writer.put("b", b"0123456789")
        asked: list[str] = []

        class Cut(HTTPConnection):
            def connect(self) -> None:
                asked.append(self.host)
                raise ConnectionRefusedError("no network")

        monkeypatch.setattr("mesolite.executors.sparklite.agent_connection.HTTPConnection", Cut)
        assert reader.read(block, 2, 3) == b"234"
        assert reader.read(block) == b"0123456789"
        assert len(asked) == 1
        far.blocks.delete(FRAMEWORK, "b")
        with pytest.raises(BlockLost, match="404"):
            reader.read(block)
