"""The README's framework code works as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]

README = Path(__file__).parents[2] / "README.md"


def test_the_framework_code_of_the_readme_works_as_printed(docker_cluster: Cluster, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program = tmp_path / "program.py"
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "MESOLITE_HOME": str(docker_cluster.home)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert sorted(int(index) for index, *_ in lines) == list(range(100))
    assert {(state, code) for _, state, code, _ in lines} == {("FINISHED", "0")}
