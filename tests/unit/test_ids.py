"""The rule for ids: what becomes a file name and a part of a key must be harmless as both."""

import pytest

from mesolite.ids import MAX_ID_LENGTH, id_error


@pytest.mark.parametrize(
    "value", ["a", "task-1", "a.b", "...", ".hidden", "web:1", "a b", "größe", "任务", "x" * MAX_ID_LENGTH]
)
def test_well_formed_ids_pass(value: str) -> None:
    assert id_error(value) is None


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", "is empty"),
        ("x" * (MAX_ID_LENGTH + 1), "has 256 characters; at most 255 are allowed"),
        (".", "names a directory"),
        ("..", "names a directory"),
        ("a/b", "slash"),
        ("/", "slash"),
        ("../../etc/passwd", "slash"),
        ("a\\b", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\tb", "control"),
        ("\x7f", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "unprintable"),
        ("a\ud800b", "unprintable"),
    ],
)
def test_malformed_ids_are_told_why(value: str, error: str) -> None:
    assert error in (id_error(value) or "")
