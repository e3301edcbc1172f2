"""What an RDD comes from: nodes for workers on one side, what only the driver knows on the other.

A `Lineage` is what the planner reads. It holds no user API; `rdd.RDD` wraps it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mesolite.executors.sparklite.nodes import Node
from mesolite.executors.sparklite.shuffle_data import ShuffleSpec


@dataclass(slots=True, eq=False, weakref_slot=True)
class Lineage:
    """One RDD as the driver knows it. Lives as long as an RDD that needs it; then what is kept of it goes (plan.py)."""

    node: Node
    #: In order of `node.parents`.
    parents: "tuple[Lineage, ...]" = ()
    #: What a `ShuffleRead` node reads: the map side. None for all others.
    shuffle: "Shuffle | None" = None
    #: Of a leaf that reads no shuffle: a partition's entry for `TaskSpec.inputs`.
    input_of: Callable[[int], Any] | None = None
    #: Operation and place in the program: `map at app.py:7`.
    name: str = ""
    #: All its tasks run together.
    barrier: bool = False
    #: Partitions lie on these hosts or agents already (files); best first.
    preferred_of: Callable[[int], tuple[str, ...]] | None = None
    #: `RDD.setName`.
    label: str | None = None
    #: Why no job can read it: an input that is not there. Handed on to all that is made of it.
    trouble: Exception | None = None
    #: Where it is saved after the next job that needs it (`RDD.checkpoint`).
    checkpoint_path: str | None = None
    #: It has been saved there, and is read from there; or it has been kept (`RDD.localCheckpoint`).
    checkpointed: bool = False


@dataclass(slots=True, eq=False, weakref_slot=True)
class Shuffle:
    """A shuffle's map side. Its outputs are dropped from stores when nothing needs it any more (plan.py)."""

    spec: ShuffleSpec
    parent: Lineage
