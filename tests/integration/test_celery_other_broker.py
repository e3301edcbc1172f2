"""Two dispatchers of one name on one cluster, whose brokers are two."""

import pytest

from mesolite.frameworks.celery.broker_address import address_of
from tests.waiting import eventually

from .dispatcher_rig import dispatcher_rig

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Celery leaves its clients' sockets to the collector of garbage.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_the_second_is_refused_while_the_first_lives_and_told_of_its_broker_afterwards() -> None:
    """Method: a second is started beside the first, with another database for a broker; and again once the first was killed."""
    with dispatcher_rig(None, "classic") as rig:
        moved_url = f"{rig.app.conf.broker_url.rpartition('/')[0]}/2"
        with rig.app.connection_for_read() as own, rig.app.connection(moved_url) as moved:
            own_broker, moved_broker = address_of(own), address_of(moved)
        first = rig.start_another(moved_url)
        try:
            assert rig.process.wait(60) == 1
            said = rig.log
            assert "Traceback" not in said
            refusal = said.rpartition("error: ")[2]
            assert f"a dispatcher named 'noting' runs on this cluster for the broker {own_broker}" in refusal
            assert str(moved_broker) in refusal
            assert "--name" in refusal
            assert rig.task("add").delay(1, 1).get(timeout=60) == 2, "the first has lost nothing"
        finally:
            first.process.kill()
            first.process.wait(30)
        rig.start_another(moved_url)
        rig.wait_until_ready()
        told = rig.log.removeprefix(said)
        assert f"before='{own_broker}' now='{moved_broker}'" in told
        with rig.app.connection(moved_url) as moved:
            sent = rig.task("add").apply_async((1, 2), connection=moved)
        eventually(sent.ready, within_s=60)
        assert sent.get() == 3
