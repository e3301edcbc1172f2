"""Two masters as processes on one real Redis: one leads, the other stands by and takes over."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import pytest

from mesolite.ids import FrameworkId, SessionId
from mesolite.ports import free_port
from mesolite.protocol import CallBatch, EventBatch, FrameworkInfo, Subscribe, Subscribed, decode_events, encode
from mesolite.transport import BEGINNING, Commit, Store, open_store
from mesolite.transport.keys import COMMITS, calls_stream, framework_stream
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]

#: From the death of a leading master to the next: its lease of 2 s, and some time on a loaded machine.
SUCCESSION_S: Final = 10.0


class Master:
    """One process."""

    def __init__(self, redis_url: str, cluster: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "MESOLITE_REDIS_URL": redis_url, "MESOLITE_CLUSTER": cluster}
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "mesolite.cli", "master", "--http-port", str(self.port)]
        return subprocess.Popen(argv, env=self._environment, stderr=subprocess.DEVNULL)

    def get(self, path: str) -> tuple[int, str, dict[str, object]]:
        """Return status, Location and body of an answer; 0 where nobody answers."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
            except OSError:
                return 0, "", {}
            return response.status, response.headers.get("Location", ""), json.loads(body or b"{}")

    def leads(self) -> bool:
        """Whether it says that it leads."""
        return self.get("/health")[2].get("leads") is True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it, whatever its state."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def masters(redis_url: str, cluster: str) -> Iterator[tuple[Master, Master]]:
    """Two; the first leads."""
    one = Master(redis_url, cluster)
    started = [one]
    try:
        eventually(one.leads, within_s=30)
        other = Master(redis_url, cluster)
        started.append(other)
        eventually(lambda: other.get("/health")[0] == 200, within_s=30)
        yield one, other
    finally:
        for each in started:
            each.end()


@pytest.fixture
def store(redis_url: str, cluster: str) -> Iterator[Store]:
    with closing(open_store(redis_url, cluster)) as opened:
        yield opened


def subscribe(store: Store, number: int) -> Callable[[], list[EventBatch]]:
    """Ask the master for something; returns what reads its answers."""
    framework_id = FrameworkId(f"f{number}")
    calls = (Subscribe(framework_info=FrameworkInfo(framework_id=framework_id, name="f")),)
    batch = CallBatch(framework_id=framework_id, session=SessionId("s"), epoch=0, number=1, calls=calls)
    store.append(calls_stream(), encode(batch), max_length=100)

    def answers() -> list[EventBatch]:
        entries = store.read({framework_stream(framework_id): BEGINNING}, limit=100, wait_ms=0)
        batches = [decode_events(entry.payload) for entry in entries]
        return [each for each in batches if any(isinstance(event, Subscribed) for event in each.events)]

    return answers


def test_the_standby_sends_everybody_to_the_leader(masters: tuple[Master, Master]) -> None:
    one, other = masters
    assert not other.leads()
    eventually(lambda: other.get("/agents?limit=5")[:2] == (307, f"{one.url}/agents?limit=5"))
    assert one.get("/agents")[0] == 200
    assert other.get("/health")[0] == 200, "of itself it speaks itself"


def test_a_killed_leader_is_followed_within_seconds(masters: tuple[Master, Master], store: Store) -> None:
    one, other = masters
    before = store.epoch()
    one.signal(signal.SIGKILL)
    answers = subscribe(store, 1)
    eventually(answers, within_s=SUCCESSION_S)
    assert other.leads()
    assert {each.epoch for each in answers()} == {store.epoch()}
    assert store.epoch() > before


def test_a_leader_that_ends_gives_up_its_lease_at_once(masters: tuple[Master, Master], store: Store) -> None:
    one, other = masters
    one.signal(signal.SIGTERM)
    one.process.wait(10)
    lease = store.lease().lease
    assert lease is None or lease.address == other.url, "it does not wait for its time to run out"
    eventually(other.leads, within_s=SUCCESSION_S)


def test_a_leader_that_was_stopped_past_its_lease_wakes_and_changes_nothing(
    masters: tuple[Master, Master], store: Store
) -> None:
    one, other = masters
    first = subscribe(store, 1)
    eventually(first)
    one.signal(signal.SIGSTOP)
    answers = subscribe(store, 2)
    eventually(answers, within_s=SUCCESSION_S)
    epoch = store.epoch()
    one.signal(signal.SIGCONT)
    eventually(lambda: one.get("/agents")[:2] == (307, f"{other.url}/agents"))
    later = subscribe(store, 3)
    eventually(later)
    assert {each.epoch for each in (*answers(), *later())} == {epoch}
    assert store.epoch() == epoch
    assert other.leads()


def test_a_leader_whose_store_forgot_a_part_leads_on_in_a_new_epoch(
    masters: tuple[Master, Master], store: Store
) -> None:
    """Method: play the forgetful failover by moving its cursor back behind its back, with a commit of its own epoch."""
    one, _ = masters
    eventually(subscribe(store, 1))
    epoch = store.epoch()
    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={**store.cursor(), COMMITS: "0-0"}))
    answers = subscribe(store, 2)
    eventually(answers, within_s=SUCCESSION_S)
    assert store.epoch() > epoch
    assert one.leads()
