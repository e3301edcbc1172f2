"""`mesolite celery-aside` on a real broker: what it lists, puts back, drops and gives back."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from click.testing import CliRunner, Result

from mesolite.cli.root import root
from mesolite.frameworks.celery.broker.decoding import aside_entry
from mesolite.frameworks.celery.broker.requests import OWNERS_KEY, owner_keys
from tests.celery_clients import close_client

pytestmark = [
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OWNER = "shop"
_queues = count()


class Desk:
    """A broker with things set aside, and the command."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = redis.Redis.from_url(url)
        self.app = Celery("shop", broker=url, set_as_current=False)

    def set_aside(self, task_id: str, why: str = "it killed three workers", at_s: float = 0.0) -> None:
        """Have a message of Celery's own set aside."""
        queue = f"queue-{next(_queues)}"
        self.app.send_task("shop.pack", (1,), task_id=task_id, queue=queue)
        message = self.client.rpop(queue)
        self.client.sadd(OWNERS_KEY, OWNER)
        self.client.lpush(owner_keys("", OWNER).aside, aside_entry("celery", message, why, at_s))

    def call(self, *arguments: str) -> Result:
        """Give the command."""
        return CliRunner().invoke(root, ["celery-aside", "--broker", self.url, *arguments])

    def listed(self) -> list[str]:
        """Ids of tasks that it lists."""
        return [each["task_id"] for each in json.loads(self.call("--json").stdout)]

    def waiting(self) -> list[dict[str, Any]]:
        """Messages in the queue, the next to be taken first."""
        return [json.loads(raw) for raw in reversed(self.client.lrange("celery", 0, -1))]


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    made = Desk(urlsplit(redis_url)._replace(path="/8").geturl())
    made.client.flushdb()
    yield made
    made.client.flushdb()
    close_client(made.app)
    made.client.close()


def test_what_was_set_aside_is_listed_with_its_reason_the_newest_first(desk: Desk) -> None:
    assert desk.call().stdout == "nothing is set aside\n"
    desk.set_aside("first")
    desk.set_aside("second", "not a message of kombu")
    assert desk.listed() == ["second", "first"]
    shown = desk.call().stdout
    for word in ("shop", "shop.pack", "celery", "it killed three workers", "not a message of kombu"):
        assert word in shown


def test_one_message_is_put_back_under_another_tag_and_the_others_stay(desk: Desk) -> None:
    for task_id in ("first", "second", "third"):
        desk.set_aside(task_id)
    entry = desk.client.lindex(owner_keys("", OWNER).aside, 1)
    tag = json.loads(entry.partition(b"\n")[2])["properties"]["delivery_tag"]
    assert desk.call("--requeue", "second").stdout == "1 put back, 0 dropped\n"
    assert desk.listed() == ["third", "first"]
    [message] = desk.waiting()
    assert message["headers"]["id"] == "second"
    assert message["properties"]["delivery_tag"] != tag, "by the old one it is known as one that had its last word"


def test_all_are_put_back_in_the_order_in_which_they_came(desk: Desk) -> None:
    for task_id in ("first", "second", "third"):
        desk.set_aside(task_id)
    assert desk.call("--all", "requeue", "--name", OWNER).stdout == "3 put back, 0 dropped\n"
    assert [message["headers"]["id"] for message in desk.waiting()] == ["first", "second", "third"]
    assert desk.listed() == []


def test_what_is_dropped_is_gone(desk: Desk) -> None:
    desk.set_aside("first")
    desk.set_aside("second")
    assert desk.call("--drop", "first").stdout == "0 put back, 1 dropped\n"
    assert desk.listed() == ["second"]
    assert desk.call("--all", "drop").exit_code == 0
    assert desk.listed() == []
    assert desk.waiting() == []


def test_a_message_that_nobody_can_read_is_listed_all_the_same(desk: Desk) -> None:
    desk.client.sadd(OWNERS_KEY, OWNER)
    desk.client.lpush(owner_keys("", OWNER).aside, aside_entry("celery", b"\xffjunk", "not a message of kombu", 0.0))
    assert desk.listed() == [""]
    assert desk.call("--all", "requeue").exit_code == 0
    assert desk.client.lrange("celery", 0, -1) == [b"\xffjunk"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--requeue", "nobody"), "no message of task nobody is set aside"),
        (("--name", "nobody"), "no dispatcher 'nobody' has been here; there were: shop"),
        (("--release", "nobody"), "no dispatcher 'nobody' has been here"),
        (("--given",), "--given says what to --release"),
    ],
)
def test_what_makes_no_sense_is_one_line_that_says_so(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    desk.set_aside("first")
    result = desk.call(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert desk.listed() == ["first"]


def test_a_dispatcher_that_will_not_start_again_gives_back_what_it_owns(desk: Desk) -> None:
    desk.set_aside("first")
    assert desk.call("--release", OWNER).stdout == "0 messages are back in their queues\n"


def test_a_broker_that_is_none_says_so() -> None:
    nobody = CliRunner().invoke(root, ["celery-aside", "--broker", "redis://127.0.0.1:1/0"])
    assert (nobody.exit_code, "does not answer" in nobody.stderr) == (1, True)
    memory = CliRunner().invoke(root, ["celery-aside", "--broker", "memory://"])
    assert (memory.exit_code, "owned in Redis brokers only" in memory.stderr) == (1, True)
    unsaid = CliRunner().invoke(root, ["celery-aside"])
    assert (unsaid.exit_code, "-A APP, or --broker URL" in unsaid.stderr) == (1, True)
    unknown = CliRunner().invoke(root, ["celery-aside", "-A", "no_such_application"])
    assert (unknown.exit_code, "there is no application" in unknown.stderr) == (1, True)
