"""What an RDD is called and how it comes about, for people: in the form that Spark shows it."""

from typing import TYPE_CHECKING, Final, TypeVar

from mesolite.executors.sparklite import nodes

from .base import RddBase
from .lineage import Lineage

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")

#: Spark's classes that do the same.
_KINDS: Final[dict[type[nodes.Node], str]] = {
    nodes.Items: "ParallelCollectionRDD",
    nodes.Numbers: "ParallelCollectionRDD",
    nodes.ReadBy: "HadoopRDD",
    nodes.ShuffleRead: "ShuffledRDD",
    nodes.Step: "PythonRDD",
    nodes.Union: "UnionRDD",
    nodes.SamePlace: "PartitionerAwareUnionRDD",
    nodes.Grouped: "CoalescedRDD",
    nodes.Cartesian: "CartesianRDD",
    nodes.Zipped: "ZippedPartitionsRDD2",
}


class Describing(RddBase[T]):
    """Part of `RDD`."""

    def __repr__(self) -> str:
        return _described(self._lineage)

    def setName(self, name: str) -> "RDD[T]":
        """Give it a name, which reports show."""
        self._lineage.label = name
        return self._self()

    def name(self) -> str | None:
        """Its name; of files the path; else None."""
        return self._lineage.label or None

    def toDebugString(self) -> bytes:
        """Its lineage as UTF-8 text: a line for each RDD, and further to the right what lies before a shuffle."""
        lines: list[str] = []
        count = f"({self._lineage.node.partitions})"
        bar = _bar(count)
        _add(lines, self._lineage, f"{count} ", bar)
        return "\n".join(lines).encode()

    def withResources(self, profile: object) -> "RDD[T]":
        """Accept a resource profile. It changes nothing: executors are all alike (`spark.executor.*` says what they have)."""
        self._profile = profile
        return self._self()

    def getResourceProfile(self) -> object:
        """What `withResources` was given; None without."""
        return self._profile

    #: See `withResources`.
    _profile: object = None


def _add(lines: list[str], lineage: Lineage, first: str, following: str) -> None:
    """Add an RDD and all before it.

    Args:
        lines: To which.
        lineage: The RDD.
        first: What stands before it.
        following: What stands before those in the same stage.
    """
    level = lineage.node.level
    kept = "" if level is None else str(level)
    lines.append(f"{first}{_described(lineage)} [{kept}]")
    if lineage.checkpointed and not lineage.parents:
        lines.append(f"{following}ReliableCheckpointRDD[{lineage.node.rdd_id}] at {lineage.name} []")
    if lineage.shuffle is not None:
        _add_before_shuffle(lines, lineage.shuffle.parent, following)
    for parent in lineage.parents:
        _add(lines, parent, following, following)


def _add_before_shuffle(lines: list[str], lineage: Lineage, following: str) -> None:
    count = f"({lineage.node.partitions})"
    left = following.rstrip(" ").removesuffix("|")
    _add(lines, lineage, f"{left}+-{count} ", f"{left}  {_bar(count)}")


def _bar(count: str) -> str:
    """A bar beneath the middle of a number of partitions, as wide as that and a space."""
    before = (len(count) - 1) // 2
    return " " * before + "|" + " " * (len(count) - before)


def _described(lineage: Lineage) -> str:
    label = f"{lineage.label} " if lineage.label else ""
    kind = "PythonRDD" if lineage.checkpointed else _KINDS.get(type(lineage.node), "PythonRDD")
    return f"{label}{kind}[{lineage.node.rdd_id}] at {lineage.name}"
