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

#: What an executor takes beside its calls or workers.
_EXECUTOR_SHAPE: Final = scalars(mem_mib=EXECUTOR_MEM_MIB).to_wire()
_EXECUTOR_SHAPE_FOR_SMALL: Final = scalars(cpus=EXECUTOR_CPUS_FOR_SMALL, mem_mib=EXECUTOR_MEM_MIB).to_wire()
#: How shells say that there is no such program, or that it is none.
NO_PROGRAM_EXIT_CODES: Final = frozenset({126, 127})
#: An agent's id is a part of its executors' ids, which are no longer than ids may be.
_MAX_AGENT_PART: Final = 200


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
            name=f"{self.name}: Python {self.settings.python}",
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


def executor_shape(kind: Kind) -> tuple[Resource, ...]:
    """What an executor takes beside its calls or workers."""
    return _EXECUTOR_SHAPE_FOR_SMALL if is_small(kind) else _EXECUTOR_SHAPE


def shape_with_executor(kind: Kind) -> tuple[Resource, ...]:
    """What one call or worker takes where there is no executor yet."""
    return (Resources.of(kind.shape) + Resources.of(executor_shape(kind))).to_wire()


def carve_executor(pool: OfferedPool, kind: Kind) -> tuple[Resource, ...] | None:
    """Take what a new executor needs out of offers; None where it is not there."""
    carved = pool.carve(executor_shape(kind), 1)
    return carved[0][0] if carved else None


def executor_id_of(kind: int, life: int, agent_id: AgentId) -> ExecutorId:
    """A new id: the same agent may have had an executor of the same kind before, of which late words may come."""
    return ExecutorId(f"{kind}.{life}@{agent_id[:_MAX_AGENT_PART]}")
