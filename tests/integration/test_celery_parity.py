"""What a worker of Mesolite leaves of a task in the backend, beside what `celery worker -P prefork` leaves of the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.celery_rig import CeleryRig, celery_rig, client, meta_of, prefork_worker
from tests.waiting import eventually

pytestmark = pytest.mark.redis

#: Tasks, their arguments, and options of theirs.
TASKS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("parity.add", [1, 2], {}),
    ("parity.add", [1], {}),
    ("parity.add", [1, "a"], {"retries": 2}),
    ("parity.fail", ["why"], {}),
    ("parity.fail", ["why"], {"ignore_result": True}),
    ("parity.stubborn", [], {}),
    ("parity.expected", [], {}),
    ("parity.try_again", [], {}),
    ("parity.ignore", [], {}),
    ("parity.unserializable", [], {}),
    ("parity.me", [], {}),
    ("parity.counted", [], {}),
    ("parity.quiet", [], {}),
    ("parity.add", [2, 3], {"link": [{"task": "parity.add", "args": [1], "kwargs": {}, "options": {}}]}),
    (
        "parity.fail",
        ["x"],
        {"link_error": [{"task": "parity.say", "args": ["oh"], "kwargs": {}, "options": {}, "immutable": True}]},
    ),
    ("parity.wait_for", ["some-id"], {}),
    ("parity.fork", [], {}),
]
#: When prefork has nothing more to say of a task; those that never come to a state of theirs are looked at last.
_ENDED = {"SUCCESS", "FAILURE", "RETRY", "HALFWAY"}


def normal(meta: dict[str, Any] | None, queue: str) -> Any:
    """What of a result does not differ from run to run."""
    if meta is None:
        return None
    text = json.dumps(meta | {"date_done": None, "task_id": None}, sort_keys=True)
    text = text.replace(queue, "QUEUE")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", text)
    return json.loads(text)


def prefork_results(directory: Path, redis_url: str) -> list[Any]:
    """What prefork leaves of TASKS."""
    queue = f"prefork-{directory.name}"
    app = client(redis_url)
    redis = Redis.from_url(redis_url)
    with prefork_worker(directory, redis_url, queue):
        sent = [app.send_task(name, args, queue=queue, **options) for name, args, options in TASKS]
        last = app.send_task("parity.add", [0, 0], queue=queue)
        eventually(lambda: (meta_of(redis, last.id) or {}).get("status") == "SUCCESS", within_s=60)
        metas = [meta_of(redis, each.id) for each in sent]
    redis.close()
    return [normal(meta, queue) for meta in metas]


def our_results(rig: CeleryRig) -> list[Any]:
    """What ours leave."""
    ran = [rig.run(name, *args, **options) for name, args, options in TASKS]
    return [normal(rig.meta(each.task_id), rig.queue) for each in ran]


def test_the_backend_has_the_same_of_every_task_as_from_a_prefork_worker(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = prefork_results(tmp_path, redis_url)
    with celery_rig(tmp_path, redis_url, monkeypatch) as rig:
        ours = our_results(rig)
    states = [each and each["status"] for each in theirs]
    assert states.count("SUCCESS") >= 4
    assert set(states) >= _ENDED
    for task, mine, its in zip(TASKS, ours, theirs, strict=True):
        assert mine == its, task
