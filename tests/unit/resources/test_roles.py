"""Roles: their naming rule and their tree (reference 2.1)."""

import pytest

from mesolite.resources import ancestors, is_strict_subrole, role_error


@pytest.mark.parametrize("role", ["*", "eng", "eng/web", "a/b/c", "a-b", "...", ".a", "a*", "größe", "r" * 255])
def test_well_formed_roles_pass(role: str) -> None:
    assert role_error(role) is None


@pytest.mark.parametrize(
    ("role", "error"),
    [
        ("", "is empty"),
        ("r" * 256, "at most 255"),
        ("/", "slash"),
        ("/a", "slash"),
        ("a/", "slash"),
        ("a//b", "slash"),
        (".", "component '.'"),
        ("a/..", "component '..'"),
        ("a/*", "component '*'"),
        ("*/a", "component '*'"),
        ("-a", "starts with a dash"),
        ("a/-b", "starts with a dash"),
        ("a b", "white space"),
        ("a\tb", "white space"),
        ("a\n", "white space"),
        ("a\vb", "white space"),
        ("a\fb", "white space"),
        ("\ra", "white space"),
        ("a\x7f", "delete"),
    ],
)
def test_malformed_roles_are_told_why(role: str, error: str) -> None:
    assert error in (role_error(role) or "")


def test_ancestors_come_nearest_first() -> None:
    assert ancestors("a/b/c") == ("a/b", "a")
    assert ancestors("a") == ()
    assert ancestors("*") == ()


def test_a_subrole_lies_strictly_below() -> None:
    assert is_strict_subrole("a/b", "a")
    assert is_strict_subrole("a/b/c", "a")
    assert not is_strict_subrole("a", "a")
    assert not is_strict_subrole("a", "a/b")
    assert not is_strict_subrole("ab", "a")
    assert not is_strict_subrole("a", "*")
