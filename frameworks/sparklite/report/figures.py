"""Figures as people read them: sizes, durations, counts."""

from typing import Final

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """Return bytes as `1.5 MiB`; a dash for none."""
    if count <= 0:
        return "-"
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_SIZES[unit]}" if unit == 0 or amount >= 100 else f"{amount:.1f} {_SIZES[unit]}"


def duration(time_ms: float) -> str:
    """Return milliseconds as `12 ms`, `3.4 s`, `5:06` (minutes) or `2:03:04` (hours)."""
    if time_ms < 999.5:
        return f"{time_ms:.0f} ms"
    if time_ms < 99_950:
        return f"{time_ms / 1000:.1f} s"
    minutes, seconds = divmod(round(time_ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def count(number: int) -> str:
    """Return a number with its thousands apart; a dash for none."""
    return f"{number:,}" if number else "-"


def share(part: int, whole: int) -> str:
    """Return `12.0 MiB of 64.0 MiB`, or the part alone where there is no whole."""
    return f"{size(part)} of {size(whole)}" if part and whole else size(part)
