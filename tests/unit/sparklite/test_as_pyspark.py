"""Small programs answer what PySpark answers to them, partition by partition: see pyspark_answers.txt.

Method: all run in one process with PYTHONHASHSEED=0, because where text goes depends on it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.source_tree import ROOT

HERE: Final = Path(__file__).parent
PROMPT: Final = ">>> "
TIMEOUT_S: Final = 100


def documented() -> dict[str, str]:
    """Programs and answers of the text: an answer is the line below its program."""
    lines = (HERE / "pyspark_answers.txt").read_text(encoding="utf-8").splitlines()
    return {
        line.removeprefix(PROMPT): lines[number + 1] for number, line in enumerate(lines) if line.startswith(PROMPT)
    }


EXPECTED: Final = documented()


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """What sparklite answers to each program."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.sparklite.answer_programs"],
        cwd=ROOT,
        input=json.dumps(list(EXPECTED)),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(EXPECTED, json.loads(done.stdout), strict=True))


def test_there_are_as_many_programs_as_promised() -> None:
    assert len(EXPECTED) >= 150


@pytest.mark.parametrize("program", EXPECTED)
def test_it_answers_what_pyspark_answers(answers: dict[str, str], program: str) -> None:
    assert answers[program] == EXPECTED[program]
