"""Peers of bench/calls.py: they answer, those that cannot are named with the reason, and nothing of them is left.

Only peers on the standard library and Redis: the others have to be fetched first, which is for the benchmark to do.
"""

import os
import signal
from pathlib import Path

import pytest

from bench.calls import measure_in_turn
from bench.peers import environment, process
from bench.peers.catalog import FUTURES, LISTS, LISTS_IN_BATCHES, POOL, PeerSpec
from bench.peers.environment import PeerMissing, interpreter
from bench.peers.process import PeerProcess
from mesolite.redis_program import process_runs
from tests.waiting import eventually

pytestmark = [pytest.mark.redis]


@pytest.mark.parametrize("spec", [FUTURES, POOL, LISTS, LISTS_IN_BATCHES], ids=lambda spec: spec.option or spec.module)
def test_a_peer_says_how_it_is_set_up_and_how_long_its_calls_took(spec: PeerSpec) -> None:
    with PeerProcess(spec) as peer:
        assert "2" in peer.description
        assert peer.many_s(100) > 0
        assert len(peer.singles_s(5)) == 5


def test_a_peer_that_does_not_start_is_named_with_its_last_words() -> None:
    nowhere = PeerSpec(name="nowhere", module="nowhere")
    measured = measure_in_turn([nowhere, FUTURES], 1)
    assert measured[0].rates == []
    assert "No module named bench.peers.nowhere" in measured[0].note
    assert len(measured[1].rates) == 1, "the others are measured all the same"


def test_a_peer_that_dies_is_named_and_asked_no_more() -> None:
    with PeerProcess(FUTURES) as peer:
        for pid in process.marked(peer.mark):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(PeerMissing, match="ended"):
            peer.many_s(10)


def test_what_a_peer_leaves_behind_is_killed() -> None:
    """Method: the peer itself is stopped for good, so that it ends none of its workers."""
    with PeerProcess(FUTURES) as peer:
        family = process.marked(peer.mark)
        assert len(family) >= 3, "it and two workers"
        os.kill(min(family), signal.SIGKILL)
    assert not process.marked(peer.mark)
    eventually(lambda: not any(map(process_runs, family)))


def test_requirements_that_cannot_be_installed_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "peers")
    with pytest.raises(PeerMissing, match="not installed"):
        interpreter((f"{tmp_path}/nothing-here",))
    assert not list((tmp_path / "peers").glob("*/installed")), "so that the next benchmark tries again"
