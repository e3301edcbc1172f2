"""The Python executor in a pool: slots from its agent, calls from a stream of a real Redis, to which the agent opens the door."""

import hashlib
import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from mesolite.executors.python.calls import End
from mesolite.executors.python.pool_keys import calls_key, results_key
from mesolite.executors.python.session import session_name
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import SLOT_DATA
from mesolite.executors.python.wire import (
    FIELD,
    Define,
    Ended,
    Envelope,
    ExecutorItem,
    Hello,
    Returned,
    Run,
    decode_envelope,
    decode_executor_body,
    encode_body,
    encode_envelope,
)
from mesolite.transport.raw import connect_raw
from tests.integration.stub_agent import StubAgent, stub_agent
from tests.integration.test_python_executor import HERE, by_value, double, touch_and_pause
from tests.waiting import eventually

pytestmark = pytest.mark.redis

SESSION = session_name("1-0", "0123456789abcdef")


class Client:
    """A pool's client that believes whatever it hears; and the door of the agent, which hands out connections to Redis."""

    def __init__(self, redis_url: str, prefix: str, sockets: Path) -> None:
        self.redis = Redis.from_url(redis_url)
        self._redis_url = redis_url
        self._prefix = prefix
        self._read_up_to = "0-0"
        self._number = 0
        self._heard_up_to = 0
        self.heard: list[ExecutorItem] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(sockets / "redis.sock"))
        self._door.listen()
        self._thread = threading.Thread(target=self._open_doors)
        self._thread.start()

    def _open_doors(self) -> None:
        while True:
            try:
                opened, _ = self._door.accept()
            except OSError:
                return
            with opened, connect_raw(self._redis_url, timeout_s=5.0) as connection:
                line = json.dumps({"prefix": self._prefix, "cluster": "default"}).encode() + b"\n"
                socket.send_fds(opened, [line], [connection.fileno()])

    def say(self, *items: Define | Run) -> None:
        """Say these to the executor."""
        self._number += 1
        entry = encode_envelope(Envelope(SESSION, "c", self._number, 0, False, encode_body(items)))
        self.redis.xadd(calls_key(self._prefix, "f", "e"), {FIELD: entry})

    def hears(self, wanted: Callable[[list[ExecutorItem]], bool]) -> list[ExecutorItem]:
        """Wait until what was heard is what is wanted."""

        def look() -> bool:
            entries: list[tuple[bytes, dict[bytes, bytes]]] = self.redis.xrange(  # type: ignore[assignment]
                results_key(self._prefix, "f"), f"({self._read_up_to}"
            )
            for entry_id, fields in entries:
                self._read_up_to = entry_id.decode()
                envelope = decode_envelope(fields[FIELD.encode()])
                # What nobody confirms is said again.
                if envelope.body and (envelope.number == 0 or envelope.number > self._heard_up_to):
                    self._heard_up_to = max(self._heard_up_to, envelope.number)
                    self.heard.extend(decode_executor_body(envelope.body))
            return wanted(self.heard)

        eventually(look)
        return self.heard

    def close(self) -> None:
        """Shut the door."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._door.close()
        self.redis.close()


@pytest.fixture
def pool(tmp_path: Path, redis_url: str, cluster: str) -> Iterator[tuple[StubAgent, Client]]:
    with stub_agent(tmp_path, PythonSettings(python=HERE, pool={}).to_data(), subscribe=False) as agent:
        client = Client(redis_url, f"mesolite:{{{cluster}}}:", agent.sockets)
        try:
            agent.subscribe()
            yield agent, client
        finally:
            client.close()


def test_calls_of_a_pool_run_in_the_workers_of_its_slots(pool: tuple[StubAgent, Client]) -> None:
    agent, client = pool
    agent.launch("s1", SLOT_DATA)
    agent.update_of("s1", "TASK_RUNNING")
    [hello] = client.hears(lambda heard: bool(heard))[:1]
    assert isinstance(hello, Hello)
    assert (hello.executor_id, hello.container_id, hello.python) == ("e", "c", HERE)
    pickled = by_value(double)
    client.say(Define(1, hashlib.sha256(pickled).digest()[:16], pickled))
    client.say(*(Run(number, 1, pickle.dumps(((number,), {}), 5)) for number in range(200)))
    client.say(Run(200, 1, b"no pickle"))
    heard = client.hears(lambda heard: sum(isinstance(item, Returned | Ended) for item in heard) == 201)
    returned = {item.number: item.payload for item in heard if isinstance(item, Returned)}
    assert returned == {number: pickle.dumps(2 * number, 5) for number in range(200)}
    [ended] = [item for item in heard if isinstance(item, Ended)]
    assert ended.outcome.end is End.UNPICKLABLE


def test_the_last_results_leave_when_the_executor_is_shut_down(pool: tuple[StubAgent, Client]) -> None:
    agent, client = pool
    agent.launch("s1", SLOT_DATA)
    agent.update_of("s1", "TASK_RUNNING")
    client.hears(lambda heard: bool(heard))
    mark = agent.sandbox / "begun"
    pickled = by_value(touch_and_pause)
    client.say(Define(1, hashlib.sha256(pickled).digest()[:16], pickled))
    client.say(*(Run(number, 1, pickle.dumps(((str(mark), 0.3), {}), 5)) for number in range(3)))
    eventually(mark.exists)
    agent.say({"type": "SHUTDOWN", "grace_ms": 5_000})
    assert agent.end_of("s1")["state"] == "TASK_KILLED"
    assert agent.exit_code() == 0
    heard = client.hears(lambda heard: sum(isinstance(item, Returned | Ended) for item in heard) == 3)
    assert [item.number for item in heard if isinstance(item, Returned)] == [0]
    refused = [item.outcome for item in heard if isinstance(item, Ended)]
    assert [(outcome.end, outcome.begun) for outcome in refused] == 2 * [(End.REFUSED, False)]
