"""`mesolite celery-workers`: what is refused before anything runs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mesolite.cli.celery_workers import name_of
from mesolite.cli.root import root


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(root, ["celery-workers", *arguments])
    assert result.exit_code == 1, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "which application? Say -A APP"),
        (("--max", "3"), "options describe one group, with -A APP"),
        (("-A", "proj", "--max", "0"), "from 0 to 0 workers"),
        (("-A", "proj", "--env", "A"), "'A' is not a variable"),
        (("-A", "proj", "--name", "a", "--name", "b"), "one group has one name"),
        (("-A", "proj", "--volume", "/data"), "volumes is"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    arguments: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in refused(*arguments)


def test_a_group_that_the_settings_file_does_not_have_is_said_with_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mesolite.toml").write_text('[celery-workers.emails]\napp = "proj"\n')
    assert "there is no group 'letters' in mesolite.toml; there are emails" in refused("--name", "letters")


@pytest.mark.parametrize(
    ("app", "name"), [("proj", "proj"), ("proj.celery:app", "proj"), ("my_proj:app", "my_proj"), ("ä.b", "celery")]
)
def test_a_group_is_called_as_its_application(app: str, name: str) -> None:
    assert name_of(app) == name
