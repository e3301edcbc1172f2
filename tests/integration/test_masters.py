"""Finding the master that leads: several were given, some are standbys, hang, or are gone."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from mesolite.errors import BadInput, MasterUnavailable, NotFound
from mesolite.masters import HASTY_TIMEOUT_S, Masters
from mesolite.operator import OperatorClient

#: A name that nobody answers for (RFC 2606).
NOWHERE = "http://leader.invalid:5050"


class FakeMaster:
    """Answers every request by what it was told to be, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        #: Called for each request: status, place to go, fields.
        self.answer: Callable[[], tuple[int, str, dict[str, object]]] = lambda: (200, "", {"leads": True})
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                status, location, fields = fake.answer()
                body = json.dumps(fields).encode()
                self.send_response(status)
                if location:
                    self.send_header("Location", location + self.path)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stand_by(self, leader_url: str) -> None:
        """Redirect to another."""
        self.answer = lambda: (307, leader_url, {})

    def refuse(self) -> None:
        """Know no leader."""
        self.answer = lambda: (503, "", {"error": "no master leads"})

    def close(self) -> None:
        """Be gone."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def one() -> Iterator[FakeMaster]:
    with closing(FakeMaster()) as master:
        yield master


@pytest.fixture
def two() -> Iterator[FakeMaster]:
    with closing(FakeMaster()) as master:
        yield master


def gone_url() -> str:
    """The URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_redirect_to_a_name_that_means_nothing_here_is_not_followed_while_another_given_one_leads(
    one: FakeMaster, two: FakeMaster
) -> None:
    one.stand_by(NOWHERE)
    masters = Masters([one.url, two.url])
    assert masters.ask("GET", "tasks?limit=1").body == b'{"leads": true}'
    assert two.asked == ["/tasks?limit=1"]
    masters.ask("GET", "agents")
    assert one.asked == ["/tasks?limit=1"], "who led last is asked first"


def test_a_redirect_is_followed_where_no_given_one_leads(one: FakeMaster, two: FakeMaster) -> None:
    one.stand_by(two.url)
    assert Masters([one.url]).ask("GET", "tasks?limit=1").status == 200
    assert two.asked == ["/tasks?limit=1"]


def test_a_master_that_is_gone_is_passed_over(two: FakeMaster) -> None:
    assert Masters([gone_url(), two.url]).ask("GET", "tasks").status == 200


def test_a_master_that_hangs_costs_little(two: FakeMaster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        masters = Masters([f"http://127.0.0.1:{hanging.getsockname()[1]}", two.url], timeout_s=60)
        began_s = time.monotonic()
        assert masters.ask("GET", "tasks").status == 200
        assert time.monotonic() - began_s < HASTY_TIMEOUT_S + 1
        began_s = time.monotonic()
        masters.ask("GET", "tasks")
        assert time.monotonic() - began_s < HASTY_TIMEOUT_S / 2, "and only once"


def test_a_leader_that_is_missing_is_waited_for_and_said_once(one: FakeMaster, two: FakeMaster) -> None:
    """Goal: a command does not fail because leadership changes hands. Method: no leader for the first few questions."""
    one.refuse()
    questions = iter(range(3))
    two.answer = lambda: (503, "", {"error": "not yet"}) if next(questions, None) is not None else (200, "", {})
    told: list[str] = []
    masters = Masters([one.url, two.url], patience_s=30, on_wait=told.append)
    assert masters.ask("GET", "tasks").status == 200
    assert len(two.asked) == 4
    assert len(told) == 1
    assert "not yet" in told[0]


def test_one_that_was_never_there_is_not_waited_for_and_one_that_was_is(one: FakeMaster) -> None:
    with pytest.raises(MasterUnavailable, match="does not answer"):
        Masters([gone_url()], patience_s=30).ask("GET", "tasks")
    masters = Masters([one.url], patience_s=30)
    masters.ask("GET", "tasks")
    refusals = iter(range(2))
    one.answer = lambda: (503, "", {"error": "no"}) if next(refusals, None) is not None else (200, "", {})
    assert masters.ask("GET", "tasks").status == 200


def test_without_patience_the_last_excuse_is_told(one: FakeMaster, two: FakeMaster) -> None:
    one.refuse()
    two.refuse()
    with pytest.raises(MasterUnavailable, match="no master leads"):
        Masters([one.url, two.url]).ask("GET", "tasks")


def test_what_the_leader_does_not_have_is_not_looked_for_elsewhere(one: FakeMaster, two: FakeMaster) -> None:
    one.answer = lambda: (404, "", {"error": "no such task"})
    with pytest.raises(NotFound, match="no such task"):
        Masters([one.url, two.url], patience_s=30).ask("GET", "tasks")
    assert two.asked == []


def test_a_client_takes_several_urls_and_none_is_an_error(one: FakeMaster, two: FakeMaster) -> None:
    one.answer = lambda: (200, "", {"healthy": True, "leads": False, "version": "1"})
    client = OperatorClient(f" {one.url}/, {two.url} ,")
    assert client.master_url == f"{one.url},{two.url}"
    assert not client.health().leads
    with pytest.raises(BadInput, match="write their URLs"):
        OperatorClient(" , ")
