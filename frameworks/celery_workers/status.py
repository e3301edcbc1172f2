"""How a group stands, for people and programs."""

from typing import TypeAlias

from msgspec import Struct


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One worker."""

    node: str
    task_id: str
    phase: str
    hostname: str
    #: Its agent is unreachable.
    hidden: bool
    #: As it said last; None where it has not answered the newest look.
    active: int | None
    reserved: int | None


class GroupStatus(Struct, frozen=True, kw_only=True):
    """One group."""

    group: str
    #: How many workers there should be.
    target: int
    workers: tuple[WorkerStatus, ...]
    #: Messages in each queue; empty before the first look.
    waiting: dict[str, int]
    #: How long the oldest message has waited, by estimate.
    age_ms: int
    #: What is wrong; empty while nothing is.
    trouble: str
    draining: bool

    @property
    def counts(self) -> dict[str, int]:
        """How many workers there are of each phase; those out of sight by themselves."""
        counts: dict[str, int] = {}
        for worker in self.workers:
            phase = "out of sight" if worker.hidden else worker.phase
            counts[phase] = counts.get(phase, 0) + 1
        return counts


#: What a line for people is written again for.
Summary: TypeAlias = tuple[int, tuple[tuple[str, int], ...], str, bool]


def summary(status: GroupStatus) -> Summary:
    """Say what matters to people who watch."""
    return status.target, tuple(sorted(status.counts.items())), status.trouble, status.draining


def line(status: GroupStatus) -> str:
    """Write a group in one line."""
    counts = ", ".join(f"{count} {phase}" for phase, count in sorted(status.counts.items())) or "none"
    waiting = sum(status.waiting.values())
    wanted = "leaving all" if status.draining else f"{status.target} wanted"
    age = f", the oldest for {status.age_ms / 1000:.0f} s" if status.age_ms >= 1000 else ""
    trouble = f"; {status.trouble}" if status.trouble else ""
    return f"{status.group}: {wanted}, workers: {counts}; {waiting} messages wait{age}{trouble}"
