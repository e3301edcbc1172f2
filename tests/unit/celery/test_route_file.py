"""Rules of a file come before those of the application, and are as strictly read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mesolite.errors import ConfigError
from mesolite.frameworks.celery.options import OptionsBook
from mesolite.frameworks.celery.route_file import MAX_FILE_BYTES, read_route_file

TOML = '[[route]]\ntask = "proj.*"\nmem = "1GiB"\n[[route]]\nqueue = "big"\nmem = "2GiB"\n'


@dataclass
class Task:
    """A registered task."""

    name: str = "proj.work"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("routes.toml", TOML),
        ("routes.json", '{"route": [{"task": "proj.*", "mem": "1GiB"}]}'),
        ("routes.json", '[{"task": "proj.*", "mem": "1GiB"}]'),
        ("routes.json", '{"proj.*": {"mem": "1GiB"}}'),
    ],
)
def test_rules_of_a_file_come_before_those_of_the_application(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    book = OptionsBook({"mesolite_routes": {"proj.*": {"mem": "64MiB", "cpus": 2}}}, routes=read_route_file(path))
    kind = book.of(Task(), None, "big").kind
    assert (kind.mem_mib, kind.cpus_milli) == (1024, 2000)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("routes.toml", "{", "this is no TOML"),
        ("routes.json", "{", "this is no JSON"),
        ("routes.json", "[" * 100_000, "this is no JSON"),
        ("routes.toml", 'mem = "1GiB"', r"written as \[\[route\]\]"),
        ("routes.toml", TOML + "[other]\n", "nothing beside them"),
        ("routes.toml", "#" * (MAX_FILE_BYTES + 1), "are no rules"),
    ],
)
def test_a_file_that_holds_no_rules_says_so(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as raised:
        read_route_file(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_route_file(tmp_path / "routes.toml")


def test_a_rule_that_is_wrong_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^routes.toml\[0\]: there is no option 'memory'"):
        OptionsBook({}, routes=[{"task": "a", "memory": 1}], routes_where="routes.toml")
