"""Chains, groups, chords, links and errbacks, replaced tasks."""

from typing import Any

import pytest
from celery import canvas

from .client import Client, both, same
from .conftest import MARKS
from .parity_app import failing, flow, plain

pytestmark = MARKS

Clients = tuple[Client, Client]

#: Of Celery's, which have no types.
chain: Any = canvas.chain
chord: Any = canvas.chord
group: Any = canvas.group


def add(*numbers: float) -> Any:
    """A signature."""
    return plain.add.s(*numbers)


def xsum() -> Any:
    """A signature."""
    return plain.xsum.s()


#: Each makes what is applied; its value is the second.
VALUES: dict[str, tuple[Any, Any]] = {
    "chain": (lambda: chain(add(1, 2), add(3), add(4)), 10),
    "group": (lambda: group(add(n, n) for n in range(5)), [0, 2, 4, 6, 8]),
    "chord": (lambda: chord([add(n, n) for n in range(5)], xsum()), 20),
    "chord of one": (lambda: chord([add(1, 1)], xsum()), 2),
    "empty group": (lambda: group([]), []),
    "chain into a group": (lambda: chain(add(1, 1), group(add(1), add(2))), [3, 4]),
    "chain with a group inside": (lambda: chain(add(1, 1), group(add(1), add(2)), xsum()), 7),
    "chord in a chord": (lambda: chord([chord([add(1, 1), add(2, 2)], xsum()), add(3, 3)], xsum()), 12),
    "chord of groups": (lambda: chord(group(group(add(1, 1), add(2, 2)), add(3, 3)), xsum()), 12),
    "chord of chains": (lambda: chord([chain(add(n, n), add(1)) for n in range(3)], xsum()), 9),
    "chord in a chain": (lambda: chain(chord([add(1, 1), add(2, 2)], xsum()), add(10)), 16),
    "two chords in a chain": (
        lambda: chain(group(add(1, 1), add(2, 2)), xsum(), group(add(1), add(2)), xsum()),
        15,
    ),
    "immutable": (lambda: chain(add(1, 1), plain.add.si(5, 5)), 10),
    "chunks": (lambda: plain.add.chunks(zip(range(6), range(6), strict=True), 2).group(), [[0, 2], [4, 6], [8, 10]]),
    "map": (lambda: plain.xsum.map([[1, 2], [3, 4]]), [3, 7]),
    "starmap": (lambda: plain.add.starmap([(1, 2), (3, 4)]), [3, 7]),
    "replaced": (lambda: flow.replaced.s(2, 3), 5),
    "replaced in a chain": (lambda: chain(flow.replaced.s(2, 3), add(10)), 15),
    "replaced by a chord": (lambda: flow.replaced_by_chord.s(4), 12),
    "retried in a chord": (lambda: chord([failing.retrying.s(1), add(1, 1)], xsum()), 3),
}


@pytest.mark.parametrize("name", VALUES)
def test_canvas_with_a_value(clients: Clients, name: str) -> None:
    make, value = VALUES[name]

    def scenario(client: Client) -> Any:
        return client.value(make().apply_async())

    assert same(clients, scenario).told == value


def test_the_tree_of_results_that_a_chain_and_a_chord_leave(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        last = chain(chord([add(1, 1), add(2, 2)], xsum()), add(10)).apply_async()
        end = client.end(last)
        body = client.end(last.parent)
        heads = sorted(client.end(each)["result"] for each in last.parent.parent.results)
        return end, body, heads, [client.end(each)["children"] for each in last.parent.parent.results]

    end, body, heads, _ = same(clients, scenario).told
    assert (end["result"], body["result"], heads) == (16, 6, [2, 4])
    assert body["children"] == 1


def test_tasks_that_a_task_starts_are_its_children(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        result = flow.spawning.delay(3)
        ids = client.value(result)
        return client.meta(result)["children"], sorted(client.value(client.app.AsyncResult(one)) for one in ids)

    told = same(clients, scenario).told
    assert told[1] == [1, 2, 3]


def test_a_chain_that_breaks_runs_no_further(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        last = chain(add(1, 1), failing.fail.si("own"), add(1)).apply_async()
        return client.end(last.parent)["result"], client.state(last, "FAILURE")["result"]

    assert same(clients, scenario).told == ("Refused('not today', 7)", "Refused('not today', 7)")


@pytest.mark.parametrize("how", ["header", "body"])
def test_a_chord_that_fails(clients: Clients, how: str) -> None:
    def scenario(client: Client) -> Any:
        if how == "header":
            result = chord([add(1, 1), failing.fail.si("value")], xsum()).apply_async()
        else:
            result = chord([add(1, 1), add(2, 2)], failing.fail.si("value")).apply_async()
        client.wait(lambda: result.state == "FAILURE", "it fails")
        return client.meta(result)["result"].split("(")[0]

    assert same(clients, scenario).told == ("ChordError" if how == "header" else "ValueError")


def test_links_hear_a_result(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        key = client.key()
        links = [flow.linked.s(f"{key}-{n}") for n in range(2)]
        value = client.value(plain.add.apply_async((1, 2), link=links))
        return value, [client.notes(f"{key}-{n}", at_least=1) for n in range(2)]

    assert same(clients, scenario).told == (3, [["heard 3"], ["heard 3"]])


@pytest.mark.parametrize("errback", [flow.errback, flow.old_errback], ids=["with the error", "with an id"])
def test_errbacks_hear_an_error(clients: Clients, errback: Any) -> None:
    def scenario(client: Client) -> Any:
        client.board.delete("parity:notes:errbacks")
        result = failing.fail.apply_async(("own",), link_error=errback.s())
        return client.end(result)["status"], client.notes("errbacks", at_least=1)

    status, heard = same(clients, scenario).told
    assert status == "FAILURE"
    assert heard == ["parity.fail Refused" if errback is flow.errback else "by id"]


def test_errbacks_of_a_chord_and_a_group(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        client.board.delete("parity:notes:errbacks")
        broken = chord([add(1, 1), failing.fail.si("own")], xsum().on_error(flow.errback.s()))
        result = broken.apply_async()
        client.state(result, "FAILURE")
        return sorted(client.notes("errbacks", at_least=1))

    assert same(clients, scenario).told == ["parity.xsum ChordError"]


def test_errbacks_hear_of_a_process_that_died_and_of_a_hard_limit(clients: Clients) -> None:
    def scenario(client: Client) -> Any:
        client.board.delete("parity:notes:errbacks")
        lost = failing.crash.apply_async(link_error=flow.errback.s())
        client.end(lost)
        late = failing.hard_limited.apply_async((client.key(),), link_error=flow.errback.s())
        client.end(late)
        # Of a hard limit a plain worker tells twice: the difference HARD_LIMIT.
        return sorted(set(client.notes("errbacks", at_least=2)))

    heard = ["parity.crash WorkerLostError", "parity.hard_limited TimeLimitExceeded"]
    assert [story.told for story in both(clients, scenario)] == [heard] * 2
