"""Shuffles of more than their memory, in a process of their own, whose peak the kernel tells."""

import json
import os
import subprocess
import sys

import pytest


def took(kind: str, mib: int, budget_mib: int, timeout_s: float) -> dict[str, int]:
    """What a shuffle took beside what the process needs itself, in MiB."""
    command = [sys.executable, "-m", "tests.integration.shuffle_of_more", kind, str(mib), str(budget_mib)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, int] = json.loads(ran.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sort", "group", "count"])
def test_a_shuffle_of_several_times_its_memory_keeps_to_it(kind: str) -> None:
    """Goal: spilling follows the kernel's figures.

    The budget is passed by what comes from one look to the next, by frames, and by what the allocator cannot give back: with so
    small a budget by more than itself at times, with 64 MiB by a quarter.
    """
    found = took(kind, 64, 16, 100)
    assert found["spilled_mib"] >= 32
    assert found["peak_mib"] <= 16 + 32
