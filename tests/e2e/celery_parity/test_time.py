"""ETA, expiry, rate limits and time limits."""

import datetime
from typing import Any

import pytest

from .client import Client, answer, both, same
from .conftest import MARKS
from .parity_app import failing, gates, plain

pytestmark = MARKS

Clients = tuple[Client, Client]


def started_s(client: Client, task_id: str) -> float:
    """When a task started, by its worker's clock."""
    client.wait(lambda: client.witness.has_ended([task_id]), "its last event")
    [at] = [e.fields["timestamp"] for e in client.witness.events() if e.task_id == task_id and e.kind == "task-started"]
    return float(at)


@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_a_task_that_is_due_later_starts_then(clients: Clients, how: str) -> None:
    def scenario(client: Client) -> Any:
        due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1.5)
        when: dict[str, Any] = {"countdown": 1.5} if how == "countdown" else {"eta": due}
        result = plain.add.apply_async((1, 1), **when)
        value = client.value(result)
        return value, 0 <= started_s(client, result.id) - due.timestamp() < 2

    assert same(clients, scenario).told == (2, True)


def test_a_task_that_expired_is_revoked(clients: Clients) -> None:
    """Method: it expires before it is due."""

    def scenario(client: Client) -> Any:
        key = client.key()
        result = plain.unheard.apply_async((key,), countdown=1.5, expires=1)
        heard = plain.add.apply_async((1, 1), countdown=1.5, expires=1)
        client.wait(lambda: client.witness.has_ended([result.id, heard.id]), "both are revoked")
        return client.end(heard)["status"], client.notes(key)

    story = same(clients, scenario)
    assert story.told == ("REVOKED", [])
    assert story.events_of("parity.add") == ("task-received", "task-revoked")


@pytest.mark.parametrize("off_s", [-3600, 3600], ids=["behind", "ahead"])
def test_times_of_a_producer_whose_clock_is_off_are_taken_as_they_are(clients: Clients, off_s: int) -> None:
    """One that is behind finds its ETAs passed and its tasks expired; one that is ahead has its tasks wait that much longer."""

    def scenario(client: Client) -> Any:
        then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=off_s)
        due = plain.add.apply_async((1, 1), eta=then)
        expiring = plain.add.apply_async((2, 2), expires=then + datetime.timedelta(seconds=60))
        if off_s < 0:
            return client.value(due), client.end(expiring)["status"]
        client.wait(lambda: client.witness.of(due.id), "it is received")
        waits = due.id in [each["request"]["id"] for each in answer(client, "scheduled")]
        client.revoke(due)
        return waits, client.value(expiring)

    expected = (2, "REVOKED") if off_s < 0 else (True, 4)
    assert same(clients, scenario, unended=0 if off_s < 0 else 1).told == expected


def test_a_rate_limit_spreads_a_task_and_no_other(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        sent = [gates.limited.delay(key) for _ in range(5)]
        free = plain.add.delay(1, 1)
        client.value(free)
        for result in sent:
            client.end(result)
        at = [started_s(client, result.id) for result in sent]
        return 0.7 < max(at) - min(at) < 4, started_s(client, free.id) < max(at)

    assert same(clients, scenario).told == (True, True)


@pytest.mark.parametrize("caught", [True, False])
def test_a_soft_limit_is_raised_in_the_task(clients: Clients, caught: bool) -> None:
    def scenario(client: Client) -> Any:
        return client.end(failing.soft_limited.delay(client.key(), caught=caught))

    meta = same(clients, scenario).told
    assert meta["status"] == ("SUCCESS" if caught else "FAILURE")
    assert meta["result"] == ("cleaned up" if caught else "SoftTimeLimitExceeded()")


def test_a_hard_limit_ends_the_task(clients: Clients) -> None:
    """Method: results are compared whole, what is told by the difference HARD_LIMIT."""
    one, other = both(clients, lambda client: client.end(failing.hard_limited.delay(client.key())))
    assert other.told == one.told
    assert (one.told["status"], one.told["result"]) == ("FAILURE", "TimeLimitExceeded(1,)")
    assert set(one.events_of("parity.hard_limited")) == set(other.events_of("parity.hard_limited"))
    assert other.events_of("parity.hard_limited") == ("task-failed", "task-received", "task-started")
    assert [each[0] for each in other.signals] == ["task_failure", "task_prerun", "task_received"]


def test_a_limit_of_the_call_goes_before_that_of_the_task(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        result = gates.held.apply_async((gate,), time_limit=0.7)
        return client.end(result)["result"]

    assert [story.told for story in both(clients, scenario)] == ["TimeLimitExceeded(0.7,)"] * 2
