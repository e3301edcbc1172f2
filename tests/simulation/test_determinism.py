"""Equal seeds are equal stories, in one process and in others: only then can a failure be looked at again."""

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.source_tree import ROOT

from .run import run

SEED: Final = 22


def test_a_seed_tells_the_same_story_twice() -> None:
    first, second = run(SEED), run(SEED)
    assert first == second
    assert first.lines > 500


def test_other_seeds_tell_other_stories() -> None:
    assert len({run(seed).digest for seed in range(1, 6)}) == 5


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_order_of_sets_does_not_matter(hash_seed: str) -> None:
    """Goal: no core lets the order of a set decide. Method: another process, in which strings hash otherwise."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(SEED)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run(SEED).digest in told.stdout
