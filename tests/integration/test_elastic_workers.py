"""Elastic workers on a real cluster: Celery's own workers as plain processes, a real Redis as their broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.elastic_rig import ElasticRig
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def rig(tmp_path: Path, redis_url: str) -> Iterator[ElasticRig]:
    with ElasticRig(tmp_path, redis_url) as rig:
        yield rig


def test_workers_come_with_messages_and_go_when_it_is_quiet_and_nothing_is_lost_by_it(rig: ElasticRig) -> None:
    rig.start("--max", "3", "--quiet", "3", "--per-worker-messages", "8")
    eventually(rig.statuses, within_s=30)
    assert rig.workers() == []
    rig.send("late", 20, seconds=0.3)
    rig.send("early", 20, seconds=0.3)
    eventually(lambda: len(rig.workers("up")) == 3, within_s=60)
    eventually(lambda: rig.done() == rig.sent, within_s=60)
    eventually(lambda: rig.workers() == [], within_s=60)
    assert rig.done() == rig.sent
    names = {worker["node"] for status in rig.statuses() for worker in status["workers"]}
    assert names == {f"elastic_app-{number}@mesolite" for number in (1, 2, 3)}
