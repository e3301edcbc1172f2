"""What bench/celery.py measures Celery's workers with, tried on one of them: the dispatcher has tests of its own."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.celery_rates import Rates, client_alone, measure_once
from bench.celery_site import Drain, Site
from bench.celery_workers import WorkerSpec, plain, running
from bench.peers.environment import PeerMissing
from bench.processes import memory_mib
from mesolite.embedded_redis import EmbeddedRedis

pytestmark = [pytest.mark.redis]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with EmbeddedRedis(tmp_path / "redis") as server, closing(Site(tmp_path / "site", server.url, 0)) as made:
        yield made


def test_a_worker_is_measured_in_every_way_and_leaves_nothing_behind(site: Site) -> None:
    with running(plain("threads"), site) as worker:
        rates = Rates(worker.name)
        measure_once(rates, worker, 50)
        assert not rates.missing, rates.note
        assert min(rates.submitted + rates.drained + rates.singles_ms) > 0
        assert 10 < rates.idle_mib[0] < 500
    assert not worker.pids
    assert memory_mib([worker.program.process.pid]) == 0


def test_the_client_is_measured_by_itself_and_leaves_no_message_to_a_worker(site: Site) -> None:
    with running(plain("threads"), site) as worker:
        assert client_alone(worker, 20) > 0
        with site.app.connection_for_read() as connection:
            assert not connection.default_channel.client.keys("nobodys*")


def test_messages_from_a_mould_differ_in_their_ids_alone(site: Site) -> None:
    mould = site.messages("nothing", (1,))
    (first_id, first), (second_id, second) = mould.cast(), mould.cast()
    assert first_id != second_id
    one, other = json.loads(first), json.loads(second)
    assert one["properties"]["delivery_tag"] != other["properties"]["delivery_tag"]
    assert one["body"] == other["body"]
    assert one["headers"]["id"] == first_id


def test_a_queue_that_nobody_drains_is_said_with_how_far_it_came(site: Site) -> None:
    with closing(Drain(site)) as drain, pytest.raises(TimeoutError, match="0 of 5"):
        drain.seconds(5, within_s=0.1)


def test_a_worker_that_does_not_start_is_named_with_its_last_words(site: Site) -> None:
    broken = WorkerSpec(name="broken", setting="", arguments=("-c", "raise SystemExit('no such thing')"))
    with pytest.raises(PeerMissing, match="no such thing"), running(broken, site):
        pass
