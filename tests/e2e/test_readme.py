"""The README's framework code works as printed."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]

README = Path(__file__).parents[2] / "README.md"


def output_of(number: int, cluster: Cluster, tmp_path: Path) -> list[str]:
    """Run one of the programs that the README prints."""
    programs = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(programs) == 3, "a program that is not tried"
    program = tmp_path / "program.py"
    program.write_text(programs[number])
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=README.parent,
        env={**os.environ, "MESOLITE_HOME": str(cluster.home)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_functions_of_the_readme_run_as_printed(docker_cluster: Cluster, tmp_path: Path) -> None:
    assert output_of(0, docker_cluster, tmp_path) == ["328350", "3486784401"]


def test_the_rdd_program_of_the_readme_counts_its_words(docker_cluster: Cluster, tmp_path: Path) -> None:
    [printed] = output_of(1, docker_cluster, tmp_path)
    counts = Counter(README.read_text().split())
    assert dict(ast.literal_eval(printed)) == {word: counts[word] for word, _ in ast.literal_eval(printed)}
    assert max(counts.values()) == ast.literal_eval(printed)[0][1]


def test_the_framework_code_of_the_readme_works_as_printed(docker_cluster: Cluster, tmp_path: Path) -> None:
    lines = [line.split() for line in output_of(2, docker_cluster, tmp_path)]
    assert sorted(int(index) for index, *_ in lines) == list(range(100))
    assert {(state, code) for _, state, code, _ in lines} == {("FINISHED", "0")}
