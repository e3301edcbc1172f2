"""Bound tasks, task classes, request classes, states of one's own, and where tasks run."""

from typing import Any

import pytest

from .client import Client, both, same
from .conftest import MARKS
from .parity_app import failing, gates, plain

pytestmark = MARKS

Clients = tuple[Client, Client]


def test_what_a_bound_task_sees_of_its_request(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        bare = client.value(plain.request_fields.delay(key))
        full = client.value(
            plain.request_fields.apply_async(
                (key,), priority=3, queue="slow", headers={"x-mine": "1"}, time_limit=50, soft_time_limit=40
            )
        )
        return bare, full

    bare, full = same(clients, scenario).told
    assert (bare["own root"], bare["is_eager"], bare["hostname"], bare["retries"]) == (True, False, True, 0)
    assert full["delivery_info"] == {"exchange": "", "routing_key": "slow", "priority": 3}
    assert full["timelimit"] == [50, 40]


@pytest.mark.parametrize("ending", ["success", "retry", "failure"])
def test_every_hook_of_a_task_class(clients: Clients, ending: str) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        meta = client.end(plain.hooked.delay(key=key, ending=ending))
        # The second try may begin in another process before the hooks of the first are done.
        return meta, sorted(client.notes(key, at_least=5 if ending == "retry" else 3))

    meta, hooks = same(clients, scenario).told
    assert meta["status"] == ("FAILURE" if ending == "failure" else "SUCCESS")
    expected = {
        "success": ["after_return SUCCESS", "before_start", "on_success made 1"],
        "failure": ["after_return FAILURE", "before_start", "on_failure ValueError"],
        "retry": ["after_return SUCCESS", "before_start", "before_start", "on_retry NoneType", "on_success made 1"],
    }
    assert hooks == expected[ending]


def test_the_hooks_of_a_request_class(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        client.board.delete("parity:notes:watched")
        meta = client.end(failing.watched.delay(client.key(), ending="failure"))
        return meta["status"], client.notes("watched", at_least=1)

    assert same(clients, scenario).told == ("FAILURE", ["failure ValueError"])


def test_the_hook_of_a_request_class_for_time_limits(clients: Clients) -> None:
    """Method: a plain worker calls `on_failure`, too, the difference HARD_LIMIT."""

    def scenario(client: Client) -> Any:
        client.board.delete("parity:notes:watched")
        client.end(failing.watched.delay(client.key(), ending="timeout"))
        return client.wait(lambda: "timeout 1" in client.notes("watched"), "the hook is called")

    assert [story.told for story in both(clients, scenario)] == [True, True]


def test_worker_process_init_is_sent_once_in_each_process(clients: Clients) -> None:
    assert same(clients, lambda client: client.value(plain.process_facts.delay())).told == {"began": 1}


def test_a_task_is_seen_to_have_started_where_it_is_tracked(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        result = gates.tracked.delay(gate)
        client.arrived(gate)
        started = client.state(result, "STARTED")
        client.open(gate, "done")
        return started, client.end(result)["result"]

    started, result = same(clients, scenario).told
    assert started["result"] == ["hostname", "pid"]
    assert result == "done"


def test_a_state_of_its_own_with_meta(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        gate = client.key()
        result = gates.progressing.delay(gate)
        client.arrived(gate)
        under_way = client.state(result, "PROGRESS")
        client.open(gate, "done")
        return under_way, client.end(result)

    under_way, ended = same(clients, scenario).told
    assert under_way["result"] == {"done": 1, "of": 2}
    assert ended["status"] == "SUCCESS"


def test_tasks_of_every_queue_are_run(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        sent = [
            plain.add.apply_async((n, n), queue=queue) for n, queue in enumerate(["celery", "slow", "first", "second"])
        ]
        return [client.value(result) for result in sent]

    assert same(clients, scenario).told == [0, 2, 4, 6]


def test_higher_priorities_are_taken_first(clients: Clients) -> None:
    """Method: nobody takes from a queue while it fills; then the order is heard in which tasks are received."""

    def scenario(client: Client) -> Any:
        key = client.key()
        client.app.control.cancel_consumer("first", reply=True)
        sent = [
            gates.in_order.apply_async((key, f"p{priority}"), queue="first", priority=priority)
            for priority in (9, 6, 0, 3)
        ]
        client.app.control.add_consumer("first", reply=True)
        for result in sent:
            client.end(result)
        received = [each for each in client.witness.events() if each.kind == "task-received"]
        return [each.fields["args"].split("'")[3] for each in received]

    assert same(clients, scenario).told == ["p0", "p3", "p6", "p9"]
