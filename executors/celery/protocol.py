"""What the dispatcher and the worker of a Celery task say to each other. Both ends use this module; it knows no Celery.

A task is a call of the Python executor: the function `entry.run` of the bundle with the fields of `TaskRun` as its arguments,
which returns the fields of a `TaskReport`.
"""

import enum
from typing import Any, Final, NamedTuple

#: Of the executor's environment: what `celery -A` takes.
APP_VARIABLE: Final = "MESOLITE_CELERY_APP"
#: Folders that come first on `sys.path`, with colons between them.
PATH_VARIABLE: Final = "MESOLITE_CELERY_PATH"
#: Celery's version in the dispatcher: "5.7.0". Another major version is refused.
VERSION_VARIABLE: Final = "MESOLITE_CELERY_VERSION"
#: What the worker says of itself as `hostname` in `task.request` and in STARTED: the dispatcher's node name.
NODE_VARIABLE: Final = "MESOLITE_CELERY_NODE"
#: JSON of a `RecycleRules`.
RECYCLE_VARIABLE: Final = "MESOLITE_CELERY_RECYCLE"
#: Celery's own: the level of the loggers, as a number. Empty: its default.
LOG_LEVEL_VARIABLE: Final = "CELERY_LOG_LEVEL"
#: Of the executor's environment as `preload.VARIABLE` (executors/python): workers are forked with the application loaded.
PRELOAD_MODULE: Final = "mesolite_executors.celery.preload"
#: Where the bundle has the function, as pickles name it.
ENTRY_MODULE: Final = "mesolite_executors.celery.entry"
ENTRY_NAME: Final = "run"


class RecycleRules(NamedTuple):
    """When a worker process ends after a task, so that the next runs in a new one; 0: never for this reason."""

    max_tasks: int = 0
    #: Resident memory after a task.
    max_mem_mib: int = 0
    max_age_s: int = 0


class TaskRun(NamedTuple):
    """One message's task."""

    name: str
    task_id: str
    #: Celery's request dictionary without `args` and `kwargs`.
    request: dict[str, Any]
    #: As in the message; or, where `content_type` is None, the triple (args, kwargs, embed).
    body: Any
    content_type: str | None
    content_encoding: str | None
    #: SoftTimeLimitExceeded is raised in the task after so long.
    soft_limit_s: float | None


class ReportKind(enum.IntEnum):
    """How it went. The number travels."""

    #: The task returned; `text` is the result as events show it.
    SUCCEEDED = 0
    #: It raised, retried, rejected or ignored; `detail` is a `Raised` (`codec.dumps` of its tuple), `text` its traceback.
    RAISED = 1
    #: The image knows no task of this name; `text` says which it knows.
    UNKNOWN_TASK = 2
    #: The application cannot be loaded in the image, or by another major version of Celery; `text` says why.
    NO_APP = 3


class How(enum.IntEnum):
    """What an exception means to Celery. The number travels."""

    FAILED = 0
    RETRIED = 1
    REJECTED = 2
    IGNORED = 3
    #: SystemExit or KeyboardInterrupt: the worker ends.
    EXITED = 4
    OUT_OF_MEMORY = 5


class Raised(NamedTuple):
    """An exception on its way: for a dispatcher that knows its class, and for one that does not.

    Two versions of Celery, and images with code that the dispatcher lacks, are to understand each other. So the exception is
    pickled apart from what is said of it, and its frames stay where they are.
    """

    how: How
    #: It came through Celery's tracer, which has stored it where that is to be; else the dispatcher does, as prefork's parent.
    traced: bool
    #: As `ExceptionInfo.internal`.
    internal: bool
    module: str
    class_name: str
    #: Its `repr`, cut where it is long; of a retry that of what led to it.
    shown: str
    #: Of a rejected message.
    requeue: bool
    #: The exception; empty where it is too large or cannot be pickled at all.
    pickled: bytes


class TaskReport(NamedTuple):
    """What a worker says of a task that ended without taking the worker with it."""

    kind: ReportKind
    text: str
    runtime_s: float
    #: The most that the worker process ever had resident, in KiB.
    peak_kib: int
    detail: bytes = b""
