"""A stage's code as workers hold it: bytes until the first task, so that files which the code imports are there by then."""

import os
import pickle
from pathlib import Path
from types import TracebackType
from typing import Final

from .task_data import StageCode, TaskDone, TaskMissed, TaskSpec
from .worker_state import WorkerState, state_of_process

#: Of frames within this package.
_HERE: Final = f"{Path(__file__).parent}{os.sep}"
_HINT: Final = (
    ". A module beside your program is not on the agents: put it into the image, send it with sc.addPyFile, or have cloudpickle "
    "send it (cloudpickle.register_pickle_by_value)"
)


class StageUnreadable(Exception):
    """The code of a stage cannot be unpickled in a worker. To try again makes no sense."""


class StageRunner:
    """Runs the tasks of one stage: the function that executors call.

    Args:
        pickled: A `StageCode`.
    """

    def __init__(self, pickled: bytes) -> None:
        self._pickled: bytes | None = pickled
        self._code: StageCode | None = None

    def __call__(self, spec: TaskSpec) -> TaskDone | TaskMissed:
        """Run a task in this process."""
        return self.run(spec, state_of_process())

    def run(self, spec: TaskSpec, state: WorkerState) -> TaskDone | TaskMissed:
        """Run a task; as `WorkerState.run`. The traceback of what it raises begins at the user's own code."""
        try:
            return state.run(self, spec)
        except Exception as error:
            error.__traceback__ = _from_user(error.__traceback__)
            raise

    def code(self) -> StageCode:
        """Return the code, unpickled once.

        Raises:
            StageUnreadable: It cannot be; the text says why and what to do.
        """
        if self._code is None:
            assert self._pickled is not None, "the one or the other is there"
            try:
                found: object = pickle.loads(self._pickled)
            # Unpickling imports modules of the user and runs their code: anything may come of it.
            except Exception as error:
                hint = _HINT if isinstance(error, ModuleNotFoundError) else ""
                text = f"the functions of this stage cannot be unpickled in the worker: {type(error).__name__}: {error}{hint}"
                raise StageUnreadable(text) from error
            assert isinstance(found, StageCode), "driver and agent run the same version of Mesolite"
            self._code, self._pickled = found, None
        return self._code


def _from_user(trace: TracebackType | None) -> TracebackType | None:
    """Leave out sparklite's frames above the user's; all stay where there are no others."""
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_HERE):
        found = found.tb_next
    return found or trace
