"""The root: help, errors, colours, and what is imported for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from mesolite.cli.root import COMMANDS
from mesolite.discovery import ClusterAddress, write_cluster

from .conftest import Run
from .fake_cluster import FakeCluster


def test_help_lists_every_command(run: Run) -> None:
    output = run("--help").output
    assert [name for name in COMMANDS if name not in output] == []


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_every_command_has_help(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage: mesolite" in result.output


def test_help_imports_nothing_heavy() -> None:
    """Goal: `mesolite --help` answers at once. Method: look at what a fresh interpreter has imported afterwards."""
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from mesolite.cli.root import root\n"
        "assert CliRunner().invoke(root, ['--help']).exit_code == 0\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'redis', 'kombu', 'celery', 'docker', 'tornado', 'rich', 'numpy', 'requests', 'asyncio'}))"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_without_a_cluster_the_error_says_what_to_do(run: Run) -> None:
    result = run("ps")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no cluster runs here")
    assert "mesolite up" in result.stderr
    assert "Traceback" not in result.output


def test_a_master_that_does_not_answer_is_one_line(run: Run) -> None:
    result = run("ps", MESOLITE_MASTER_URL="http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 127.0.0.1:1 does not answer")
    assert len(result.stderr.splitlines()) == 1


def test_a_master_in_the_environment_comes_before_a_home_there(mesolite: Run, tmp_path: Path) -> None:
    assert mesolite("ps", MESOLITE_HOME=str(tmp_path / "absent")).exit_code == 0


def test_a_home_on_the_command_line_comes_before_the_environment(mesolite: Run, tmp_path: Path) -> None:
    result = mesolite("--home", str(tmp_path / "absent"), "ps")
    assert result.exit_code == 1
    assert str(tmp_path / "absent") in result.stderr


def test_debug_shows_the_traceback(run: Run) -> None:
    result = run("--debug", "ps")
    assert type(result.exception).__name__ == "MasterUnavailable"


def test_a_mistyped_command_is_wrong_usage_and_a_near_one_is_named(run: Run) -> None:
    result = run("agnets")
    assert result.exit_code == 2
    assert "did you mean `mesolite agents`?" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_us(run: Run, shell: str) -> None:
    assert "_MESOLITE_COMPLETE" in run("completion", shell).output


def test_the_settings_file_of_the_folder_is_read_and_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mesolite.toml").write_text("[master]\nhttp_prot = 1\n")
    result = run("ps")
    assert result.exit_code == 1
    assert "did you mean 'http_port'?" in result.stderr


def test_a_cluster_is_named_by_its_masters_or_by_its_folder(run: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.add_task("t")
    urls = f"http://127.0.0.1:1,{cluster.master.url}"
    assert "t" in run("--cluster", urls, "ps", MESOLITE_MASTER_URL="http://127.0.0.1:1").output
    write_cluster(tmp_path / "folder", ClusterAddress(redis_url="redis://x", master_url=cluster.master.url))
    assert "t" in run("--cluster", str(tmp_path / "folder"), "ps").output
    assert "t" in run("ps", MESOLITE_MASTER_URL=urls).output


def test_a_cluster_that_is_named_comes_before_a_home_and_the_name_of_a_cluster_is_no_place(
    run: Run, cluster: FakeCluster, tmp_path: Path
) -> None:
    arguments = ("--home", str(tmp_path / "absent"), "--cluster", cluster.master.url, "ps")
    assert run(*arguments, MESOLITE_CLUSTER="east").exit_code == 0
    assert "no cluster runs here" in run("ps", MESOLITE_CLUSTER=cluster.master.url).stderr


def test_masters_that_tell_no_redis_are_an_error_that_says_how_to_go_on(run: Run, cluster: FakeCluster) -> None:
    result = run("--cluster", cluster.master.url, "run", "--", "true")
    assert result.exit_code == 1
    assert "set MESOLITE_REDIS_URL" in result.stderr
