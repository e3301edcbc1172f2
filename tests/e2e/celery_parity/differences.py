"""Where `mesolite celery` is not as `celery worker -P prefork` is, and why: the table of docs/celery.md."""

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """One of them."""

    what: str
    celery: str
    mesolite: str
    why: str

    def row(self) -> str:
        """As a line of the table."""
        return f"| {self.what} | {self.celery} | {self.mesolite} | {self.why} |"


HEADING: Final = "| | `celery worker` | `mesolite celery` | why |"

DIFFERENCES: Final = (
    Difference(
        "when a message has left the broker",
        "when it is acknowledged: as the task begins, or with `acks_late` after it",
        "after the last word on its task; `acks_late` decides as ever whether a task that was lost runs again",
        "whoever dies in between, the message is found and its task asked for; a broker that is full of begun tasks is none",
    ),
    Difference(
        "when a task is said to have begun whose like take some milliseconds at most: `task-started`, `inspect active`",
        "as it begins",
        "when it has ended, or within 60 ms of its beginning",
        "such tasks wait in their worker one behind the other; to tell each beginning would cost as much as to run it",
    ),
    Difference(
        "`visibility_timeout`",
        "after it a message is given out again, run or not",
        "has no meaning",
        "a message is owned by a name, not for a time",
    ),
    Difference(
        "`-c`",
        "processes of this machine",
        "tasks at once on the whole cluster, 200 where nothing is said",
        "how many run is a matter of what they ask for and what there is",
    ),
    Difference(
        "`-P`, `--autoscale`, `pool_grow`, `pool_shrink`",
        "choose and size the pool",
        "the first two are refused, the others change `-c`",
        "workers come with the load, in the shapes that tasks ask for, and go when idle",
    ),
    Difference(
        "where a task runs",
        "on the worker's machine, with its files and environment",
        "in a container of its image: files, environment and network are what its options say",
        "that is what limits are for; `volumes` and `env` say what comes in",
    ),
    Difference(
        "a task over its memory",
        "takes from its neighbours until the kernel kills somebody; `WorkerLostError`",
        "fails with `MemoryLimitExceeded`, a `WorkerLostError` that says limit and peak",
        "the reason this exists",
    ),
    # HARD_LIMIT
    Difference(
        "a hard time limit",
        "told twice: two `task-failed`, two `task_failure`, errbacks called twice, `Request.on_failure` and `on_timeout`",
        "told once, by `on_timeout`; no `task_postrun`, since nothing of the task goes on",
        "prefork's pool sets a failure beside the time-out that Celery 5.7 handles whole",
    ),
    Difference(
        "`worker_init`, `worker_ready`, `task_received`, `task_revoked`, `task_unknown`, `task_rejected`",
        "in the main process, which the children are forked from",
        "in the dispatcher, which workers are not forked from",
        "what `worker_init` sets up for tasks belongs into `worker_process_init`, which each worker process sends",
    ),
)
