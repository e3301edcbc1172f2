"""Executors as the master is told of them: which Python runs, and what it is told."""

import shlex
from dataclasses import dataclass, replace
from typing import Final

from mesolite.executors.python.settings import PythonSettings
from mesolite.ids import AgentId, ExecutorId
from mesolite.protocol import CommandInfo, ContainerInfo, ExecutorInfo
from mesolite.resources import Resource, scalars

from ..driver.pool import OfferedPool
from .settings import EXECUTOR_MEM_MIB

#: What an executor takes beside its calls or workers.
EXECUTOR_SHAPE: Final = scalars(mem_mib=EXECUTOR_MEM_MIB).to_wire()
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

    def info(
        self,
        executor_id: ExecutorId,
        resources: tuple[Resource, ...],
        *,
        image: str | None,
        python: str | None,
        mem_mib_per_worker: int = 0,
    ) -> ExecutorInfo:
        """Describe an executor.

        Args:
            executor_id: New on its agent.
            resources: Carved out of an offer.
            image: None: the agent's default.
            python: The interpreter; None: see above.
            mem_mib_per_worker: What one worker may use; 0: its share.
        """
        settings = replace(self.settings, mem_mib_per_worker=mem_mib_per_worker)
        return ExecutorInfo(
            executor_id=executor_id,
            command=CommandInfo(value=self._command(image, python)),
            resources=resources,
            container=ContainerInfo(image=image) if image is not None else None,
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


def carve_executor(pool: OfferedPool) -> tuple[Resource, ...] | None:
    """Take what a new executor needs out of offers; None where it is not there."""
    carved = pool.carve(EXECUTOR_SHAPE, 1)
    return carved[0][0] if carved else None


def executor_id_of(kind: int, life: int, agent_id: AgentId) -> ExecutorId:
    """A new id: the same agent may have had an executor of the same kind before, of which late words may come."""
    return ExecutorId(f"{kind}.{life}@{agent_id[:_MAX_AGENT_PART]}")
