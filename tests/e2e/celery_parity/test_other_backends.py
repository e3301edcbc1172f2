"""Results that are not kept in Redis: sent back to their caller by the broker, or written into files.

What the dispatcher itself has to say of a task (it was revoked, its worker was lost) goes the same way as what workers say.
"""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import chord, group
from redis import Redis

from ..conftest import Cluster
from .client import Client, both, same
from .conftest import MARKS, database
from .parity_app import failing, gates, plain
from .servers import MesoliteCelery, PlainCelery

pytestmark = MARKS

Clients = tuple[Client, Client]


@pytest.fixture(scope="module", params=["rpc", "file"])
def others(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory, parity_cluster: Cluster
) -> Iterator[Clients]:
    """A client of each server, once both answer."""
    with ExitStack() as cleanup:
        backends = ["rpc://", "rpc://"]
        if request.param == "file":
            # Workers write there, whoever they run as.
            folders = [
                Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-parity-"))) for _ in "12"
            ]
            for folder in folders:
                folder.chmod(0o777)
            backends = [f"file://{folder}" for folder in folders]
        brokers = [database(redis_url, number) for number in (14, 15)]
        for broker in brokers:
            # What tasks of the other backend's tests wrote there is under the same words.
            with Redis.from_url(broker) as former:
                former.flushdb()
        addresses = [
            {"broker": broker, "backend": backend, "board": broker}
            for broker, backend in zip(brokers, backends, strict=True)
        ]
        plain_server = PlainCelery("plain", tmp_path_factory.mktemp("plain"), **addresses[0])
        mesolite_server = MesoliteCelery("mesolite", tmp_path_factory.mktemp("mesolite"), **addresses[1])
        plain_server.begin()
        cleanup.callback(plain_server.stop, signal.SIGQUIT)
        # The cluster has a dispatcher of the first backend, which one of the same name would replace.
        name = f"parity-{request.param}"
        mesolite_server.begin(parity_cluster.home, "--name", name, "-n", f"{request.param}@parity")
        cleanup.callback(mesolite_server.stop, signal.SIGQUIT)
        made: list[Client] = []
        for server in (plain_server, mesolite_server):
            made.append(server.client())
            cleanup.callback(made[-1].close)
            server.wait_until_up(made[-1].app)
        begun = [client.begin(lambda client: client.value(plain.add.delay(1, 1))) for client in made]
        assert [each.result().told for each in begun] == [2, 2]
        yield made[0], made[1]


def test_a_result_and_an_error_with_their_meta(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        return [client.end(each) for each in (plain.add.delay(2, 3), failing.fail.delay("own"))]

    good, bad = same(others, scenario).told
    assert (good["status"], good["result"], bad["status"]) == ("SUCCESS", 5, "FAILURE")
    assert (bad["result"], bad["traceback"]) == ("Refused('not today', 7)", True)


def test_a_group_and_a_chain(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        parts = group(plain.add.s(number, number) for number in range(5)).delay()
        return client.value(parts), client.value((plain.add.s(1, 2) | plain.add.s(3)).delay())

    assert same(others, scenario).told == ([0, 2, 4, 6, 8], 6)


def test_a_chord_or_why_there_is_none(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        try:
            body = chord(plain.add.s(number, number) for number in range(5))(plain.xsum.s())
        except NotImplementedError as error:
            return " ".join(str(error).split())[:46]
        return body.get(timeout=20)

    told = [story.told for story in both(others, scenario)]
    # By rpc:// only who called a task has its result.
    assert told in ([20, 20], ['The "rpc" result backend does not support chor'] * 2)


def test_a_result_that_nobody_keeps(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        ignored = plain.unheard.delay(key), plain.add.apply_async((1, 2), ignore_result=True)
        noted = client.notes(key, at_least=1)
        client.wait(lambda: client.witness.has_ended([each.id for each in ignored]), "both end")
        return noted, [each.state for each in ignored]

    assert same(others, scenario).told == (["ran"], ["PENDING", "PENDING"])


def test_a_task_that_is_revoked_and_one_that_is_terminated(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        later, runs = gates.in_order.apply_async((gate, "ran"), countdown=2), gates.held.delay(gate)
        client.wait(lambda: client.witness.of(later.id), "it is received")
        client.arrived(gate)
        client.revoke(later)
        client.revoke(runs, terminate=True, signal="SIGKILL")
        client.wait(lambda: client.witness.has_ended([runs.id]), "its last event")
        client.wait(lambda: "terminated" in repr(runs.result), "its last result")
        return [client.end(each)["result"] for each in (later, runs)]

    assert same(others, scenario).told == ["TaskRevokedError('revoked',)", "TaskRevokedError('terminated',)"]


def test_a_task_whose_worker_is_lost(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        meta = client.end(failing.exit_inside.delay())
        return meta["status"], meta["result"].split("(")[0]

    assert same(others, scenario).told == ("FAILURE", "WorkerLostError")


def test_a_result_that_is_forgotten(others: Clients) -> None:
    def scenario(client: Client) -> Any:
        result = plain.add.delay(1, 2)
        seen = client.value(result)
        result.forget()
        return seen, client.app.AsyncResult(result.id).state

    assert same(others, scenario).told == (3, "PENDING")
