"""Executors as the master is told of them: which Python runs, and what it is told."""

import shlex
from dataclasses import dataclass, field, replace
from typing import Final

from mesolite.executors.python.settings import PythonSettings
from mesolite.ids import AgentId, ExecutorId
from mesolite.protocol import CommandInfo, ContainerInfo, ExecutorInfo, Network
from mesolite.resources import Resource, Resources, scalars

from ..driver.pool import OfferedPool
from .options import Kind
from .settings import EXECUTOR_CPUS_FOR_SMALL, EXECUTOR_MEM_MIB, SMALL_CPUS_MILLI

#: How shells say that there is no such program, or that it is none.
NO_PROGRAM_EXIT_CODES: Final = frozenset({126, 127})
#: An agent's id is a part of its executors' ids, which are no longer than ids may be.
_MAX_AGENT_PART: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorShare:
    """What an executor takes beside its calls or workers."""

    mem_mib: int = EXECUTOR_MEM_MIB
    #: Where calls have fewer CPUs than this, their executor gets some of its own.
    small_cpus_milli: int = SMALL_CPUS_MILLI
    cpus_for_small: float = EXECUTOR_CPUS_FOR_SMALL

    def shape(self, kind: Kind) -> tuple[Resource, ...]:
        """What an executor for calls of a kind takes."""
        cpus = self.cpus_for_small if kind.cpus_milli < self.small_cpus_milli else 0.0
        return scalars(cpus=cpus, mem_mib=self.mem_mib).to_wire()


#: What executors take where nobody says otherwise.
USUAL_SHARE: Final = ExecutorShare()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What all executors of one pool have in common.

    `own_python` is the interpreter that this program runs on. An agent that has it, which is one on the same machine
    without containers, or one with the same installation, has the same packages too; in others `python3` is what the image
    means by Python.
    """

    #: Of the framework, for people.
    name: str
    settings: PythonSettings
    own_python: str = ""
    #: Of the executors' processes.
    environment: dict[str, str] = field(default_factory=dict[str, str])
    #: Of the executors, for agents.
    labels: dict[str, str] = field(default_factory=dict[str, str])

    def info(
        self,
        executor_id: ExecutorId,
        resources: tuple[Resource, ...],
        kind: Kind,
        *,
        mem_mib_per_worker: int = 0,
    ) -> ExecutorInfo:
        """Describe an executor.

        Args:
            executor_id: New on its agent.
            resources: Carved out of an offer.
            kind: What it runs, and in which container.
            mem_mib_per_worker: What one worker may use; 0: its share.
        """
        settings = replace(self.settings, mem_mib_per_worker=mem_mib_per_worker)
        return ExecutorInfo(
            executor_id=executor_id,
            command=CommandInfo(
                value=self._command(kind.image, kind.python),
                environment={**self.environment, **dict(kind.environment)},
            ),
            resources=resources,
            container=_container_of(kind),
            name=f"{self.name}: Python {self.settings.python}".removesuffix(" "),
            labels=self.labels,
            data=settings.to_data(),
        )

    def _command(self, image: str | None, python: str | None) -> str:
        if python is not None:
            return f'exec {shlex.quote(python)} "$MESOLITE_BUNDLE"'
        default = 'exec "${MESOLITE_PYTHON:-python3}" "$MESOLITE_BUNDLE"'
        if image is not None or not self.own_python:
            return default
        own = shlex.quote(self.own_python)
        return f'if [ -z "$MESOLITE_PYTHON" ] && [ -x {own} ]; then exec {own} "$MESOLITE_BUNDLE"; fi; {default}'


def _container_of(kind: Kind) -> ContainerInfo | None:
    """What is around an executor; None: what its agent puts around all, which may be nothing."""
    if kind.image is None and not kind.volumes and kind.network is Network.BRIDGE:
        return None
    return ContainerInfo(image=kind.image, volumes=kind.volumes, network=kind.network)


def is_small(kind: Kind) -> bool:
    """Whether calls of a kind have so few CPUs that their executor needs some of its own."""
    return kind.cpus_milli < SMALL_CPUS_MILLI


def shape_with_executor(kind: Kind, share: ExecutorShare = USUAL_SHARE) -> tuple[Resource, ...]:
    """What one call or worker takes where there is no executor yet."""
    return (Resources.of(kind.shape) + Resources.of(share.shape(kind))).to_wire()


def carve_executor(pool: OfferedPool, kind: Kind, share: ExecutorShare = USUAL_SHARE) -> tuple[Resource, ...] | None:
    """Take what a new executor needs out of offers; None, and nothing is taken, where it and one call or worker are not there.

    What it took without any use would be missing to calls of another kind.
    """
    if not pool.fits(shape_with_executor(kind, share)):
        return None
    carved = pool.carve(share.shape(kind), 1)
    return carved[0][0] if carved else None


def executor_id_of(kind: int, number: int, agent_id: AgentId, life: str = "") -> ExecutorId:
    """A new id: the same agent may have had an executor of the same kind before, of which late words may come."""
    return ExecutorId(f"{kind}.{number}{life}@{agent_id[:_MAX_AGENT_PART]}")
