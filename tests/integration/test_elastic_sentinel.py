"""What elastic workers see of queues under Redis Sentinel, by Celery's own transport, while the primary changes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from mesolite.frameworks.celery_workers.application import Application, BrokerUnavailable
from mesolite.frameworks.celery_workers.looks import Look
from tests.waiting import eventually

from .sentinel_rig import MASTER_NAME, PASSWORD, SENTINEL_PASSWORD, SentinelRig

pytestmark = [pytest.mark.redis, pytest.mark.slow]

MODULE: Final = "elastic_under_sentinels"
QUEUE: Final = "under-sentinels"
PREFIX: Final = "shop/"
#: As a user of Celery writes it.
SOURCE: Final = f"""
from celery import Celery

app = Celery("under-sentinels", broker={{broker!r}}, set_as_current=False)
app.conf.update(
    task_default_queue="{QUEUE}",
    broker_transport_options={{options!r}},
)
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SentinelRig]:
    with SentinelRig(tmp_path / "rig") as rig:
        yield rig


@pytest.fixture
def application(rig: SentinelRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    addresses = ";".join(f"sentinel://:{PASSWORD}@127.0.0.1:{sentinel.port}/0" for sentinel in rig.sentinels)
    options = {
        "master_name": MASTER_NAME,
        "sentinel_kwargs": {"password": SENTINEL_PASSWORD},
        "global_keyprefix": PREFIX,
    }
    (tmp_path / f"{MODULE}.py").write_text(SOURCE.format(broker=addresses, options=options))
    monkeypatch.setattr(sys, "path", [*sys.path])
    application = Application(MODULE, (str(tmp_path),))
    yield application
    application.close()
    sys.modules.pop(MODULE)


def send(count: int) -> None:
    """Send so many messages."""
    app: Any = sys.modules[MODULE].__dict__["app"]
    for _ in range(count):
        app.send_task("anything")


def looked(application: Application) -> Look | None:
    """Look once; None where the broker is away."""
    try:
        # A worker that is not there: whoever asks it must write, which a replica would not take.
        return application.look(("nobody@mesolite",))
    except BrokerUnavailable:
        return None


@pytest.mark.parametrize("harm", ["kill", "hang", "demote"])
def test_the_length_of_a_queue_is_that_of_the_new_primary(
    rig: SentinelRig, application: Application, harm: str
) -> None:
    """Method: what waits is replicated before the primary goes; what comes after it is only with its successor."""
    send(7)
    rig.settle()
    before = looked(application)
    assert before is not None
    assert dict(before.waiting) == {QUEUE: 7}
    lost = rig.primary()
    if harm == "demote":
        rig.start_demotion()
    else:
        getattr(lost, harm)()
    successor = rig.wait_for_primary(other_than=lost)
    after = eventually(lambda: looked(application), within_s=30)
    assert after is not None
    assert dict(after.waiting) == {QUEUE: 7}
    # Not by Celery, which would wait for one that hangs.
    successor.ask("LPUSH", f"{PREFIX}{QUEUE}", "1", "2", "3")
    eventually(lambda: (look := looked(application)) is not None and dict(look.waiting) == {QUEUE: 10}, within_s=30)
