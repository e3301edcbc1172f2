"""What only a real Redis can show of the store: its keys, its script, and other programs."""

import contextlib

import pytest

from mesolite.transport import BEGINNING, Append, Commit, open_store
from mesolite.transport.keys import key_prefix
from mesolite.transport.redis_client import connect
from tests.leading import take_epoch

pytestmark = pytest.mark.redis


def test_an_entry_of_another_program_is_read_as_empty(redis_url: str, cluster: str) -> None:
    """Then it becomes a dead letter, and the cursor moves past it."""
    with contextlib.closing(open_store(redis_url, cluster)) as store, contextlib.closing(connect(redis_url)) as client:
        client.xadd(key_prefix(cluster) + "calls:default", {"name": "value"})
        (entry,) = store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0)
        assert entry.payload == b""


def test_the_commit_script_is_sent_again_to_a_server_that_forgot_it(redis_url: str, cluster: str) -> None:
    with contextlib.closing(open_store(redis_url, cluster)) as store, contextlib.closing(connect(redis_url)) as client:
        epoch = take_epoch(store)
        store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={}, registry={"a": b"1"}))
        client.script_flush()
        store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={}, registry={"b": b"2"}))
        assert store.registry() == {"a": b"1", "b": b"2"}


def test_every_key_begins_with_the_clusters_prefix(redis_url: str, cluster: str) -> None:
    with contextlib.closing(open_store(redis_url, cluster)) as store, contextlib.closing(connect(redis_url)) as client:
        epoch = take_epoch(store)
        store.put("leader", b"x")
        event = Append(stream="framework:f", payload=b"x", max_length=10)
        store.commit(
            Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:a": "1-0"}, registry={"a": b"x"}, appends=[event])
        )
        keys = {key.decode() for key in client.scan_iter(match=f"*{cluster}*")}
    names = {"lease", "epoch", "cursor", "registry", "leader", "framework:f"}
    assert keys == {key_prefix(cluster) + name for name in names}
