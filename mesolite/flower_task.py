"""Tasks as our Flower keeps them: Celery's own, with what only Mesolite knows of them, which Flower's page and API then show too.

Imports Celery, so it is imported by Flower's process alone.
"""

from celery.app.registry import TaskRegistry
from celery.events.state import Task


class DetailedTask(Task):  # type: ignore[misc] # Celery has no types
    """See `celery.events.state.Task`: what an event says beyond Celery's own fields becomes an attribute; these are shown."""

    #: The task, or the run of a Celery task, by the id that `mesolite` commands take.
    mesolite_id: str | None = None
    agent: str | None = None
    #: The executor that runs it; the container, where it has one of its own.
    executor: str | None = None
    resources: str | None = None
    peak_memory: str | None = None
    image: str | None = None
    isolation: str | None = None
    #: The command that shows its output.
    output: str | None = None

    _fields = (
        *Task._fields,
        *("mesolite_id", "agent", "executor", "resources", "peak_memory", "image", "isolation", "output"),
    )


class AnyTask(TaskRegistry):  # type: ignore[misc] # Celery has no types
    """Names of tasks that Flower lets people limit: any, since it has no application; workers that are asked know their own."""

    def __contains__(self, name: object) -> bool:
        """See `dict`."""
        return True
