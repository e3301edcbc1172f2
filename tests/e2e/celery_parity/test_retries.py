"""Retries, Ignore and Reject, and processes that die under their task."""

from itertools import pairwise
from typing import Any

import pytest

from .client import Client, same
from .conftest import MARKS
from .parity_app import failing

pytestmark = MARKS

Clients = tuple[Client, Client]


def test_a_retry_by_hand(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        return client.end(failing.retrying.delay(2, key=key)), client.notes(key, at_least=3)

    story = same(clients, scenario)
    meta, tries = story.told
    assert (meta["status"], meta["result"], meta["retries"]) == ("SUCCESS", 2, 2)
    assert tries == ["try 0", "try 1", "try 2"]
    assert story.events_of("parity.retrying").count("task-retried") == 2


def test_a_retry_too_many_raises_what_made_it(clients: Clients) -> None:
    story = same(clients, lambda client: client.end(failing.retrying.delay(9)))
    assert (story.told["status"], story.told["result"]) == ("FAILURE", "Refused('again', 3)")


@pytest.mark.parametrize("failures", [1, 5])
def test_retries_of_themselves_with_back_off(clients: Clients, failures: int) -> None:
    """Method: the back-off is what lies between the events: one second, then two."""

    def scenario(client: Client) -> Any:
        result = failing.autoretry.delay(failures)
        meta = client.end(result)
        client.wait(lambda: client.witness.has_ended([result.id]), "its last event")
        at = [
            each.fields["timestamp"]
            for each in client.witness.events()
            if each.task_id == result.id and each.kind == "task-started"
        ]
        return meta, [round(later - earlier) for earlier, later in pairwise(at)]

    meta, pauses_s = same(clients, scenario).told
    assert pauses_s == [1, 2][: min(failures, 2)]
    assert meta["status"] == ("SUCCESS" if failures == 1 else "FAILURE")


@pytest.mark.parametrize("state", [None, "MINE"])
def test_a_task_that_says_ignore(clients: Clients, state: str | None) -> None:
    def scenario(client: Client) -> Any:
        result = failing.ignore.delay(state)
        client.wait(lambda: "task-started" in client.witness.of(result.id), "it starts")
        if state:
            client.state(result, state)
        client.wait(lambda: client.board.llen("parity:signals") >= 3, "its signals")
        return client.meta(result)

    assert same(clients, scenario, unended=1).told["status"] == (state or "PENDING")


@pytest.mark.parametrize("requeue", [True, False])
def test_a_task_that_rejects_its_message(clients: Clients, requeue: bool) -> None:
    def scenario(client: Client) -> Any:
        result = failing.reject.delay(client.key(), requeue=requeue)
        if requeue:
            return client.end(result)["result"]
        client.wait(lambda: client.witness.has_ended([result.id]), "it is rejected")
        return client.meta(result)["status"]

    story = same(clients, scenario)
    assert story.told == "the second time" if requeue else story.told in ("FAILURE", "PENDING"), "PENDING before 5.7"
    assert "task-rejected" in story.events_of("parity.reject")


def test_a_process_that_dies_under_its_task(clients: Clients) -> None:
    """Goal: without `acks_late` it is an error for whoever waits, and the task is not run again."""

    def scenario(client: Client) -> Any:
        key = client.key()
        meta = client.end(failing.crash.delay(key))
        return meta["status"], meta["result"].split("(")[0], client.board.get(f"parity:count:{key}")

    assert same(clients, scenario).told == ("FAILURE", "WorkerLostError", "1")


def test_a_process_that_dies_under_a_task_whose_message_goes_back(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        meta = client.end(failing.crash_once.delay(key))
        return meta["status"], meta["result"], client.board.get(f"parity:count:{key}")

    assert same(clients, scenario).told == ("SUCCESS", "the second time", "2")
