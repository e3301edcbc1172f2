"""Revoking, and what `celery inspect` and `celery control` say and do."""

from typing import Any

import pytest

from .client import Client, answer, same
from .conftest import MARKS
from .parity_app import gates, plain

pytestmark = MARKS

Clients = tuple[Client, Client]


def test_a_task_that_is_revoked_before_it_is_due(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        result = gates.in_order.apply_async((key, "ran"), countdown=2)
        client.wait(lambda: client.witness.of(result.id), "it is received")
        client.revoke(result)
        return client.end(result), client.notes(key)

    story = same(clients, scenario)
    assert (story.told[0]["status"], story.told[1]) == ("REVOKED", [])
    assert story.told[0]["result"] == "TaskRevokedError('revoked',)"
    assert ["task_revoked", "parity.in_order", "terminated=False", "signum=None", "expired=False"] in story.signals


def test_a_task_that_is_revoked_while_it_runs_runs_on(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        result = gates.held.delay(gate)
        client.arrived(gate)
        client.revoke(result)
        client.open(gate, "all the same")
        return client.end(result)

    told = same(clients, scenario).told
    assert (told["status"], told["result"]) == ("SUCCESS", "all the same")


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_a_task_that_is_terminated(clients: Clients, late: bool) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        result = (gates.held_late if late else gates.held).delay(gate)
        client.arrived(gate)
        client.revoke(result, terminate=True, signal="SIGKILL")
        client.wait(lambda: client.witness.has_ended([result.id]), "its last event")
        # Where a worker is not known to have begun yet, Celery stores that it is revoked, and the other after it has told of it.
        client.wait(lambda: "terminated" in repr(result.result), "its last result")
        return client.end(result)

    told = same(clients, scenario).told
    assert (told["status"], told["result"]) == ("REVOKED", "TaskRevokedError('terminated',)")


def test_a_task_that_is_revoked_by_its_stamp(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        stamped = gates.in_order.s(key, "ran")
        stamped.stamp(batch=key)
        result = stamped.apply_async(countdown=2)
        client.wait(lambda: client.witness.of(result.id), "it is received")
        client.app.control.revoke_by_stamped_headers({"batch": key}, reply=True, limit=1, timeout=5)
        return client.end(result)["status"], client.notes(key)

    assert same(clients, scenario).told == ("REVOKED", [])


def test_when_messages_are_acknowledged(clients: Clients) -> None:
    """Method: `celery inspect active` tells of each task that runs whether it is."""

    def scenario(client: Client) -> Any:
        early, late = client.key(), client.key()
        sent = [gates.held.delay(early), gates.held_late.delay(late)]
        client.arrived(early)
        client.arrived(late)
        told = {each["name"]: each["acknowledged"] for each in answer(client, "active")}
        client.open(early)
        client.open(late)
        for result in sent:
            client.end(result)
        return told

    assert same(clients, scenario).told == {"parity.held": True, "parity.held_late": False}


def test_what_runs_waits_and_is_due_later_is_inspected(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        running = [gates.held.delay(gate) for _ in range(2)]
        for _ in running:
            client.arrived(gate)
        reserved = plain.add.delay(1, 1)
        client.wait(lambda: client.witness.of(reserved.id), "it is received")
        # Longer than all tests take: when it is due a worker says that it was revoked, into whatever story is told then.
        due = plain.add.apply_async((2, 2), countdown=3600)
        client.wait(lambda: client.witness.of(due.id), "it is received")
        told = (
            sorted(each["id"] in [one.id for one in running] for each in answer(client, "active")),
            [each["id"] == reserved.id for each in answer(client, "reserved")].count(True),
            # What other tests revoked stays there until it is due.
            [each["request"]["id"] == due.id for each in answer(client, "scheduled")].count(True),
            [state for state, _ in answer(client, "query_task", due.id).values()],
        )
        for _ in running:
            client.open(gate)
        for result in (*running, reserved):
            client.end(result)
        client.revoke(due)
        return told

    told = same(clients, scenario, unended=1).told
    assert told == ([True, True], 1, 1, ["scheduled"])


def test_what_a_worker_says_of_itself(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        stats = answer(client, "stats")
        return (
            answer(client, "ping"),
            sorted(each["name"] for each in answer(client, "active_queues")),
            [name for name in answer(client, "registered") if name.startswith("parity.")],
            {"total", "pool", "broker", "clock", "uptime", "pid", "prefetch_count", "rusage"} <= set(stats),
            sorted(answer(client, "conf")["accept_content"]),
        )

    told = same(clients, scenario).told
    assert told[0] == {"ok": "pong"}
    assert told[1] == ["celery", "first", "second", "slow"]
    assert told[3]


def test_rate_and_time_limits_are_changed_while_it_runs(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        control = client.app.control
        told = [
            control.rate_limit("parity.add", "100/s", reply=True, timeout=5, limit=1),
            control.time_limit("parity.held_late", hard=50, soft=40, reply=True, timeout=5, limit=1),
            control.rate_limit("parity.nobody", "1/s", reply=True, timeout=5, limit=1),
        ]
        limits = answer(client, "registered", "rate_limit")
        control.rate_limit("parity.add", None, reply=True, timeout=5, limit=1)
        return [each[0].popitem()[1] for each in told], [each for each in limits if each.startswith("parity.add")]

    answers, limits = same(clients, scenario).told
    assert [list(each) for each in answers] == [["ok"], ["ok"], ["error"]]
    assert limits == ["parity.add [rate_limit=100/s]"]
