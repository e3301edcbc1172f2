"""Large arguments and results of calls in an agent's block store: workers fetch and store them, main sees references only."""

import os
import pickle
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesolite.agent.blocks.http import BlockServer
from mesolite.agent.blocks.store import BlockStore
from mesolite.agent.blocks.tokens import BlockTokens
from mesolite.executors.python.block_place import public_place
from mesolite.executors.python.blocks import BlockError, Blocks
from mesolite.executors.python.calls import BlockRef, End
from mesolite.executors.python.limits import Limits
from mesolite.ids import FrameworkId
from tests.integration.call_rig import MEBIBYTE, CallRig, backwards, call_rig, value_of

FRAMEWORK = FrameworkId("f")


class Store:
    """An agent's block store, and the socket on which one executor finds it."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        directory.mkdir()
        self.sockets = directory / "sockets"
        self.sockets.mkdir()
        self.store = BlockStore(directory / "blocks", max_bytes)
        self.server = BlockServer(self.store, BlockTokens(b"s" * 32), host="127.0.0.1", port=0)
        self.url = self.server.start()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.sockets / "blocks.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self.server.take(FRAMEWORK, opened)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.server.close()


@contextmanager
def block_store(directory: Path, max_bytes: int = 64 * MEBIBYTE) -> Generator[Store]:
    """A store that is closed with the test."""
    store = Store(directory, max_bytes)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with block_store(tmp_path / "here") as made:
        yield made


@pytest.fixture
def rig(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[CallRig]:
    monkeypatch.setenv("MESOLITE_SOCKETS", str(store.sockets))
    (tmp_path / "sandbox").mkdir()
    with call_rig(tmp_path / "sandbox", limits=Limits(16 * MEBIBYTE, MEBIBYTE)) as made:
        yield made


def test_a_large_result_becomes_a_block_that_others_can_fetch(rig: CallRig, store: Store) -> None:
    data = os.urandom(3 * MEBIBYTE)
    blocks = Blocks(store.sockets)
    outcome = rig.run(bytes, data)
    small = rig.run(backwards, b"small")
    assert value_of(small) == b"llams"
    assert isinstance(outcome.payload, BlockRef)
    assert outcome.payload.size_bytes > 3 * MEBIBYTE
    for reference in (
        BlockRef(outcome.payload.block_id, outcome.payload.size_bytes),
        outcome.payload,
    ):
        assert pickle.loads(blocks.get(reference)) == data
    assert pickle.loads(Blocks(None).get(outcome.payload)) == data


def test_results_from_the_size_that_the_caller_names_become_blocks(rig: CallRig) -> None:
    assert isinstance(rig.run(bytes, 10_000, by_reference_from=5_000).payload, BlockRef)
    assert isinstance(rig.run(bytes, 10_000, by_reference_from=50_000).payload, bytes)


def test_function_and_arguments_may_be_blocks(rig: CallRig, store: Store) -> None:
    blocks = Blocks(store.sockets)
    keys = list(range(20))
    for key in keys:
        call = rig.call(key, backwards, b"%d" % key * 1000)
        assert isinstance(call.arguments, bytes)
        assert isinstance(call.function.pickled, bytes)
        call.arguments = blocks.put(call.arguments)
        call.function = type(call.function)(call.function.digest, blocks.put(call.function.pickled))
        rig.runner.submit([call])
    for key, outcome in zip(keys, rig.wait_all([*keys]), strict=True):
        assert value_of(outcome) == backwards(b"%d" % key * 1000)


def test_a_block_on_another_agent_is_fetched_from_there(rig: CallRig, tmp_path: Path) -> None:
    with block_store(tmp_path / "there") as other:
        call = rig.call("far", backwards, b"far away")
        assert isinstance(call.arguments, bytes)
        call.arguments = Blocks(other.sockets).put(call.arguments)
        assert call.arguments.url.startswith(other.url)
        rig.runner.submit([call])
        assert value_of(rig.wait("far")) == b"yawa raf"


def test_a_block_on_an_agent_that_is_not_reached_from_here_comes_by_the_own_agent(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: this side's connections to ports fail, as in a container without a network; those of the agent are its own."""

    def cut(self: Blocks, reference: BlockRef, tried: list[str]) -> None:
        tried.append("no network")

    with block_store(tmp_path / "other") as other:
        reference = Blocks(other.sockets).put(b"far away")
        monkeypatch.setattr(Blocks, "_get_elsewhere", cut)
        assert Blocks(store.sockets).get(reference) == b"far away"


def test_a_block_that_is_lost_is_named_and_costs_that_call_alone(rig: CallRig) -> None:
    call = rig.call("lost", backwards, b"x")
    call.arguments = BlockRef("0" * 32, 100)
    rig.runner.submit([call])
    outcome = rig.wait("lost")
    assert outcome.end is End.BLOCK_LOST
    assert "0" * 32 in outcome.message
    assert "404" in outcome.message
    assert rig.value(backwards, b"ab") == b"ba"


def test_a_function_that_was_lost_is_asked_for_again(rig: CallRig, store: Store) -> None:
    call = rig.call("first", backwards, b"x")
    pickled = call.function.pickled
    call.function = type(call.function)(call.function.digest, BlockRef("0" * 32, 100))
    rig.runner.submit([call])
    assert rig.wait("first").end is End.BLOCK_LOST
    again = [rig.call(("again", number), backwards, b"ab") for number in range(4)]
    for each in again:
        each.function = type(call.function)(call.function.digest, pickled)
    rig.runner.submit(again)
    assert {value_of(rig.wait(each.key)) for each in again} == {b"ba"}


def test_a_block_of_another_size_than_the_reference_says_is_not_taken(store: Store) -> None:
    blocks = Blocks(store.sockets)
    reference = blocks.put(b"0123456789")
    for size_bytes in (9, 11):
        with pytest.raises(BlockError, match="bytes came"):
            blocks.get(BlockRef(reference.block_id, size_bytes))


def test_when_the_store_is_full_small_results_travel_and_large_ones_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with block_store(tmp_path / "here", max_bytes=1000) as store:
        monkeypatch.setenv("MESOLITE_SOCKETS", str(store.sockets))
        with call_rig(tmp_path, limits=Limits(16 * MEBIBYTE, MEBIBYTE)) as rig:
            assert value_of(rig.run(bytes, 500_000)) == bytes(500_000)
            outcome = rig.run(bytes, 2 * MEBIBYTE)
            assert outcome.end is End.TOO_LARGE
            assert "507" in outcome.message


def test_the_place_for_others_is_asked_of_the_agent(store: Store, tmp_path: Path) -> None:
    url, token = public_place(store.sockets / "blocks.sock")
    assert url == store.url
    assert token
    assert public_place(tmp_path / "nowhere.sock") == ("", "")


@pytest.mark.parametrize(
    "url", ["ftp://x/blocks/1", "http:///blocks/1", "nonsense", "http://host:port/blocks/1", "http://[/"]
)
def test_an_address_that_is_none_is_said_so(url: str) -> None:
    with pytest.raises(BlockError, match="is no address"):
        Blocks(None).get(BlockRef("1", 1, url))
