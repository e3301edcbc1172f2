"""How a pool holds its workers: how many, in which containers, for how long."""

from dataclasses import dataclass

from .programs import USUAL_SHARE, ExecutorShare


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a `CoarseCore` goes by."""

    #: Held whatever the load, of the first kind.
    min_workers: int = 0
    #: At most so many of all kinds; None: what the cluster offers.
    max_workers: int | None = None
    #: How long workers may be too many.
    idle_ms: int
    #: Workers that share a container; None: all of a kind on an agent.
    workers_per_executor: int | None = None
    #: What an executor takes beside its workers.
    share: ExecutorShare = USUAL_SHARE
    #: An executor that is older is replaced: by a new one first, then it is drained. None: it may be as old as it gets.
    max_age_ms: int | None = None
    #: An executor whose workers are all given back ends the calls that it has first: whoever applies the effects says how many
    #: it still has (`CallsGiven`), after `DrainExecutor`. Without it, a call of an executor's last worker is lost
    #: when that executor has been idle, as it seems, for too long.
    drains: bool = False
    #: A part of the ids of executors and workers, where a framework outlives its scheduler: another for each life.
    life: str = ""
