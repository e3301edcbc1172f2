"""Amounts from text and floats and back: exact where Mesos's doubles would drift."""

import pytest

from mesolite.errors import ResourceError
from mesolite.resources import MAX_MIB_MILLI, MAX_SCALAR_MILLI, milli_from_float, milli_from_text, text_from_milli


@pytest.mark.parametrize(
    ("value", "milli"),
    [(0, 0), (-0.0, 0), (0.1, 100), (0.1 + 0.2, 300), (0.0005, 1), (1.0015, 1002), (1e12, 10**15), (2.5, 2500)],
)
def test_floats_round_half_away_from_zero(value: float, milli: int) -> None:
    assert milli_from_float("cpus", value) == milli


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (-float("inf"), "finite"),
        (-1, "negative"),
        (-0.0001, "negative"),
        (0.0004, "rounds to 0"),
        (5e-324, "rounds to 0"),
        (1.1e12, "too large"),
        (1e308, "too large"),
    ],
)
def test_floats_that_mean_nothing_are_refused(value: float, error: str) -> None:
    with pytest.raises(ResourceError, match=error):
        milli_from_float("cpus", value)


def test_the_bounds_are_inclusive_and_those_of_memory_are_an_exabyte() -> None:
    assert milli_from_text("cpus", "1000000000000") == MAX_SCALAR_MILLI
    assert milli_from_text("mem", "953674316406.25") == MAX_MIB_MILLI
    assert MAX_MIB_MILLI * 2**20 == 10**18 * 1000
    with pytest.raises(ResourceError, match="too large"):
        milli_from_text("disk", "953674316406.2505")


@pytest.mark.parametrize(("milli", "text"), [(0, "0"), (1, "0.001"), (1500, "1.5"), (2000, "2"), (100_010, "100.01")])
def test_trailing_zeros_are_not_printed(milli: int, text: str) -> None:
    assert text_from_milli(milli) == text
    assert milli_from_text("cpus", text) == milli
