"""What goes wrong in sparklite.

SparkError                      the root
├─ JobFailed                    a job did not come to its results; says which task of which stage, and where
│  └─ JobCancelled              because it was cancelled
├─ TaskError                    one task's end, as part of a JobFailed; its cause is the user's exception
├─ ContextStopped               the context was stopped, or lost its cluster
└─ ClosureError                 a function cannot be sent: names what in it, with the path
"""

from mesolite.errors import MesoliteError


class SparkError(MesoliteError):
    """Something that sparklite was asked for cannot be done."""


class TaskError(SparkError):
    """A task failed; the text has the traceback of the worker, `__cause__` the exception if it could travel.

    Attributes:
        stage_id, partition, attempt, host: Which task, and where it ran.
    """

    def __init__(
        self, message: str, *, stage_id: int = -1, partition: int = -1, attempt: int = 0, host: str = ""
    ) -> None:
        super().__init__(message)
        self.stage_id = stage_id
        self.partition = partition
        self.attempt = attempt
        self.host = host


class JobFailed(SparkError):
    """A job failed; the text names stage, partition, host and attempts, and has the last task's traceback."""


class JobCancelled(JobFailed):
    """The job was cancelled (`cancelJobGroup`, `cancelAllJobs`, or the context was stopped)."""


class ContextStopped(SparkError):
    """This SparkContext was stopped; make a new one."""


class ClosureError(SparkError):
    """A function cannot be sent to workers, because of something that it refers to."""
