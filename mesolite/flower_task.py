"""A task as our Flower keeps it: Celery's own, with what only Mesolite knows of it, which Flower's page and API then show too.

Imports Celery, so it is imported by Flower's process alone.
"""

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
