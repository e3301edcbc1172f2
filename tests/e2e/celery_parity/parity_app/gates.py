"""Tasks that tests hold, to look at them while they run, and in which order they come."""

from typing import Any

from .board import note, wait_at
from .making import task


@task(name="parity.held")
def held(gate: str) -> str:
    """Wait at a gate."""
    return wait_at(gate)


@task(name="parity.held_late", acks_late=True)
def held_late(gate: str) -> str:
    """Wait at a gate; its message is acknowledged when it has ended."""
    return wait_at(gate)


@task(name="parity.tracked", track_started=True)
def tracked(gate: str) -> str:
    """Wait at a gate, and be seen to have started."""
    return wait_at(gate)


@task(bind=True, name="parity.progressing")
def progressing(self: Any, gate: str) -> str:
    """Tell how far it is, in a state of its own."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    return wait_at(gate)


@task(name="parity.in_order")
def in_order(key: str, word: str) -> None:
    """Note that it ran."""
    note(key, word)


@task(name="parity.limited", rate_limit="4/s")
def limited(key: str) -> None:
    """Run at most four times a second."""
    note(key, "ran")
