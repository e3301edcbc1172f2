"""What the DAG scheduler asks of the plan while it decides: pure answers from the driver's books."""

from typing import Protocol


class PlanView(Protocol):
    """The plan as it is now: what is kept where can change between two questions."""

    def shuffles_needed(self, stage_id: int, partition: int) -> tuple[int, ...]:
        """Return the shuffles that a task reads: none behind a partition that is kept."""
        ...

    def preferred_agents(self, stage_id: int, partition: int) -> tuple[str, ...]:
        """Return the agents that hold what a task reads besides shuffles (kept partitions), the best first; empty: anywhere."""
        ...
