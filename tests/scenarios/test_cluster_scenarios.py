"""Races between master, agents, frameworks and Redis, each told as a story: real shells and cores, one thread, virtual time.

The files are in `cluster/`; their form is that of story.py, their commands are those of tests/simulation/stage.py.
`REWRITE=1 pytest tests/scenarios/test_cluster_scenarios.py` writes what is printed now into them.
"""

from pathlib import Path
from typing import Final

import pytest

from tests.scenarios.story import check
from tests.simulation.stage import ClusterStage

FILES: Final = sorted((Path(__file__).parent / "cluster").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    check(path, ClusterStage())


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 8
