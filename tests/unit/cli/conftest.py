"""A cluster of HTTP faces, and a command line that finds it."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result

from mesolite.cli.root import root

from .fake_cluster import FakeCluster

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[FakeCluster]:
    """A cluster that serves on loopback."""
    faces = FakeCluster(tmp_path / "sandboxes")
    faces.start()
    yield faces
    faces.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in an empty folder, without any cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_STATE_HOME", "MESOLITE_HOME", "MESOLITE_MASTER_URL"):
        monkeypatch.delenv(variable, raising=False)

    def invoke(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(root, arguments, env=environment, prog_name="mesolite")

    return invoke


@pytest.fixture
def mesolite(run: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line against the cluster."""
    monkeypatch.setenv("MESOLITE_MASTER_URL", cluster.master.url)
    return run
