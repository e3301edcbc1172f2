"""Clocks that differ are noticed for certain, and never where they may agree."""

import pytest

from mesolite.frameworks.celery.broker.redis_store import surely_ahead_s


@pytest.mark.parametrize(
    ("asked_s", "theirs_s", "answered_s", "ahead_s"),
    [
        pytest.param(100.0, 100.2, 100.5, 0.0, id="read in between: they may agree"),
        pytest.param(100.0, 90.0, 100.5, 10.0, id="theirs was read before we asked: ours is ahead"),
        pytest.param(100.0, 130.5, 100.5, -30.0, id="theirs was read after the answer: ours is behind"),
        pytest.param(100.0, 99.0, 160.0, 1.0, id="a slow answer hides nothing of being ahead"),
        pytest.param(100.0, 159.0, 160.0, 0.0, id="and may hide that it is behind"),
    ],
)
def test_only_what_is_certain_is_said(asked_s: float, theirs_s: float, answered_s: float, ahead_s: float) -> None:
    assert surely_ahead_s(asked_s, theirs_s, answered_s) == ahead_s
