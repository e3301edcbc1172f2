"""Whether an earlier life of a dispatcher goes on, by what the master heard of it."""

import pytest

from mesolite.frameworks.celery.earlier_life import Sighting, lives

HEARD = Sighting(connected=True, last_heard_ms=1_000)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        # It spoke meanwhile.
        (Sighting(connected=True, last_heard_ms=1_001), True),
        # It may have died just now.
        (HEARD, None),
        # It was silent for too long.
        (Sighting(connected=False, last_heard_ms=1_000), False),
        # Its framework has ended.
        (None, False),
    ],
)
def test_it_lives_when_it_speaks_and_not_when_it_counts_as_gone(now: Sighting | None, verdict: bool | None) -> None:
    assert lives(HEARD, now) is verdict


def test_a_framework_that_the_master_does_not_know_has_no_life() -> None:
    assert lives(None, None) is False
    assert lives(None, HEARD) is False
