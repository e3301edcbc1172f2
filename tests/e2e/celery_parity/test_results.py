"""What a task returns or raises, and what is told of it, is the same; and so is what no worker can take."""

import datetime
from typing import Any
from uuid import uuid4

import pytest

from .client import Client, same
from .conftest import MARKS
from .parity_app import failing, plain
from .parity_app.making import REFUSED

pytestmark = MARKS

Clients = tuple[Client, Client]
TAKEN = ("task-received", "task-started")


def test_a_result_with_its_meta_events_and_signals(clients: Clients) -> None:
    story = same(clients, lambda client: client.end(plain.add.delay(2, 3)))
    assert (story.told["status"], story.told["result"], story.told["retries"]) == ("SUCCESS", 5, 0)
    assert story.events == [("parity.add", (*TAKEN, "task-succeeded"))]
    assert [each[0] for each in story.signals] == ["task_postrun", "task_prerun", "task_received", "task_success"]


@pytest.mark.parametrize("kind", ["value", "key", "own"])
def test_an_error_with_its_class_arguments_and_traceback(clients: Clients, kind: str) -> None:
    story = same(clients, lambda client: client.end(failing.fail.delay(kind)))
    shown = {"value": "ValueError('no good',)", "key": "KeyError('missing',)", "own": "Refused('not today', 7)"}
    assert (story.told["status"], story.told["result"], story.told["traceback"]) == ("FAILURE", shown[kind], True)
    assert story.events_of("parity.fail") == ("task-failed", *TAKEN)
    assert "task_failure" in [each[0] for each in story.signals]


def test_errors_that_are_expected_or_do_not_travel(clients: Clients) -> None:
    def scenario(client: Client) -> list[Any]:
        tasks = (failing.fail_expectedly, failing.fail_unpicklably, failing.return_unserializable)
        return [client.end(task.delay())["result"] for task in tasks]

    told = same(clients, scenario).told
    assert told[0] == "KeyError('expected',)"
    assert told[2].startswith("EncodeError")


def test_a_task_that_exits(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        meta = client.end(failing.exit_inside.delay())
        return meta["status"], meta["result"].split("(")[0]

    assert same(clients, scenario).told == ("FAILURE", "WorkerLostError")


def test_a_result_that_nobody_keeps(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        result = plain.unheard.delay(key)
        by_call = plain.add.apply_async((1, 2), ignore_result=True)
        noted = client.notes(key, at_least=1)
        client.wait(lambda: client.witness.has_ended([result.id, by_call.id]), "both end")
        return noted, client.meta(result)["status"], client.meta(by_call)["status"]

    assert same(clients, scenario).told == (["ran"], "PENDING", "PENDING")


def test_a_result_stays_as_long_as_is_configured(clients: Clients) -> None:
    def scenario(client: Client) -> bool:
        result = plain.add.delay(1, 1)
        client.end(result)
        return 3500 < int(client.app.backend.client.ttl(f"celery-task-meta-{result.id}")) <= 3600

    assert same(clients, scenario).told


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "parity-msgpack"])
@pytest.mark.parametrize("compression", [None, "gzip", "bzip2", "zlib"])
def test_arguments_travel_in_every_serializer_and_compression(
    clients: Clients, serializer: str, compression: str | None
) -> None:
    def scenario(client: Client) -> Any:
        sent = plain.echo.apply_async(
            ("ä" * 500, 1.5, [None, True]), {"n": -1}, serializer=serializer, compression=compression
        )
        return client.value(sent)

    assert same(clients, scenario).told == [["ä" * 500, 1.5, [None, True]], {"n": -1}]


def test_dates_and_sets_travel_where_the_serializer_carries_them(clients: Clients) -> None:
    when = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)
    by_json = same(clients, lambda client: client.value(plain.echo.delay(when)))
    assert by_json.told[0][0] == when

    def scenario(client: Client) -> Any:
        key = client.key()
        result = plain.own_serializer.delay({key})
        client.wait(lambda: client.witness.has_ended([result.id]), "it ends")
        return client.notes(key, at_least=1)

    assert same(clients, scenario).told == ["set"]


def test_the_first_task_protocol(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        old = client.another_app()
        old.conf.task_protocol = 1
        return client.end(old.send_task("parity.add", (20, 22)))

    assert same(clients, scenario).told["result"] == 42


# -- what no worker can take -----------------------------------------------------------------------------------------------


def test_a_task_that_nobody_knows(clients: Clients) -> None:
    story = same(clients, lambda client: client.end(client.app.send_task("parity.nobody", (1,))))
    assert story.told["status"] == "FAILURE"
    assert story.told["result"].startswith("NotRegistered")
    assert story.signals == [["task_unknown", "parity.nobody"]]


def test_content_that_the_application_does_not_accept(clients: Clients) -> None:
    """Goal: it is refused, and what comes after it is not held up."""

    def scenario(client: Client) -> Any:
        refused = plain.echo.apply_async((1,), serializer=REFUSED)
        after = client.value(plain.add.delay(1, 1))
        client.wait(lambda: client.app.backend.get_state(refused.id) in ("PENDING", "FAILURE"), "its state")
        return after, client.meta(refused)["result"]

    story = same(clients, scenario)
    assert story.told[0] == 2


@pytest.mark.parametrize("headers", [{}, {"task": "parity.echo", "lang": "py", "id": "?"}], ids=["bare", "of a task"])
@pytest.mark.parametrize("body", [b"\xff{", b"[1, 2"], ids=["no text", "no JSON"])
def test_a_message_that_cannot_be_decoded(clients: Clients, headers: dict[str, str], body: bytes) -> None:
    def scenario(client: Client) -> Any:
        task_id = str(uuid4())
        own = {**headers, "id": task_id} if headers else {}
        with client.app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                body,
                routing_key="celery",
                exchange="",
                content_type="application/json",
                content_encoding="utf-8",
                headers=own,
                correlation_id=task_id,
            )
        after = client.value(plain.add.delay(1, 1))
        return after, client.meta(client.app.AsyncResult(task_id))

    assert same(clients, scenario).told[0] == 2
