"""A dispatcher that another of its name has replaced while it was held up."""

import signal
from uuid import uuid4

import pytest

from tests.waiting import eventually

from .dispatcher_rig import dispatcher_rig

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Celery leaves its clients' sockets to the collector of garbage.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_it_says_so_in_one_line_and_leaves_everything_to_the_other() -> None:
    """Method: the first is stopped for longer than its lease, with a task at work, which the second then has."""
    key = f"notes-{uuid4()}"
    with dispatcher_rig(None, "classic") as rig:
        held = rig.task("held_late").delay(key, f"{key}-go")
        rig.wait_for_notes(key, 1)
        rig.process.send_signal(signal.SIGSTOP)
        first = rig.start_another()
        try:
            eventually(lambda: rig.log.count(" ready.") == 2, within_s=60)
            before = len(rig.log)
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(60) == 1
        finally:
            first.kill()
        said = rig.log[before:]
        assert said.count("another dispatcher of this name has taken over") == 1, said
        assert "Traceback" not in said
        assert "Unrecoverable" not in said
        rig.redis.set(f"{key}-go", "1")
        assert held.get(timeout=60) == "held"
        assert rig.task("add").delay(1, 1).get(timeout=60) == 2
        assert rig.notes(key) == [held.id]
